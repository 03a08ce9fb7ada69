//! Bytes appended to a file.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{Error, off_the_runtime};
use crate::system::file;

/// Bytes appended to a file and synced; [`Appended::commit`] keeps them, dropping the value cuts them off again.
#[derive(Debug)]
pub struct Appended {
    path: PathBuf,
    file: File,
    /// Length of the file without them, in bytes.
    length: u64,
    kept: bool,
}

impl Appended {
    /// `None`: the file is missing, or its length is not `length`.
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
            path: path.into(),
            file,
            length,
            kept: false,
        };
        appended.file.write_all_at(bytes, length).map_err(error)?;
        off_the_runtime(|| appended.file.sync_data()).map_err(error)?;
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
        let cut = || {
            self.file.set_len(self.length)?;
            self.file.sync_data()
        };
        if let Err(error) = off_the_runtime(cut) {
            tracing::error!(path = %self.path.display(), %error, "cut off what was not committed");
        }
    }
}
