//! Edits of a configuration as text: a document and answers become a document in which only what was answered differs.
//! Comments, order and notation of everything else stay.
//!
//! ```text
//! key         `services.s3.listeners.443.access`: the names that `history --changes` shows
//! merge       one value, or a table of answers, into a document        array    values into an array, comments kept
//! remove      a key or a table out of a document                       view     the values of several texts, to read
//! ```
//! It knows no section: whether the result is a configuration is judged by [`crate::config::Texts::config`].

mod array;
mod element;
mod key;
mod last;
mod merge;
mod remove;
#[cfg(test)]
mod tests;
mod view;

use toml_edit::{DocumentMut, Item, Value};

pub use self::{key::Key, view::View};

/// Why a document is not edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "`{0}` is no key: names with dots between them are wanted, as in `bgp.as` or `services.s3.vips`"
    )]
    Key(String),
    #[error("`{0}` is no value: {1}; write text between quotes, and lists as in [\"a\", \"b\"]")]
    Value(String, String),
    #[error("it is not TOML: {0}")]
    Notation(String),
    #[error("`{0}` has a value and is no table, so nothing can stand below it")]
    NoTable(String),
    #[error("`{0}` is a table: give values for keys below it, or remove it first with `--unset`")]
    Table(String),
    #[error("`{list}` has no element `{asked}`{}", choices(.known))]
    NoElement {
        list: String,
        asked: String,
        known: Vec<String>,
    },
    #[error(
        "some of its lines end with CR LF and some with LF alone: make them alike first (`dos2unix` does it)"
    )]
    LineEnds,
}

fn choices(known: &[String]) -> String {
    if known.is_empty() {
        return "; write the whole list as its value".to_owned();
    }
    format!("; there are: `{}`", known.join("`, `"))
}

const BOM: char = '\u{feff}';

/// One text of a configuration, to be edited.
#[derive(Clone, Debug)]
pub struct Document {
    /// The text before the edits.
    written: String,
    tree: DocumentMut,
    /// Keys at the top before the edits.
    top: Vec<String>,
    edited: bool,
}

impl Document {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let plain = text.trim_start_matches(BOM);
        let (crlf, lf) = (plain.matches("\r\n").count(), plain.matches('\n').count());
        if crlf > 0 && crlf < lf {
            return Err(Error::LineEnds);
        }
        let tree: DocumentMut = plain.parse().map_err(notation)?;
        Ok(Self {
            written: text.to_owned(),
            top: tree.iter().map(|(name, _)| name.to_owned()).collect(),
            tree,
            edited: false,
        })
    }

    /// Gives a key a value. A table is merged key by key, a list of tables by the names of its elements.
    pub fn set(&mut self, key: &Key, value: Value) -> Result<(), Error> {
        self.change(|root| merge::put(root, key.parts(), &Item::Value(value)))
    }

    /// Gives every key of the answers its value.
    pub fn merge(&mut self, answers: &Self) -> Result<(), Error> {
        self.change(|root| merge::all(root, answers.tree.as_item()))
    }

    /// Removes a key with its value, or a table with all below it, and the comment directly above; `false`: it is not there.
    pub fn unset(&mut self, key: &Key) -> Result<bool, Error> {
        if !remove::mark(self.tree.as_item_mut(), key.parts()) {
            return Ok(false);
        }
        let text = remove::without_marked(&self.rendered());
        self.tree = text.parse().map_err(notation)?;
        self.edited = true;
        Ok(true)
    }

    /// The text; without an edit that changed a value, byte for byte what was parsed.
    pub fn text(&self) -> String {
        if !self.edited {
            return self.written.clone();
        }
        let text = self.rendered();
        let text = if self.written.contains("\r\n") {
            text.replace('\n', "\r\n")
        } else {
            text
        };
        if self.written.starts_with(BOM) {
            return format!("{BOM}{text}");
        }
        text
    }

    fn change(&mut self, edit: impl FnOnce(&mut Item) -> Result<bool, Error>) -> Result<(), Error> {
        self.edited |= edit(self.tree.as_item_mut())?;
        Ok(())
    }

    /// Its lines end with LF. `toml_edit` keeps CR LF within strings alone; [`Self::text`] puts CR LF back.
    fn rendered(&self) -> String {
        let mut tree = self.tree.clone();
        last::settle(&mut tree, &self.top);
        tree.to_string().replace("\r\n", "\n")
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` wants"
)]
fn notation(error: toml_edit::TomlError) -> Error {
    Error::Notation(error.message().trim_end().to_owned())
}

/// A value as typed behind `KEY=`: TOML, or text that needs no quotes.
pub fn value(typed: &str) -> Result<Value, Error> {
    let typed = typed.trim();
    let quoted = typed.starts_with(['"', '\'', '[', '{']);
    match typed.parse::<Value>() {
        Ok(value) => Ok(value),
        Err(error) if quoted || typed.is_empty() => {
            let why = error.message().trim_end().to_owned();
            Err(Error::Value(typed.to_owned(), why))
        }
        Err(_) => Ok(typed.into()),
    }
}
