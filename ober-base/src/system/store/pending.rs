//! Files written beside their places, and moved there together or not at all.

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2},
    sys::stat::Mode,
};
use serde::Serialize;

use super::{Error, Kind, Lasts, off_the_runtime, trouble};
use crate::system::file::{self, directory};

/// A file written beside its place; [`Pending::commit`] moves it there, dropping the value removes it.
#[derive(Debug)]
pub struct Pending {
    kind: Kind,
    path: PathBuf,
    beside: PathBuf,
    file: File,
    synced: bool,
}

impl Pending {
    /// Writes `bytes`, readable by the owner alone, without touching the file in force.
    pub fn write(kind: Kind, path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let error = |source| Error::Write {
            path: path.into(),
            source,
        };
        if let Some(parent) = path.parent() {
            make_directory(parent, kind.lasts()).map_err(error)?;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let beside = PathBuf::from(name);
        let mut options = file::private();
        options.write(true).create(true).truncate(true);
        let mut pending = Self {
            kind,
            path: path.into(),
            file: options.open(&beside).map_err(error)?,
            beside,
            synced: kind.lasts() == Lasts::Boot,
        };
        // A file left by a process that died may be readable by others.
        let mode = pending.file.set_permissions(Permissions::from_mode(0o600));
        mode.and_then(|()| pending.file.write_all(bytes))
            .map_err(error)?;
        pending.begin();
        Ok(pending)
    }

    pub fn json(kind: Kind, path: &Path, value: &impl Serialize) -> Result<Self, Error> {
        let text = serde_json::to_vec_pretty(value).map_err(|source| Error::Write {
            path: path.into(),
            source: source.into(),
        })?;
        Self::write(kind, path, &text)
    }

    /// The bytes are on disk when this returns; the name is on disk after the commit. No effect on files that last until the
    /// next boot only.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.synced {
            return Ok(());
        }
        let synced = off_the_runtime(|| self.file.sync_all());
        synced.map_err(|source| self.error(source))?;
        self.synced = true;
        Ok(())
    }

    /// Sets the mode and the owner that the file will have in its place.
    pub fn belongs(&self, mode: u32, owner: Option<(u32, u32)>) -> Result<(), Error> {
        let give = || {
            if let Some((user, group)) = owner {
                std::os::unix::fs::fchown(&self.file, Some(user), Some(group))?;
            }
            self.file.set_permissions(Permissions::from_mode(mode))
        };
        give().map_err(|source| self.error(source))
    }

    /// Puts the file in force.
    pub fn commit(self) -> Result<(), Error> {
        Batch::from(vec![self]).place().map(Placed::keep)
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Write {
            path: self.path.clone(),
            source,
        }
    }

    /// Tells the kernel to begin writing, so that several files are written at the same time.
    fn begin(&self) {
        if !self.synced {
            // SAFETY: takes plain numbers; a refusal only means that the sync after it takes longer.
            unsafe {
                libc::sync_file_range(self.file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE)
            };
        }
    }

    fn exchange(&self) -> nix::Result<()> {
        let (beside, path) = (&self.beside, &self.path);
        renameat2(
            AT_FDCWD,
            beside,
            AT_FDCWD,
            path,
            RenameFlags::RENAME_EXCHANGE,
        )
    }

    fn put(&self) -> io::Result<Was> {
        match self.exchange() {
            Ok(()) => Ok(Was::Beside),
            Err(Errno::ENOENT) => fs::rename(&self.beside, &self.path).map(|()| Was::Absent),
            // Not every file system can exchange two files.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                fs::rename(&self.beside, &self.path).map(|()| Was::Gone)
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After a commit, the path beside is empty or holds the previous file.
        if fs::remove_file(&self.beside).is_ok() {
            tracing::trace!(path = %self.beside.display(), "removed");
        }
    }
}

/// Files that come into force together.
#[derive(Debug, Default)]
pub struct Batch(Vec<Pending>);

impl From<Vec<Pending>> for Batch {
    fn from(files: Vec<Pending>) -> Self {
        Self(files)
    }
}

impl Batch {
    pub fn push(&mut self, file: Pending) {
        self.0.push(file);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Moves all files to their places in the given order, and syncs them; after an error none of them is there.
    pub fn place(self) -> Result<Placed, Error> {
        off_the_runtime(|| self.place_now())
    }

    fn place_now(mut self) -> Result<Placed, Error> {
        self.0.iter_mut().try_for_each(Pending::sync)?;
        let mut placed = Placed {
            files: Vec::new(),
            kept: false,
        };
        for file in self.0 {
            let was = file.put().map_err(|source| file.error(source))?;
            placed.files.push((file, was));
        }
        placed.sync_directories()?;
        Ok(placed)
    }
}

/// What was in the place before.
#[derive(Clone, Copy, Debug)]
enum Was {
    /// A file, which is now beside.
    Beside,
    Absent,
    Gone,
}

/// Files in their places. Dropping it without [`Placed::keep`] puts the previous files back.
#[derive(Debug)]
#[must_use]
pub struct Placed {
    files: Vec<(Pending, Was)>,
    kept: bool,
}

impl Placed {
    /// Keeps the new files; afterwards the previous ones cannot be put back.
    pub fn keep(mut self) {
        self.kept = true;
        for (file, _) in &self.files {
            trouble::kept(&file.path);
        }
    }

    fn sync_directories(&self) -> Result<(), Error> {
        let lasting = self
            .files
            .iter()
            .map(|(file, _)| file)
            .filter(|file| file.kind.lasts() == Lasts::Power);
        let directories: BTreeSet<&Path> = lasting.filter_map(|file| file.path.parent()).collect();
        for directory in directories {
            sync_directory(directory)?;
        }
        Ok(())
    }

    fn put_back(&self) {
        for (file, was) in self.files.iter().rev() {
            let back = match was {
                Was::Beside => file.exchange().map_err(io::Error::from),
                Was::Absent => fs::rename(&file.path, &file.beside),
                Was::Gone => Err(io::Error::other(
                    "its file system cannot exchange two files, so what was there is gone",
                )),
            };
            if let Err(error) = back {
                let path = file.path.display();
                tracing::error!(%path, %error, "put back the file that was there before");
            }
        }
        if let Err(error) = self.sync_directories() {
            tracing::error!(%error, "put back what was there before");
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if !self.kept {
            off_the_runtime(|| self.put_back());
        }
    }
}

/// Makes a directory and its missing parents.
fn make_directory(path: &Path, lasts: Lasts) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let there = path.ancestors().skip(1).find(|above| above.is_dir());
    directory::make(path)?;
    if lasts == Lasts::Power {
        let made = path.ancestors().take_while(|made| Some(*made) != there);
        for above in made.filter_map(Path::parent) {
            open_directory(above)?.sync_all()?;
        }
    }
    Ok(())
}

/// Renames a file within its directory, durably.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    off_the_runtime(|| {
        fs::rename(from, to).map_err(|source| Error::Write {
            path: from.into(),
            source,
        })?;
        to.parent().map_or(Ok(()), sync_directory)
    })
}

/// Removes a file, durably; a missing file is no failure.
pub fn remove(path: &Path) -> Result<(), Error> {
    off_the_runtime(|| match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            trouble::kept(path);
            Ok(())
        }
        Err(source) => Err(Error::Write {
            path: path.into(),
            source,
        }),
        Ok(()) => {
            trouble::kept(path);
            path.parent().map_or(Ok(()), sync_directory)
        }
    })
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?.into())
}

/// Makes the renames in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), Error> {
    let sync = || open_directory(directory)?.sync_all();
    match sync() {
        // Some file systems cannot sync a directory.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced.map_err(|source| Error::Write {
            path: directory.into(),
            source,
        }),
    }
}

#[cfg(test)]
impl Pending {
    /// Changes its place to one that it cannot be moved to.
    pub(super) fn spoil(&mut self, path: &Path) {
        self.path = path.to_owned();
    }
}
