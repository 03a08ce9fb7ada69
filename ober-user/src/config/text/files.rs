//! The files of a configuration as written, before any check: read, kept and restored.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    source::{Fault, Sources, Span},
    tree,
};
use crate::{
    config::{Config, Env, Error, Report, base, judge::Judge},
    system::{
        file::{self, trust},
        hash,
    },
};

/// Directory beside the main file, whose `*.toml` are read after it.
const MORE: &str = "config.d";

/// The main file, and those of `config.d` beside it in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    pub main: File,
    pub more: Vec<File>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute; messages name it.
    pub path: PathBuf,
    pub text: String,
    /// Permission bits, as in `chmod`.
    pub mode: u32,
}

impl File {
    /// A fingerprint of the text.
    pub fn fingerprint(&self) -> String {
        fingerprint(self.text.as_bytes())
    }

    /// Reads one file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        trusted(path)?;
        let read = || {
            let path = std::path::absolute(path)?;
            let (text, facts) = file::text_with(&path, file::Kind::Configuration)?;
            Ok(Self {
                path,
                text,
                mode: facts.mode() & 0o777,
            })
        };
        read().map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })
    }
}

/// A fingerprint of the bytes of a file; a file that is not there counts as an empty one.
pub fn fingerprint(bytes: &[u8]) -> String {
    format!("{:016x}", hash::fnv1a(bytes.iter().copied()))
}

/// An account that may write the file decides which programs the daemon runs, so not every account may.
pub(crate) fn trusted(path: &Path) -> Result<(), Error> {
    match trust::writer(path, &[]) {
        Ok(Some(writer)) if writer.is_everybody() => Err(Error::Writable {
            path: path.to_owned(),
            writer,
        }),
        _ => Ok(()),
    }
}

impl Texts {
    /// Reads `main` and `config.d/*.toml` beside it.
    pub fn read(main: &Path) -> Result<Self, Error> {
        let main = File::read(main)?;
        Self::replaced(&main.path.clone(), main)
    }

    /// The configuration with `file` in place of the main file at `main`, which need not be readable.
    pub fn replaced(main: &Path, file: File) -> Result<Self, Error> {
        let more: Result<_, _> = further(main)?.iter().map(|path| File::read(path)).collect();
        Ok(Self {
            main: file,
            more: more?,
        })
    }

    /// The valid configuration; relative paths start at `base`.
    pub fn config(&self, base: &Path, env: &Env) -> Result<Config, Error> {
        let sources = self.sources();
        let invalid = |faults: Vec<Fault>| Error::Invalid(Report(sources.locate(faults)));
        let file = tree::read(&sources, env).map_err(invalid)?;
        let judged = Judge::new(&sources, base, env).config(file);
        judged.map(|(config, _)| config).map_err(invalid)
    }

    /// Are all of them TOML? Whether they are a configuration is not asked.
    pub fn notation(&self) -> Result<(), Error> {
        let sources = self.sources();
        let faults = tree::misspelt_places(&sources);
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::Invalid(Report(sources.locate(faults))))
    }

    /// The same for a configuration that was in force before: an unusable file that it refers to disables only what depends on
    /// it. Returns the faults that were forgiven.
    pub fn config_again(&self, base: &Path, env: &Env) -> Result<(Config, Report), Error> {
        let sources = self.sources();
        let located = |faults: Vec<Fault>| Report(sources.locate(faults));
        let invalid = |faults| Error::Invalid(located(faults));
        let file = tree::read(&sources, env).map_err(invalid)?;
        let judge = Judge::new(&sources, base, env).forgiving();
        let (config, missing) = judge.config(file).map_err(invalid)?;
        Ok((config, located(missing)))
    }

    /// A fault of a file that a key names, found only after the configuration was read. Its place is the first value of a key
    /// that begins with `key` and whose path, absolute, `is_meant`; without one it has no line.
    pub fn blame(&self, key: &str, is_meant: &dyn Fn(&Path) -> bool, message: String) -> Report {
        let base = base(&self.main.path);
        let names = |text: &str| is_meant(&base.join(text));
        let sources = self.sources();
        let span = sources.texts().find_map(|(text, start)| {
            let (table, _) = DeTable::parse_recoverable(text);
            let span = value_of(table.get_ref(), key, &names)?;
            Some(span.start + start..span.end + start)
        });
        Report(sources.locate(vec![Fault::new(span, message)]))
    }

    pub fn files(&self) -> impl Iterator<Item = &File> {
        std::iter::once(&self.main).chain(&self.more)
    }

    /// A hash of the texts, whatever the main file is called: FNV-1a, hexadecimal.
    pub fn hash(&self) -> String {
        let names = self
            .more
            .iter()
            .filter_map(|file| file.path.file_name())
            .flat_map(std::ffi::OsStr::as_encoded_bytes);
        let texts = self.files().flat_map(|file| file.text.bytes().chain([0]));
        let hash = hash::fnv1a(texts.chain(names.copied()));
        format!("{hash:016x}")
    }

    pub(crate) fn sources(&self) -> Sources {
        let mut sources = Sources::default();
        for File { path, text, mode } in self.files() {
            sources.add(path.clone(), text.clone(), file::exposed(*mode));
        }
        sources
    }
}

fn value_of(table: &DeTable<'_>, key: &str, names: &dyn Fn(&str) -> bool) -> Option<Span> {
    table.iter().find_map(|(name, value)| {
        let wanted = name.get_ref().starts_with(key);
        value_within(value, wanted, key, names)
    })
}

fn value_within(
    value: &Spanned<DeValue<'_>>,
    wanted: bool,
    key: &str,
    names: &dyn Fn(&str) -> bool,
) -> Option<Span> {
    match value.get_ref() {
        DeValue::String(text) if wanted && names(text) => Some(value.span()),
        DeValue::Array(items) => items
            .iter()
            .find_map(|item| value_within(item, wanted, key, names)),
        DeValue::Table(table) => value_of(table, key, names),
        _ => None,
    }
}

/// The files that are read after the main one.
pub fn further(main: &Path) -> Result<Vec<PathBuf>, Error> {
    let directory = &main.with_file_name(MORE);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(Error::Directory {
                path: directory.to_owned(),
                source,
            });
        }
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(|source| Error::Directory {
        path: directory.to_owned(),
        source,
    })?;
    // Editors keep hidden files beside the one being edited.
    let hidden = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml") && !hidden(path));
    paths.sort();
    Ok(paths)
}
