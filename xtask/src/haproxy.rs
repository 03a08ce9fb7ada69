//! `cargo xtask haproxy`: the tests that need HAProxy, with the one of another Debian release. apt downloads it with all its
//! dependencies, down to the C library; it is unpacked beside the build and never installed.

use crate::apt::{Apt, unpack};
use crate::setup;
use crate::shell::{cargo, read, run, target, whole};
use anyhow::{Context, Result};
use ober_programs::{HAPROXY, search_path};
use std::env::join_paths;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Test programs in which a worker runs; `haproxy` is one of `ober-user` and one of `ober-tests`.
const TESTS: [&str; 10] = [
    "access",
    "certificates",
    "end_to_end",
    "faults",
    "gate",
    "haproxy",
    "load",
    "plan",
    "reconcile",
    "servers",
];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// The loader gets the name of the program it starts, because the kernel names a process by the executed file.
const LOADER: &str = "loader/haproxy";

/// Runs the tests with the HAProxy of this release, such as `trixie`.
pub(crate) fn run_with(release: &str) -> Result<()> {
    setup::ensure(&setup::WORK)?;
    let root = target().join("haproxy").join(release);
    if !root.is_dir() {
        whole(&root, |into| fetch(release, into))
            .with_context(|| format!("fetch the HAProxy of Debian {release}"))?;
    }
    let program = write_starter(&root)?;
    let version = read(HAPROXY.at(&program).arg("-v"))?;
    println!("haproxy: {}", version.lines().next().unwrap_or_default());
    let first = program.parent().map(PathBuf::from);
    let path = join_paths(first.into_iter().chain(search_path()))?;
    run(cargo().args(["build", "-p", "ober-user", "-p", "ober-tests", "--bins"]))?;
    let mut tests = cargo();
    tests.env("PATH", path).args(["test", "--no-fail-fast"]);
    tests.args(["-p", "ober-user", "-p", "ober-tests"]);
    run(tests.args(TESTS.iter().flat_map(|test| ["--test", test])))
}

fn fetch(release: &str, into: &Path) -> Result<()> {
    println!("haproxy: downloading that of Debian {release}");
    let apt = Apt::of(release, &into.join("apt"))?;
    // To this apt nothing is installed, so it downloads every library too.
    for archive in apt.with_all_it_needs("haproxy")? {
        unpack(&archive, into)?;
    }
    apt.remove()
}

/// Writes a program `haproxy` that runs the unpacked one on the unpacked C library.
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
