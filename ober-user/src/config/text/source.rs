//! The files of a configuration, laid end to end so that one number identifies a place in any of them; and the way from such a
//! number back to file, line, column and a picture of the line.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::error::{Excerpt, Problem};

/// Bytes of all sources laid end to end.
pub(crate) type Span = Range<usize>;

/// A fault whose file and line are not known yet.
#[derive(Debug)]
pub(crate) struct Fault {
    span: Option<Span>,
    message: String,
    help: Option<String>,
    /// The place of the other half of a contradiction.
    first: Option<Span>,
    /// The text is correct, but a file that it refers to cannot be used.
    pub(crate) outside: bool,
}

impl Fault {
    /// `span` is `None` when something is missing.
    pub(crate) fn new(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self {
            span: span.into(),
            message: message.into(),
            help: None,
            first: None,
            outside: false,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn outside(mut self) -> Self {
        self.outside = true;
        self
    }

    pub(crate) fn first(mut self, span: Span) -> Self {
        self.first = Some(span);
        self
    }
}

struct Source {
    path: PathBuf,
    text: String,
    start: usize,
    /// May users who are not root read it?
    exposed: bool,
}

/// Every file that was read, the main one first.
#[derive(Default)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    pub(crate) fn add(&mut self, path: PathBuf, text: String, exposed: bool) {
        // One byte between files, so that the end of one file is not the start of the next.
        let start = self
            .0
            .last()
            .map_or(0, |last| last.start + last.text.len() + 1);
        self.0.push(Source {
            path,
            text,
            start,
            exposed,
        });
    }

    /// Each text with the number of its first byte.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0
            .iter()
            .map(|source| (source.text.as_str(), source.start))
    }

    fn find(&self, span: &Span) -> Option<&Source> {
        self.0
            .iter()
            .rev()
            .find(|source| source.start <= span.start)
    }

    /// The file of `span`, when every account may read it and the words are in it literally.
    pub(crate) fn exposes(&self, span: &Span) -> Option<&Path> {
        let source = self.find(span)?;
        let written = source
            .text
            .get(span.start - source.start..span.end - source.start)?;
        (source.exposed && !written.contains("${")).then_some(&source.path)
    }

    /// Sorts the faults into reading order and locates each one.
    pub(crate) fn locate(&self, mut faults: Vec<Fault>) -> Vec<Problem> {
        faults.sort_by_key(|fault| fault.span.as_ref().map(|span| span.start));
        faults
            .into_iter()
            .map(|fault| self.problem(fault))
            .collect()
    }

    fn problem(&self, fault: Fault) -> Problem {
        let source = fault
            .span
            .as_ref()
            .and_then(|span| self.find(span))
            .or(self.0.first());
        let place = fault
            .span
            .as_ref()
            .zip(source)
            .map(|(span, source)| source.place(span));
        let first = fault.first.and_then(|span| {
            let source = self.find(&span)?;
            Some(format!(
                "first written at {}:{}",
                source.path.display(),
                source.place(&span).line
            ))
        });
        Problem {
            file: source.map(|source| source.path.clone()).unwrap_or_default(),
            place,
            message: fault.message,
            help: first.into_iter().chain(fault.help).collect(),
        }
    }
}

impl Source {
    fn place(&self, span: &Span) -> Excerpt {
        let from = (span.start - self.start).min(self.text.len());
        let before = self.text.get(..from).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = self.text.get(line_start..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let marked = line.get(from - line_start..).unwrap_or_default();
        let width = marked
            .char_indices()
            .filter(|(at, _)| at + from + self.start < span.end);
        Excerpt {
            line: before.matches('\n').count() + 1,
            column: column + 1,
            width: width.count().max(1),
            text: (!secret(line)).then(|| line.replace('\t', " ")),
        }
    }
}

/// The keys whose values are secrets.
const SECRETS: [&str; 4] = ["cluster_key", "password", "secret_key", "token"];

/// A line or key that may hold a secret, which is never shown.
pub fn secret(line: &str) -> bool {
    let mut keys = SECRETS.into_iter();
    keys.any(|key| line.replace(&format!("{key}_file"), "").contains(key))
}

/// Is this the name of a secret, and not only like it? A table of that name is a mistake, with the secret somewhere in it; one of
/// a name like it may be a list or a backend.
pub(crate) fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key)
}
