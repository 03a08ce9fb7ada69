//! The directories of the pins. A user who may write there could replace the programs that filter this node's packets,
//! so a directory that other users may write to is refused.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::{mount::MsFlags, unistd::geteuid};

use super::Error;

/// The mode of the file system when the daemon mounts it, and of each directory that it makes.
const OURS: u32 = 0o700;
/// Write permission for the group and for others.
const OTHERS: u32 = 0o022;
/// In a directory with this bit, only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;

/// Mounts the BPF file system unless one is there.
pub fn ensure_bpffs(path: &Path) -> Result<(), Error> {
    let error = |source: io::Error| Error::Bpffs {
        path: path.into(),
        source,
    };
    if is_bpffs(path) {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(error)?;
    let mode = format!("mode={OURS:o}");
    let (what, flags) = (Some("bpf"), MsFlags::empty());
    let mounted = nix::mount::mount(what, path, what, flags, Some(mode.as_str()));
    mounted.map_err(|errno| error(errno.into()))?;
    tracing::info!(path = %path.display(), "mounted the BPF file system");
    Ok(())
}

/// Is a BPF file system mounted there?
pub fn is_bpffs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path)
        .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::FsType(libc::BPF_FS_MAGIC))
}

/// Refuses the file system, `ober/` in it or an instance's directory when other users may change its entries. One that
/// does not exist yet is accepted.
pub(super) fn judge(bpffs: &Path, home: &Path) -> Result<(), Error> {
    let between = home
        .ancestors()
        .skip(1)
        .take_while(|path| *path != bpffs && path.starts_with(bpffs));
    let mut own: Vec<&Path> = between.collect();
    own.push(home);
    look(bpffs, STICKY)?;
    own.into_iter().try_for_each(|path| look(path, 0))
}

/// `excused`: a bit of the mode that makes write permission for other users harmless.
fn look(path: &Path, excused: u32) -> Result<(), Error> {
    let data = match fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(pins(path)(source)),
    };
    let us = geteuid().as_raw();
    let why = if !data.is_dir() {
        "it is no directory".to_owned()
    } else if data.uid() != us && data.uid() != 0 {
        format!(
            "it belongs to user {}, who may exchange what is in it",
            data.uid()
        )
    } else if data.mode() & OTHERS != 0 && data.mode() & excused == 0 {
        let mode = data.mode() & 0o7777;
        format!("its mode is {mode:04o}, so others may exchange what is in it")
    } else {
        return Ok(());
    };
    Err(Error::NotOurs {
        path: path.into(),
        why,
    })
}

/// Makes a directory for pins, and its parents.
pub(super) fn make(path: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(OURS);
    builder.create(path).map_err(pins(path))
}

fn pins(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = PathBuf::from(path);
    move |source| Error::Pins {
        path: path.clone(),
        source,
    }
}
