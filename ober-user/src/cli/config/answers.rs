//! Answers that are given, not asked for.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;

use super::original::Original;
use crate::{
    cli::Error,
    config::{
        File, Texts,
        edit::{self, Document, Key},
    },
    system::file,
};

const STDIN: &str = "-";

#[derive(Debug, Args)]
pub(super) struct Answers {
    /// A TOML with the same keys as ober.toml, whose values are taken over; `-`: standard input
    #[arg(long = "answers", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Give one key a value; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
    /// Remove a key, a table or an element of a list, before anything is set; may be repeated
    #[arg(long, value_name = "KEY")]
    unset: Vec<Key>,
}

/// `KEY=VALUE`.
#[derive(Clone, Debug)]
struct Setting {
    key: Key,
    value: toml_edit::Value,
}

impl FromStr for Setting {
    type Err = edit::Error;

    fn from_str(text: &str) -> Result<Self, edit::Error> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| edit::Error::Key(text.to_owned()))?;
        Ok(Self {
            key: key.parse()?,
            value: edit::value(value)?,
        })
    }
}

impl Answers {
    pub(super) fn are_given(&self) -> bool {
        self.file.is_some() || !self.set.is_empty() || !self.unset.is_empty()
    }

    /// The text of the main file with these answers.
    pub(super) fn put(&self, original: &Original) -> Result<String, Error> {
        let mut document = original.document()?;
        let refused = |error: edit::Error| original.refused(&error);
        for key in &self.unset {
            one_place(original, key)?;
            if !document.unset(key).map_err(refused)? {
                let words = format!("remove `{key}`: it is not in {}", original.path().display());
                return Err(Error::Usage(words));
            }
        }
        if let Some(path) = &self.file {
            document.merge(&read(path)?).map_err(refused)?;
        }
        for Setting { key, value } in &self.set {
            one_place(original, key)?;
            document.set(key, value.clone()).map_err(refused)?;
        }
        Ok(document.text())
    }
}

fn one_place(original: &Original, key: &Key) -> Result<(), Error> {
    let Some(path) = original.elsewhere(key) else {
        return Ok(());
    };
    let words = format!(
        "change `{key}`: it belongs to {}, and this command changes {} alone; change it there",
        path.display(),
        original.path().display()
    );
    Err(Error::Usage(words))
}

fn read(path: &Path) -> Result<Document, Error> {
    let (path, text) = if path.as_os_str() == STDIN {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(Error::Stdin)?;
        (PathBuf::from("standard input"), text)
    } else {
        let read = file::text(path, file::Kind::Configuration);
        let text = read.map_err(|error| {
            Error::Usage(format!("read the answers in {}: {error}", path.display()))
        })?;
        (path.to_owned(), text)
    };
    Document::parse(&text).map_err(|error| misspelt(path, text, &error))
}

/// Answers that are not TOML, with the place.
fn misspelt(path: PathBuf, text: String, error: &edit::Error) -> Error {
    let words = format!("read the answers in {}: {error}", path.display());
    let mode = 0o600;
    let main = File { path, text, mode };
    let more = Vec::new();
    match (Texts { main, more }).notation() {
        Err(place) => place.into(),
        Ok(()) => Error::Usage(words),
    }
}
