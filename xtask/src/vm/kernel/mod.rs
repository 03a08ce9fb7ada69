//! Debian's kernels: found through apt, downloaded, unpacked beside the build and never installed.

use crate::apt::Apt;
use crate::shell::{command, quiet, read, target, whole};
use anyhow::{Context, Result, bail};
use ober_programs::{DEPMOD, MODPROBE};
use std::fs;
use std::path::{Path, PathBuf};

/// An unpacked kernel.
pub(super) struct Kernel {
    pub(super) version: String,
    pub(super) image: PathBuf,
    /// The content of the package, as it would be under `/`.
    root: PathBuf,
}

/// Debian 12's own kernels.
const OLDEST: &str = r"^linux-image-6\.1\.0-[0-9]+-amd64$";
/// A package without a kernel, which depends on the newest one of the release.
const NEWEST: &str = "linux-image-amd64";
/// Packages of a kernel: up to 6.18 one has everything, later ones are separate for the image, the modules and the list of
/// built-in modules.
const PARTS: [&str; 4] = [
    "linux-image-",
    "linux-binary-",
    "linux-modules-",
    "linux-base-",
];

/// Fetches the kernel of this package: from this machine's sources, by default the newest Linux 6.1; or from another Debian
/// release, by default the newest kernel there.
pub(super) fn fetch(package: Option<&str>, release: Option<&str>) -> Result<Kernel> {
    let vm = target().join("vm");
    let apt = match release {
        Some(release) => Apt::of(release, &vm.join(format!("apt-{release}")))?,
        None => Apt::of_this_machine(),
    };
    let package = match (package, release) {
        (Some(package), _) => concrete(&apt, package)?,
        (None, Some(_)) => concrete(&apt, NEWEST)?,
        (None, None) => oldest(&apt)?,
    };
    let root = vm.join(&package);
    if !root.is_dir() {
        whole(&root, |into| unpack(&apt, &package, into))?;
    }
    apt.remove()?;
    open(root).with_context(|| format!("{package} does not look like a Debian kernel package"))
}

fn oldest(apt: &Apt) -> Result<String> {
    let mut found = apt.named(OLDEST)?;
    if found.is_empty() {
        apt.update()?;
        found = apt.named(OLDEST)?;
    }
    latest(found)
        .context("apt knows no Linux 6.1 (it is Debian 12's); name a kernel package instead")
}

/// The package of the highest revision.
fn latest(packages: Vec<String>) -> Option<String> {
    let revision = |name: &String| {
        let number = name.split('-').nth(3);
        number.and_then(|number| number.parse::<u32>().ok())
    };
    packages.into_iter().max_by_key(revision)
}

/// The kernel package that a package such as [`NEWEST`] depends on.
fn concrete(apt: &Apt, package: &str) -> Result<String> {
    Ok(image_of(package, apt.depends(package)?))
}

/// The kernel package among the dependencies of a package; the package itself when there is none.
fn image_of(package: &str, depends: Vec<String>) -> String {
    let image = depends.into_iter().find(|name| name.starts_with(PARTS[0]));
    image.unwrap_or_else(|| package.to_owned())
}

/// Unpacks the package and the parts of a kernel that it depends on.
fn unpack(apt: &Apt, package: &str, into: &Path) -> Result<()> {
    for part in parts(package, |name| apt.depends(name))? {
        eprintln!("vm: downloading {part}");
        apt.bring(&part, into)?;
    }
    Ok(())
}

/// The package, and the parts of a kernel that it needs, directly or not.
fn parts(package: &str, depends: impl Fn(&str) -> Result<Vec<String>>) -> Result<Vec<String>> {
    let mut wanted = vec![package.to_owned()];
    let mut next = 0;
    while let Some(part) = wanted.get(next).cloned() {
        for name in depends(&part)? {
            if PARTS.iter().any(|prefix| name.starts_with(prefix)) && !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        next += 1;
    }
    Ok(wanted)
}

fn open(root: PathBuf) -> Result<Kernel> {
    if !root.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).context("link lib to usr/lib")?;
    }
    let modules = first(&root.join("lib/modules"), "")?;
    let version = modules
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    // Since Linux 7.2 the image is beside the modules.
    let places = [
        root.join(format!("boot/vmlinuz-{version}")),
        modules.join("vmlinuz"),
    ];
    let image = places
        .into_iter()
        .find(|file| file.is_file())
        .with_context(|| format!("{} holds no image", root.display()))?;
    Ok(Kernel {
        version,
        image,
        root,
    })
}

/// The only file of a directory with this prefix.
fn first(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", directory.display()))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("{} holds no {prefix}*", directory.display())
}

impl Kernel {
    /// The files of these modules and their dependencies, in the order of loading. Built-in ones have no file.
    pub(super) fn modules(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        if !self
            .root
            .join("lib/modules")
            .join(&self.version)
            .join("modules.dep")
            .exists()
        {
            quiet(
                command(&DEPMOD)
                    .arg("-b")
                    .arg(&self.root)
                    .arg(&self.version),
            )?;
        }
        let mut modprobe = command(&MODPROBE);
        modprobe
            .args([
                "-C",
                "/dev/null",
                "-S",
                &self.version,
                "--show-depends",
                "-a",
                "-d",
            ])
            .arg(&self.root);
        let order = read(modprobe.args(names))?;
        let mut files: Vec<PathBuf> = Vec::new();
        for file in order
            .lines()
            .filter_map(|line| line.strip_prefix("insmod "))
        {
            let file = PathBuf::from(file.trim());
            if !files.contains(&file) {
                files.push(file);
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests;
