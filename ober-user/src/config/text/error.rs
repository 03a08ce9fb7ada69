//! Faults of a configuration: what, where, and how to correct them.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::system::file::trust::Writer;

/// Why there is no [`crate::config::Config`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read configuration {path}: {source}; {}", advice(.source, .path))]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "read configuration {path}: it decides which programs the daemon runs, and {writer}: {advice}",
        advice = .writer.advice()
    )]
    Writable { path: PathBuf, writer: Writer },
    #[error(
        "find the instance that {path} is of: `node.{key}` does not say it: {why}; correct it, or set the variable for this \
         command too"
    )]
    Location {
        path: PathBuf,
        key: &'static str,
        why: String,
    },
    #[error("list the directory {path} of further configuration files: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("learn which CPUs are online from {path}: {source}; is /sys mounted?")]
    Cpus { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Invalid(Report),
}

impl Error {
    /// The first fault, on one line.
    pub fn line(&self) -> String {
        let whole = self.to_string();
        let first = whole.lines().next().unwrap_or_default();
        match self {
            Self::Invalid(Report(problems)) if problems.len() > 1 => {
                format!("{first} (and {} more)", problems.len() - 1)
            }
            _ => first.to_owned(),
        }
    }
}

fn advice(error: &io::Error, path: &Path) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "`ober-user config` makes it (`ober-user config example` shows every key); or name another file".to_owned()
        }
        io::ErrorKind::PermissionDenied => "run as root or let this user read it".to_owned(),
        io::ErrorKind::InvalidData => "it must be UTF-8 text".to_owned(),
        _ => format!("check {}", path.display()),
    }
}

/// All faults that were found, in reading order. Not empty.
#[derive(Debug)]
pub struct Report(pub Vec<Problem>);

/// One fault.
#[derive(Debug)]
pub struct Problem {
    pub file: PathBuf,
    /// `None`: something is missing.
    pub place: Option<Excerpt>,
    pub message: String,
    /// How to correct it; may be empty.
    pub help: Vec<String>,
}

/// A part of one line.
#[derive(Debug)]
pub struct Excerpt {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Number of marked characters, at least 1.
    pub width: usize,
    /// The whole line; `None` when it may hold a secret.
    pub text: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            if number > 0 {
                out.write_str("\n\n")?;
            }
            problem.fmt(out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        let Some(place) = &self.place else {
            write!(out, "{file}: {}", self.message)?;
            return self
                .help
                .iter()
                .try_for_each(|help| write!(out, "\n  = {help}"));
        };
        let Excerpt {
            line,
            column,
            width,
            ..
        } = *place;
        write!(out, "{file}:{line}:{column}: {}", self.message)?;
        let indent = " ".repeat(line.to_string().len());
        if let Some(text) = &place.text {
            write!(out, "\n{indent} |\n{line} | {text}")?;
            write!(
                out,
                "\n{indent} | {}{}",
                " ".repeat(column - 1),
                "^".repeat(width)
            )?;
        }
        self.help
            .iter()
            .try_for_each(|help| write!(out, "\n{indent} = {help}"))
    }
}

/// The most similar of the known names, or all of them.
pub(crate) fn suggestion(found: &str, known: &[&str]) -> String {
    let distance = |name: &&&str| strsim::damerau_levenshtein(found, name);
    // A number is no misspelt other number.
    let known_words = known.iter().filter(|_| found.parse::<f64>().is_err());
    let nearest = known_words.min_by_key(distance);
    match nearest.filter(|name| distance(name) <= found.chars().count().div_ceil(3)) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "none is known here".to_owned(),
        None => format!("known: `{}`", known.join("`, `")),
    }
}
