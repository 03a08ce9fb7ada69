//! The name of a key, as it is typed and as differences are shown.

use std::{fmt, str::FromStr};

use super::Error;

/// Names with dots between them. A table in a list is named by its name, address or port, or else by its number from 1; a name
/// with a dot may stand between quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Vec<String>);

impl Key {
    /// A key of these names, dots in them or not.
    pub fn of<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> Self {
        Self(parts.into_iter().map(Into::into).collect())
    }

    /// The key of this name below.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(name.to_owned());
        Self(parts)
    }

    /// The key of the table that this one is in; `None`: it stands at the top.
    pub fn above(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        (!above.is_empty()).then(|| Self(above.to_vec()))
    }

    pub(in crate::config) fn parts(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Key(text.to_owned());
        let (mut parts, mut rest) = (Vec::new(), text.trim());
        loop {
            let (part, behind) = first(rest).ok_or_else(wrong)?;
            parts.push(part.to_owned());
            match behind.strip_prefix('.') {
                Some(more) => rest = more,
                None if behind.is_empty() => return Ok(Self(parts)),
                None => return Err(wrong()),
            }
        }
    }
}

/// The first name, and what is behind it.
fn first(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next()?;
    if matches!(quote, '"' | '\'') {
        return text.get(1..)?.split_once(quote);
    }
    let end = text.find('.').unwrap_or(text.len());
    let (part, behind) = text.split_at(end);
    let good = !part.is_empty() && !part.contains(['=', '"', '\'', '[', ']', ' ']);
    good.then_some((part, behind))
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("."))
    }
}
