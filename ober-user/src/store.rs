//! Files that survive: written beside and renamed, so that a reader sees the old one or the new one, whole.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::file::{self, Kind, directory};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("write {path}: {source}; its directory must be writable and its disk not full", path = .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("read {path}: {source}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("read {path}: {source}; it is damaged: remove it to start from the configuration", path = .path.display())]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// A file written beside its place; [`Pending::commit`] puts it there, dropping it removes it.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    beside: PathBuf,
}

impl Pending {
    /// Writes `bytes`, readable by the owner alone, without touching what is in force.
    pub fn write(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let error = |source| Error::Write {
            path: path.into(),
            source,
        };
        if let Some(parent) = path.parent() {
            directory::make(parent).map_err(error)?;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let pending = Self {
            path: path.into(),
            beside: name.into(),
        };
        let mut options = file::private();
        options.write(true).create(true).truncate(true);
        let mut file = options.open(&pending.beside).map_err(error)?;
        file.write_all(bytes).map_err(error)?;
        Ok(pending)
    }

    pub fn json(path: &Path, value: &impl Serialize) -> Result<Self, Error> {
        let text = serde_json::to_vec_pretty(value).map_err(|source| Error::Write {
            path: path.into(),
            source: source.into(),
        })?;
        Self::write(path, &text)
    }

    /// Makes sure that it survives a loss of power once it is committed.
    pub fn sync(&self) -> Result<(), Error> {
        let sync = || file::open(&self.beside, Kind::Own)?.sync_all();
        sync().map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// Gives it the mode and the owner that a file in its place has.
    pub fn belongs(&self, mode: u32, owner: Option<(u32, u32)>) -> Result<(), Error> {
        let give = || {
            if let Some((user, group)) = owner {
                std::os::unix::fs::chown(&self.beside, Some(user), Some(group))?;
            }
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(&self.beside, mode)
        };
        give().map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// Puts the file in force.
    pub fn commit(self) -> Result<(), Error> {
        fs::rename(&self.beside, &self.path).map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Committed: nothing is left to remove.
        if fs::remove_file(&self.beside).is_ok() {
            tracing::debug!(path = %self.beside.display(), "removed what was not committed");
        }
    }
}

/// Bytes written behind the end of a file; [`Appended::commit`] keeps them, dropping it cuts them off again.
#[derive(Debug)]
pub struct Appended {
    file: fs::File,
    /// Of the file without them.
    length: u64,
    kept: bool,
}

impl Appended {
    /// `None`: the file is not there, or is not as long as it was left.
    pub fn write(path: &Path, length: u64, bytes: &[u8]) -> Result<Option<Self>, Error> {
        let error = |source| Error::Write {
            path: path.into(),
            source,
        };
        let file = match file::private().write(true).open(path) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(error(source)),
        };
        if file.metadata().map_err(error)?.len() != length {
            return Ok(None);
        }
        let appended = Self {
            file,
            length,
            kept: false,
        };
        std::os::unix::fs::FileExt::write_all_at(&appended.file, bytes, length).map_err(error)?;
        Ok(Some(appended))
    }

    pub fn commit(mut self) {
        self.kept = true;
    }
}

impl Drop for Appended {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = self.file.set_len(self.length) {
            tracing::error!(%error, "cut off what was not committed");
        }
    }
}

/// Reads a file; `None` when there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match file::read(path, Kind::Own) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read {
            path: path.into(),
            source,
        }),
    }
}

/// Reads a JSON file; `None` when there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| Error::Damaged {
            path: path.into(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_and_not_committed_is_gone_and_only_a_file_as_it_was_left_is_appended_to() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        assert!(Appended::write(&path, 0, b"new").unwrap().is_none());
        fs::write(&path, "old").unwrap();
        drop(Appended::write(&path, 3, b", new").unwrap().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        Appended::write(&path, 3, b", new")
            .unwrap()
            .unwrap()
            .commit();
        assert_eq!(fs::read(&path).unwrap(), b"old, new");
        assert!(Appended::write(&path, 3, b", other").unwrap().is_none());
    }
}
