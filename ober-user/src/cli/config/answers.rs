//! Answers that are given, not asked for.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;

use super::original::Original;
use crate::{
    cli::{Error, stdin},
    config::{
        self, File, Texts,
        edit::{self, Document, Key},
    },
    system::file,
};

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

/// `KEY=VALUE`, as typed. It is read here and not with the other arguments, whose errors show them: it may be a secret.
#[derive(Clone)]
struct Setting(String);

impl fmt::Debug for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown())
    }
}

impl From<String> for Setting {
    fn from(typed: String) -> Self {
        Self(typed)
    }
}

impl Setting {
    fn read(&self) -> Result<(Key, toml_edit::Value), Error> {
        let wrong = |why: &dyn fmt::Display| Error::Usage(format!("set `{}`: {why}", self.shown()));
        let (key, value) = self
            .0
            .split_once('=')
            .ok_or_else(|| wrong(&"KEY=VALUE is wanted, as in `bgp.as=65001`"))?;
        let without = |error: edit::Error| match error {
            edit::Error::Key(_) if self.is_secret() => wrong(&"what stands before `=` is no key"),
            edit::Error::Value(_, why) if self.is_secret() => wrong(&format!(
                "what stands behind `=` is no value: {why}; write text between quotes"
            )),
            error => wrong(&error),
        };
        let key = key.parse().map_err(without)?;
        let value = edit::value(value).map_err(without)?;
        Ok((key, value))
    }

    fn is_secret(&self) -> bool {
        config::is_secret_line(&self.0)
    }

    /// Without what may be a secret.
    fn shown(&self) -> String {
        if !self.is_secret() {
            return self.0.clone();
        }
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "._-:".contains(letter);
        match self.0.split_once('=') {
            Some((key, _)) if key.chars().all(is_name) => format!("{key}=(secret)"),
            _ => "(secret)".to_owned(),
        }
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
            let answers = read(path)?;
            for path in answers.keys().paths() {
                one_place(original, &Key::of(path.iter().cloned()))?;
            }
            document.merge(&document_of(answers)?).map_err(refused)?;
        }
        for setting in &self.set {
            let (key, value) = setting.read()?;
            one_place(original, &key)?;
            document.set(&key, value).map_err(refused)?;
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

/// The answers in a file.
fn read(path: &Path) -> Result<Texts, Error> {
    let main = if stdin::is_meant(path) {
        stdin::read()?
    } else {
        let read = file::text(path, file::Kind::Configuration);
        let text = read.map_err(|error| {
            Error::Usage(format!("read the answers in {}: {error}", path.display()))
        })?;
        let (path, mode) = (path.to_owned(), 0o600);
        File { path, text, mode }
    };
    let answers = Texts {
        main,
        more: Vec::new(),
    };
    // With the place where they are not TOML.
    answers.notation()?;
    Ok(answers)
}

fn document_of(answers: Texts) -> Result<Document, Error> {
    let File { path, text, .. } = answers.main;
    Document::parse(&text)
        .map_err(|error| Error::Usage(format!("read the answers in {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_be_read_is_named_and_its_secret_is_not_shown() {
        for (typed, words) in [
            ("gate", "set `gate`: KEY=VALUE is wanted"),
            ("a..b=1", "`a..b` is no key"),
            ("gate.rise=[1", "`[1` is no value"),
            ("node.cluster_key=\"hush", "set `node.cluster_key=(secret)`"),
            (
                "bgp.neighbours.10.0.0.1.password=[hush",
                "password=(secret)`",
            ),
            ("node.cluster_key: hush", "set `(secret)`"),
            ("token hush=1", "set `(secret)`"),
        ] {
            let setting = Setting(typed.to_owned());
            let refused = setting.read().unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
            assert!(
                !format!("{refused}{setting:?}").contains("hush"),
                "{refused}"
            );
        }
        let (key, value) = Setting("a.token=\"x=y\"".to_owned()).read().unwrap();
        assert_eq!(
            (key.to_string().as_str(), value.as_str()),
            ("a.token", Some("x=y"))
        );
    }
}
