//! The files of a package below a directory, as they will be below `/`.

use super::Release;
use super::contents::{CONTENTS, Item, Source};
use super::notices;
use crate::shell::root;
use anyhow::{Context, Result};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Puts everything that the table names in its place.
pub(super) fn fill(tree: &Path, release: &Release) -> Result<()> {
    for item in CONTENTS {
        let place = tree.join(item.place.trim_start_matches('/'));
        put(item, &place, release).with_context(|| format!("make {} for a package", item.place))?;
    }
    date(tree, release.time)
}

fn put(item: &Item, place: &Path, release: &Release) -> Result<()> {
    let directory = match item.source {
        Source::Manual => place,
        _ => place.parent().unwrap_or(place),
    };
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let bytes = match item.source {
        Source::Program => read(&release.program.file)?,
        Source::File(path) => read(&root().join(path))?,
        Source::Versioned(path) => {
            let text = fs::read_to_string(root().join(path));
            let text = text.with_context(|| format!("read {path}"))?;
            text.replace("VERSION", &release.version).into_bytes()
        }
        Source::Completion(shell) => release.program.completions(shell)?.into_bytes(),
        Source::Notices => notices::all()?.into_bytes(),
        Source::Manual => return release.program.manual(place),
        Source::Link(to) => return symlink(to, place).context("make the link"),
    };
    fs::write(place, bytes).with_context(|| format!("write {}", place.display()))?;
    fs::set_permissions(place, Permissions::from_mode(item.mode))
        .with_context(|| format!("set the permissions of {}", place.display()))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}

/// Gives all below a directory the time and the permissions that do not depend on who made them. A link keeps its time, which
/// the packers replace.
pub(super) fn date(directory: &Path, time: SystemTime) -> Result<()> {
    for path in inside(directory)? {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            date(&path, time)?;
        } else {
            // The program writes its manual with the permissions of the caller's umask.
            let mode = fs::metadata(&path)?.permissions().mode();
            let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(&path, Permissions::from_mode(mode))
                .with_context(|| format!("set the permissions of {}", path.display()))?;
            File::open(&path)
                .and_then(|file| file.set_modified(time))
                .with_context(|| format!("set the time of {}", path.display()))?;
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(0o755))
        .and_then(|()| File::open(directory)?.set_modified(time))
        .with_context(|| format!("set the time of {}", directory.display()))
}

/// What is in a directory, in the order of the names.
pub(super) fn inside(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.with_context(|| format!("read {}", directory.display()))?;
    paths.sort();
    Ok(paths)
}

/// Every file and link of a tree, as a path from `/`.
pub(super) fn files(tree: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    list(tree, tree, &mut found)?;
    Ok(found)
}

fn list(tree: &Path, directory: &Path, found: &mut Vec<String>) -> Result<()> {
    for path in inside(directory)? {
        if path.is_dir() && !path.is_symlink() {
            list(tree, &path, found)?;
        } else {
            let place = path.strip_prefix(tree).unwrap_or(&path);
            found.push(format!("/{}", place.display()));
        }
    }
    Ok(())
}
