//! The tree with a script that installs and removes it, for systems without a package manager of Debian's.

use super::Release;
use super::tree::{date, files};
use crate::shell::{command, quiet, root};
use anyhow::{Context, Result};
use ober_programs::{Command, TAR};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const SCRIPT: &str = "ober-user/package/install.sh";

/// `ober-VERSION-x86_64.tar.zst`: one directory with `install.sh`, the list of files in `FILES`, and the files in `tree`.
pub(super) fn pack(tree: &Path, release: &Release) -> Result<PathBuf> {
    let name = format!("ober-{}-x86_64", release.version);
    let outer = tree.with_file_name(&name);
    fs::create_dir_all(&outer).with_context(|| format!("create {}", outer.display()))?;
    let script = outer.join("install.sh");
    fs::copy(root().join(SCRIPT), &script)
        .and_then(|_| fs::set_permissions(&script, Permissions::from_mode(0o755)))
        .with_context(|| format!("copy {SCRIPT}"))?;
    fs::write(outer.join("FILES"), files(tree)?.join("\n") + "\n")
        .context("write the list of files")?;
    date(&outer, release.time)?;
    let file = release.into.join(format!("{name}.tar.zst"));
    // In place of a copy of the tree: it is below this directory in the archive.
    let inner = outer.join("tree");
    fs::rename(tree, &inner).context("put the tree beside its script")?;
    let mut tar = archive(outer.parent().unwrap_or(&outer), &file, release);
    tar.arg("--use-compress-program=zstd -19 -T1").arg(&name);
    let packed = quiet(&mut tar).with_context(|| format!("make {}", file.display()));
    fs::rename(&inner, tree).context("take the tree from beside its script")?;
    packed.map(|()| file)
}

/// What is below a directory, as a tar archive.
pub(super) fn tar(directory: &Path, file: &Path, release: &Release) -> Result<()> {
    quiet(archive(directory, file, release).arg("."))
        .with_context(|| format!("make {}", file.display()))
}

/// A tar archive that is the same wherever and whenever it is made; what it takes of the directory is still to be named.
fn archive(directory: &Path, file: &Path, release: &Release) -> Command {
    let mut tar = command(&TAR);
    tar.args([
        "--create",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--format=gnu",
    ])
    .arg(format!("--mtime=@{}", release.seconds()))
    .arg("--file")
    .arg(file)
    .arg("--directory")
    .arg(directory);
    tar
}
