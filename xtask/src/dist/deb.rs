//! The package for Debian and Ubuntu, by `dpkg-deb`.

use super::Release;
use super::contents::CONTENTS;
use super::program::SYMBOLS;
use super::tree::{date, inside};
use crate::shell::{command, quiet, root};
use anyhow::{Context, Result};
use ober_programs::DPKG_DEB;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What dpkg runs before and after it changes files.
const SCRIPTS: &str = "ober-user/package/deb";
const MAINTAINER: &str = "the Herr Ober contributors <ober@example.invalid>";
const DESCRIPTION: &str = "\
Description: S3 ingress with its filter, balancer and socket lookup in the kernel
 Herr Ober stands in front of a Ceph RGW or any S3 cluster. HAProxy handles
 HTTP and TLS; programs in the kernel decide which clients may come and which
 HAProxy process serves them. Each VIP is announced by BGP or VRRP while this
 node serves it, and only then.
";

/// The package, of a tree that is ready.
pub(super) fn package(tree: &Path, work: &Path, release: &Release) -> Result<PathBuf> {
    let control = work.join("control");
    fs::create_dir_all(&control).with_context(|| format!("create {}", control.display()))?;
    for script in inside(&root().join(SCRIPTS))? {
        let place = control.join(script.file_name().unwrap_or_default());
        fs::copy(&script, &place)
            .and_then(|_| fs::set_permissions(&place, Permissions::from_mode(0o755)))
            .with_context(|| format!("copy {}", script.display()))?;
    }
    let places = CONTENTS.iter().map(|item| item.place);
    let conffiles = places.filter(|place| place.starts_with("/etc/"));
    let conffiles: Vec<&str> = conffiles.collect();
    if !conffiles.is_empty() {
        fs::write(control.join("conffiles"), conffiles.join("\n") + "\n")
            .context("write conffiles")?;
    }
    let text = text(&release.version, &release.program.glibc()?, size(tree)?);
    build("ober", &text, tree, &control, release)
}

/// The debug symbols, where gdb and perf look for them.
pub(super) fn symbols(work: &Path, release: &Release) -> Result<PathBuf> {
    let tree = work.join("symbols");
    let directory = tree.join("usr/lib/debug/usr/bin");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    fs::copy(&release.program.symbols, directory.join(SYMBOLS)).context("copy the symbols")?;
    date(&tree, release.time)?;
    let control = work.join("symbols-control");
    fs::create_dir_all(&control).with_context(|| format!("create {}", control.display()))?;
    let version = &release.version;
    let size = size(&tree)?;
    let text = format!(
        "Package: ober-dbgsym\nVersion: {version}\nArchitecture: amd64\nMaintainer: {MAINTAINER}\nInstalled-Size: {size}\n\
         Section: debug\nPriority: optional\nDepends: ober (= {version})\n\
         Description: debug symbols of Herr Ober\n"
    );
    build("ober-dbgsym", &text, &tree, &control, release)
}

/// The file `control`. Scopes for the workers are made by the system bus; sysusers and tmpfiles make account and directories.
pub(super) fn text(version: &str, glibc: &str, size: u64) -> String {
    format!(
        "Package: ober\nVersion: {version}\nArchitecture: amd64\nMaintainer: {MAINTAINER}\nInstalled-Size: {size}\n\
         Section: net\nPriority: optional\n\
         Depends: haproxy (>= 2.6), libc6 (>= {glibc}), libgcc-s1, default-dbus-system-bus | dbus-system-bus,\n \
         systemd | systemd-standalone-sysusers | systemd-sysusers, systemd | systemd-standalone-tmpfiles | systemd-tmpfiles\n\
         Recommends: nftables, chrony | time-daemon\n{DESCRIPTION}"
    )
}

/// What a tree takes on a disk, in kibibytes.
fn size(tree: &Path) -> Result<u64> {
    let mut sum = 1;
    for path in inside(tree)? {
        sum += if path.is_symlink() {
            1
        } else if path.is_dir() {
            size(&path)?
        } else {
            fs::metadata(&path)?.len().div_ceil(1024)
        };
    }
    Ok(sum)
}

fn build(
    name: &str,
    text: &str,
    tree: &Path,
    control: &Path,
    release: &Release,
) -> Result<PathBuf> {
    fs::write(control.join("control"), text).context("write control")?;
    date(control, release.time)?;
    let inner = tree.join("DEBIAN");
    fs::rename(control, &inner).context("put the control files into the tree")?;
    date(tree, release.time)?;
    let file = release
        .into
        .join(format!("{name}_{}_amd64.deb", release.version));
    let effort = if release.is_small { "-z6" } else { "-z0" };
    let mut dpkg = command(&DPKG_DEB);
    // With several threads xz cuts its input by the number of CPUs.
    dpkg.args(["--root-owner-group", "--threads-max=1", "-Zxz", effort])
        .arg("--build")
        .args([tree, &file])
        .env("SOURCE_DATE_EPOCH", release.seconds());
    let built = quiet(&mut dpkg).with_context(|| format!("make {}", file.display()));
    // The other formats are made of the same tree.
    fs::rename(&inner, control).context("take the control files out of the tree")?;
    built.map(|()| file)
}
