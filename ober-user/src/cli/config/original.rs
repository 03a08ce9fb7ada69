//! The files of the configuration as they were when the command began.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    cli::{Error, instance},
    config::{
        self, File, Texts,
        edit::{self, Document, Key, View},
        further,
    },
};

/// A new file may come to hold secrets.
const MODE: u32 = 0o600;

pub(super) struct Original {
    pub(super) main: File,
    /// Is there no main file yet?
    pub(super) is_new: bool,
    /// Those of `config.d`.
    pub(super) further: Vec<File>,
}

impl Original {
    /// Reads the files. An error when one cannot be read or is not TOML.
    pub(super) async fn read(path: &Path) -> Result<Self, Error> {
        let original = Self::as_written(path).await?;
        original.texts(original.main.clone()).notation()?;
        Ok(original)
    }

    /// Reads the files, whatever is in them.
    pub(super) async fn as_written(path: &Path) -> Result<Self, Error> {
        let read = |path: &Path| {
            let (main, is_new) = match File::read(path) {
                Ok(file) => (file, false),
                Err(config::Error::Read { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    (absent(path), true)
                }
                Err(error) => return Err(error),
            };
            let more: Result<_, _> = further(path)?.iter().map(|it| File::read(it)).collect();
            Ok(Self {
                main,
                is_new,
                further: more?,
            })
        };
        Ok(instance::away(path, read).await?)
    }

    pub(super) fn path(&self) -> &Path {
        &self.main.path
    }

    /// The main file with another text.
    pub(super) fn with(&self, text: &str) -> File {
        File {
            text: text.to_owned(),
            ..self.main.clone()
        }
    }

    /// All files, with this main one.
    pub(super) fn texts(&self, main: File) -> Texts {
        Texts {
            main,
            more: self.further.clone(),
        }
    }

    pub(super) fn document(&self) -> Result<Document, Error> {
        Document::parse(&self.main.text).map_err(|error| self.refused(&error))
    }

    pub(super) fn refused(&self, error: &edit::Error) -> Error {
        Error::Usage(format!("change {}: {error}", self.path().display()))
    }

    /// The file of `config.d` that has this key, or the table that it belongs into: a key stands in one file.
    pub(super) fn elsewhere(&self, key: &Key) -> Option<&Path> {
        let has = |file: &File, key: &Key| View::of([file]).get(key).is_some();
        let above = key.above().filter(|above| !has(&self.main, above));
        let found = self
            .further
            .iter()
            .find(|file| has(file, key) || above.as_ref().is_some_and(|above| has(file, above)));
        found.map(|file| file.path.as_path())
    }
}

fn absent(path: &Path) -> File {
    File {
        path: std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path)),
        text: String::new(),
        mode: MODE,
    }
}
