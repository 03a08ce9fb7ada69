//! What can be wrong with an expression, and where.

use std::{fmt, io, path::PathBuf};

use crate::names::notation::Miss;

/// Bytes. A stream without line ends must not fill the memory.
pub(super) const LONGEST_LINE: usize = 4 << 20;

/// An expression was refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The expression has a fault.
    #[error("{place}: {fault}\n{}", place.excerpt())]
    Refused {
        place: Box<FaultPosition>,
        fault: Fault,
    },
    /// A stream that the expression names cannot be read.
    #[error("read {origin}: {source}; check that it exists and may be read")]
    Read { origin: Origin, source: io::Error },
}

impl Error {
    /// Column of the fault, counted in characters from 1; `None` when a stream could not be read.
    pub fn column(&self) -> Option<usize> {
        match self {
            Self::Refused { place, .. } => Some(place.column),
            Self::Read { .. } => None,
        }
    }

    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Refused { fault, .. } => Some(fault),
            Self::Read { .. } => None,
        }
    }
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A fault in a name, an address, a prefix or a port.
    #[error(transparent)]
    Miss(#[from] Miss),
    #[error(
        "'-' stands for standard input only where nothing else is written; {}",
        .meant.as_deref().map_or("for a range write 10.0.0.1-10.0.0.9 without blanks".to_owned(), |meant| format!("write {meant}"))
    )]
    Dash { meant: Option<String> },
    #[error("the bracket is never closed; add ']'")]
    Unclosed,
    #[error("there is no '[' before this ']'; add one or remove this")]
    Stray,
    #[error("a bracket inside a bracket; write the ranges side by side, as in n[1-3,7]")]
    Nested,
    #[error("a number is missing here; write n[1-3] or n[1,3]")]
    NoNumber,
    #[error("a range may contain digits only; write n[1-3]")]
    NotDigits,
    #[error("the range runs backwards; write the smaller end first")]
    Backwards,
    #[error("the number does not fit into 64 bits; put the leading digits before the bracket")]
    TooBig,
    #[error("'@' must be followed by the path of a file")]
    NoPath,
    #[error(
        "a file may not name further streams; write the names here, or both files in the expression"
    )]
    NestedSource,
    #[error("the line is not UTF-8 text; is this the right file?")]
    NotText,
    #[error(
        "the line is longer than {} bytes; write one name a line",
        LONGEST_LINE
    )]
    LongLine,
    #[error("{} names or addresses, over the limit of {limit}; {advice}", counted(*size))]
    TooMany {
        size: u64,
        limit: u64,
        advice: &'static str,
    },
}

/// The text of a size; one beyond 64 bits is only known to be large.
fn counted(size: u64) -> String {
    match size {
        u64::MAX => "more than 18 quintillion".to_owned(),
        size => format!("at least {size}"),
    }
}

/// The text that has the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Expression,
    File(PathBuf),
    Stdin,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expression => f.write_str("hostlist"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

/// Where a fault is, with enough of the text around it to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPosition {
    pub origin: Origin,
    /// Counted from 1; `None` in an expression, which has one line.
    pub line: Option<u64>,
    /// Counted in characters from 1.
    pub column: usize,
    /// The part of the text that is shown, without control characters.
    text: String,
    /// Characters of `text` before the fault.
    indent: usize,
}

/// Characters shown on either side of a fault.
const SHOWN: usize = 60;

impl FaultPosition {
    pub(super) fn new(origin: Origin, line: Option<u64>, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text).chars().count();
        let skipped = before.saturating_sub(SHOWN);
        // Control characters from a file must not reach the terminal.
        let text = text
            .chars()
            .skip(skipped)
            .take(2 * SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Self {
            origin,
            line,
            column: before + 1,
            text,
            indent: before - skipped,
        }
    }

    fn excerpt(&self) -> String {
        format!("  {}\n  {:indent$}^", self.text, "", indent = self.indent)
    }
}

impl fmt::Display for FaultPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.origin)?;
        if let Some(line) = self.line {
            write!(f, "line {line}, ")?;
        }
        write!(f, "column {}", self.column)
    }
}
