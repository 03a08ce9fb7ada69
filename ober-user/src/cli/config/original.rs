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
const SERVICES: &str = "services";

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

    /// The values of all files, with this text of the main one.
    pub(super) fn view(&self, text: &str) -> View {
        let main = self.with(text);
        View::of(std::iter::once(&main).chain(&self.further))
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

    /// The file of `config.d` that has this key, or the nearest of the tables that it belongs into: a key stands in one file.
    pub(super) fn elsewhere(&self, key: &Key) -> Option<&Path> {
        let has = |file: &File, key: &Key| View::of([file]).get(key).is_some();
        let that_has = |key: &Key| self.further.iter().find(|file| has(file, key));
        let mut found = that_has(key);
        let mut above = key.above();
        while let (None, Some(table)) = (found, above) {
            // Every file may have services, backends and lists of its own.
            let is_shared = table == Key::of([SERVICES]) || config::is_named_freely(&table);
            if is_shared || has(&self.main, &table) {
                break;
            }
            found = that_has(&table);
            above = table.above();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_into_the_file_of_the_nearest_table_that_there_is() {
        let file = |path: &str, text: &str| File {
            path: path.into(),
            text: text.to_owned(),
            mode: MODE,
        };
        let original = Original {
            main: file("/ober.toml", "[gate]\nrise = 2\n"),
            is_new: false,
            further: vec![
                file("/bgp.toml", "[bgp]\nas = 65001\n[gate]\nfall = 3\n"),
                file(
                    "/s3.toml",
                    "[[services]]\nname = 's3'\nvips = ['192.0.2.1']\n[backends.rgw]\nservers = ['rgw1']\n[lists.x]\n",
                ),
            ],
        };
        for (key, path) in [
            ("bgp.as", Some("/bgp.toml")),
            ("bgp.neighbours.192.0.2.254.as", Some("/bgp.toml")),
            ("bgp.depreference.med", Some("/bgp.toml")),
            ("gate.fall", Some("/bgp.toml")),
            ("gate.settle", None),
            ("vrrp.nodes.a.addresses", None),
            ("services.s3.listeners.443.certificate", Some("/s3.toml")),
            ("services.two.listeners.443.certificate", None),
            ("backends.rgw.balance", Some("/s3.toml")),
            ("backends.cold.servers", None),
            ("lists.routers.sources", None),
        ] {
            let found = original.elsewhere(&key.parse().unwrap());
            assert_eq!(found, path.map(Path::new), "{key}");
        }
    }
}
