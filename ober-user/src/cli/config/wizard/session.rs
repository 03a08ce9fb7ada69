//! One round of questions about one configuration.

use serde_json::{Value as Json, json};
use toml_edit::Value;

use super::{
    answer::split,
    ask::{Ask, Line},
};
use crate::{
    cli::{Error, config::original::Original},
    config::edit::{Document, Key, View},
};

pub(super) struct Session<'t> {
    pub(super) original: &'t Original,
    /// Nothing was written or answered before.
    pub(super) is_first: bool,
    /// What was written when the round began.
    pub(super) before: View,
    /// What is written, with the answers so far: the default of a question is never older than the answer before it.
    pub(super) view: View,
    document: Document,
    pub(super) ask: &'t mut dyn Ask,
}

impl<'t> Session<'t> {
    pub(super) fn begin(
        original: &'t Original,
        text: &str,
        ask: &'t mut dyn Ask,
    ) -> Result<Self, Error> {
        let view = original.view(text);
        Ok(Self {
            original,
            is_first: original.is_new && text.is_empty(),
            before: view.clone(),
            view,
            document: Document::parse(text).map_err(|error| original.refused(&error))?,
            ask,
        })
    }

    /// The text with the answers.
    pub(super) fn text(&self) -> String {
        self.document.text()
    }

    pub(super) fn say(&mut self, words: &str) {
        self.ask.say(words);
    }

    /// Asks for a line; the default is right as it is, unless there is none.
    pub(super) fn line(
        &mut self,
        prompt: &str,
        default: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, Error> {
        let lenient = |answer: &str| {
            if answer == default && !default.is_empty() {
                Ok(())
            } else {
                check(answer)
            }
        };
        self.ask.line(&Line {
            prompt,
            default: default.to_owned(),
            check: &lenient,
        })
    }

    /// Asks for several, with commas between them.
    pub(super) fn several(
        &mut self,
        prompt: &str,
        default: &[String],
        check: &dyn Fn(&[String]) -> Result<(), String>,
    ) -> Result<Vec<String>, Error> {
        let shown = default.join(", ");
        let answer = self.line(prompt, &shown, &|answer| check(&split(answer)))?;
        Ok(if answer == shown {
            default.to_vec()
        } else {
            split(&answer)
        })
    }

    /// Gives a key a value, if it has another one.
    pub(super) fn set(&mut self, key: &Key, value: Value) -> Result<(), Error> {
        if self.view.get(key) == Some(&as_json(&value)) {
            return Ok(());
        }
        if let Some(path) = self.original.elsewhere(key) {
            let words = format!(
                "`{key}` belongs to {} and stays as it is: change it there",
                path.display()
            );
            self.say(&words);
            return Ok(());
        }
        let set = self.document.set(key, value);
        set.map_err(|error| self.original.refused(&error))?;
        self.view = self.original.view(&self.document.text());
        Ok(())
    }

    /// Removes a key, if it is there.
    pub(super) fn unset(&mut self, key: &Key) -> Result<(), Error> {
        if self.view.get(key).is_none() {
            return Ok(());
        }
        let removed = self.document.unset(key);
        let removed = removed.map_err(|error| self.original.refused(&error))?;
        self.view = self.original.view(&self.document.text());
        if let (false, Some(path)) = (removed, self.original.elsewhere(key)) {
            let words = format!(
                "`{key}` is in {} and stays: remove it there",
                path.display()
            );
            self.say(&words);
        }
        Ok(())
    }
}

fn as_json(value: &Value) -> Json {
    match value {
        Value::String(text) => json!(text.value()),
        Value::Integer(number) => json!(number.value()),
        Value::Boolean(flag) => json!(flag.value()),
        Value::Array(items) => items.iter().map(as_json).collect(),
        Value::Float(_) | Value::Datetime(_) | Value::InlineTable(_) => Json::Null,
    }
}
