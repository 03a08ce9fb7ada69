//! `cargo xtask haproxy`: the tests that need HAProxy, with that of another Debian release. It is found through apt with
//! all it needs, down to its C library, unpacked beside the build and never installed.

use crate::setup::{self, Purpose};
use crate::shell::{cargo, command, quiet, read, run, search_path, target, whole};
use anyhow::{Context, Result};
use std::env::join_paths;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Test programs of `ober-tests` in which a worker runs.
const TESTS: [&str; 10] = [
    "access",
    "certificates",
    "drift",
    "faults",
    "load",
    "orders",
    "plan",
    "proxy",
    "proxying",
    "servers",
];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// It takes the name of the program it starts, because the kernel names a process by the file it executed.
const LOADER: &str = "loader/haproxy";

/// Runs them with the HAProxy of this release, such as `trixie`.
pub(crate) fn run_with(release: &str) -> Result<()> {
    setup::ensure(&Purpose::WORK)?;
    let root = target().join("haproxy").join(release);
    if !root.is_dir() {
        whole(&root, |into| fetch(release, into))
            .with_context(|| format!("fetch the HAProxy of Debian {release}"))?;
    }
    let program = write_starter(&root)?;
    let version = read(Command::new(&program).arg("-v"))?;
    println!("haproxy: {}", version.lines().next().unwrap_or_default());
    let first = program.parent().map(PathBuf::from);
    let path = join_paths(first.into_iter().chain(search_path()))?;
    run(cargo().args(["build", "-p", "ober-user", "-p", "ober-tests", "--bins"]))?;
    let mut tests = cargo();
    tests.env("PATH", path).args(["test", "--no-fail-fast"]);
    tests.args(["-p", "ober-user", "-p", "ober-tests", "--test", "haproxy"]);
    run(tests.args(TESTS.iter().flat_map(|test| ["--test", test])))
}

fn fetch(release: &str, into: &Path) -> Result<()> {
    let apt = into.join("apt");
    for directory in ["lists/partial", "archives/partial"] {
        let directory = apt.join(directory);
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    }
    // Nothing is installed as far as this apt knows, so it downloads every library too.
    fs::write(apt.join("status"), "").context("write an empty package status")?;
    let source = format!("deb {} {release} main\n", mirror()?);
    fs::write(apt.join("sources"), source).context("write apt's sources")?;
    println!("haproxy: downloading that of Debian {release}");
    quiet(aside(&apt).arg("update"))?;
    let wish = ["--download-only", "--no-install-recommends", "-y"];
    quiet(aside(&apt).arg("install").args(wish).arg("haproxy"))?;
    let archives = apt.join("archives");
    for entry in fs::read_dir(&archives).with_context(|| format!("read {}", archives.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|it| it == "deb") {
            quiet(command("dpkg").arg("-x").args([&file, into]))?;
        }
    }
    fs::remove_dir_all(&apt).with_context(|| format!("remove {}", apt.display()))
}

/// Where this machine has Debian's packages from.
fn mirror() -> Result<String> {
    let format = "$(ORIGIN) $(COMPONENT) $(CREATED_BY) $(RELEASE) $(REPO_URI)";
    let known = read(command("apt-get").args(["indextargets", "--format", format]))?;
    let mirror = known.lines().find_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["Debian", "main", "Packages", release, uri] if !release.contains('-') => Some(uri),
            _ => None,
        }
    });
    mirror.map(str::to_owned).context(
        "apt has no source of Debian's packages here (`apt-get indextargets` lists what it has)",
    )
}

/// An apt that knows none of this machine's packages and leaves its lists alone.
fn aside(apt: &Path) -> Command {
    let mut command = command("apt-get");
    for (key, file) in [
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache::archives", "archives"),
        ("Dir::Etc::sourcelist", "sources"),
    ] {
        let option = format!("{key}={}", apt.join(file).display());
        command.args(["-o", &option]);
    }
    for option in [
        "Dir::Etc::sourceparts=-",
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
        "APT::Sandbox::User=root",
    ] {
        command.args(["-o", option]);
    }
    command
}

/// A program `haproxy` that runs the unpacked one on the unpacked C library.
fn write_starter(root: &Path) -> Result<PathBuf> {
    let loader = root.join(LOADER);
    let starter = root.join("starter/haproxy");
    for file in [&loader, &starter] {
        let directory = file.parent().unwrap_or(root);
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    let original = root.join(LIBRARIES).join("ld-linux-x86-64.so.2");
    fs::copy(&original, &loader).with_context(|| format!("copy {}", original.display()))?;
    let text = format!(
        "#!/bin/sh\nexec {} --library-path {} {} \"$@\"\n",
        loader.display(),
        root.join(LIBRARIES).display(),
        root.join("usr/sbin/haproxy").display()
    );
    fs::write(&starter, text)
        .and_then(|()| fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("write {}", starter.display()))?;
    Ok(starter)
}
