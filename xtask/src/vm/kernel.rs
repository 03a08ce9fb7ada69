//! Debian's kernels: found through apt, downloaded, unpacked beside the build and never installed.

use crate::shell::{command, quiet, read, run, target, whole};
use anyhow::{Context, Result, bail};
use ober_programs::{APT_CACHE, APT_GET, DEPMOD, DPKG, MODPROBE};
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel unpacked.
pub(super) struct Kernel {
    pub(super) version: String,
    pub(super) image: PathBuf,
    /// The package's content, as it would lie under `/`.
    root: PathBuf,
}

/// The newest of the kernels that are Debian 12's own.
const OLDEST: &str = r"^linux-image-6\.1\.0-[0-9]+-amd64$";

/// The kernel of this package, or the newest Linux 6.1 that apt knows.
pub(super) fn fetch(package: Option<&str>) -> Result<Kernel> {
    let package = match package {
        Some(package) => concrete(package)?,
        None => oldest()?,
    };
    let root = target().join("vm").join(&package);
    if !root.is_dir() {
        whole(&root, |into| unpack(&package, into))?;
    }
    open(root).with_context(|| format!("{package} does not look like a Debian kernel package"))
}

fn oldest() -> Result<String> {
    let search = || read(command(&APT_CACHE).args(["search", "--names-only", OLDEST]));
    let mut found = search()?;
    if found.is_empty() {
        run(command(&APT_GET).args(["-q", "update"]))?;
        found = search()?;
    }
    let revision = |name: &&str| {
        name.split('-')
            .nth(3)
            .and_then(|number| number.parse::<u32>().ok())
    };
    let newest = found
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .max_by_key(revision);
    newest
        .map(str::to_owned)
        .context("apt knows no Linux 6.1 (it is Debian 12's); name a kernel package instead")
}

/// `linux-image-amd64` holds no kernel, it depends on the one that does.
fn concrete(package: &str) -> Result<String> {
    let depends = read(command(&APT_CACHE).args(["depends", package]))?;
    let image = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(image
        .map(str::trim)
        .find(|name| name.starts_with("linux-image-"))
        .unwrap_or(package)
        .to_owned())
}

fn unpack(package: &str, into: &Path) -> Result<()> {
    eprintln!("vm: downloading {package}");
    let mut download = command(&APT_GET);
    download
        .args(["-q", "-o", "APT::Sandbox::User=root", "download", package])
        .current_dir(into);
    quiet(&mut download)?;
    let file = first(into, package)?;
    quiet(command(&DPKG).arg("-x").args([&file, into]))?;
    fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))
}

fn open(root: PathBuf) -> Result<Kernel> {
    let image = first(&root.join("boot"), "vmlinuz-")?;
    let name = image
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let version = name.trim_start_matches("vmlinuz-").to_owned();
    if !root.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).context("link lib to usr/lib")?;
    }
    Ok(Kernel {
        version,
        image,
        root,
    })
}

/// The only file of a directory that begins so.
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
    /// The files of these modules and of all they need, in the order in which they load. Built-in ones have no file.
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
