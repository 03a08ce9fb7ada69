//! `config` at a terminal: the questions that only an operator can answer. Each has what is written as its default, and an
//! answer that says the same changes nothing.
//!
//! ```text
//! ask        a person, or a test           announce   interfaces; BGP or VRRP; who may speak routing protocols
//! service    VIPs, servers, certificate, clients          probe      each server asked once
//! ```

mod announce;
mod ask;
mod certificate;
mod probe;
mod service;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde_json::{Value as Json, json};
use toml_edit::{Array, Value};

use self::ask::{Ask, Line, Person};
use super::{finish, original::Original};
use crate::{
    cli::Error,
    config::edit::{Document, Key, View},
};

/// Asks the person at the terminal until the answers are a configuration; returns the text with them.
pub(super) async fn run(original: &Original) -> Result<String, Error> {
    let mut text = original.main.text.clone();
    Person.say("Enter keeps what stands between brackets; nothing is written before the end.");
    loop {
        text = asked(original, &text, &mut Person).await?;
        let Err(error) = finish::judge(original, &original.with(&text)).await else {
            return Ok(text);
        };
        error.to_string().lines().for_each(|line| Person.say(line));
        if !Person.agree("Answer again, beginning with what was answered?", true)? {
            return Err(error);
        }
    }
}

/// The text with one round of answers.
async fn asked(original: &Original, text: &str, ask: &mut dyn Ask) -> Result<String, Error> {
    let mut talk = Talk::begin(original, text, ask)?;
    announce::interfaces(&mut talk)?;
    let way = announce::way(&mut talk)?;
    service::all(&mut talk).await?;
    announce::routers(&mut talk, way)?;
    Ok(talk.document.text())
}

/// A talk about one configuration.
struct Talk<'t> {
    original: &'t Original,
    document: Document,
    /// What was written before.
    view: View,
    ask: &'t mut dyn Ask,
}

impl<'t> Talk<'t> {
    fn begin(original: &'t Original, text: &str, ask: &'t mut dyn Ask) -> Result<Self, Error> {
        let main = original.with(text);
        Ok(Self {
            original,
            document: Document::parse(text).map_err(|error| original.refused(&error))?,
            view: View::of(std::iter::once(&main).chain(&original.further)),
            ask,
        })
    }

    fn say(&mut self, words: &str) {
        self.ask.say(words);
    }

    /// What is written, with the answers so far.
    fn now(&self) -> View {
        let main = self.original.with(&self.document.text());
        View::of(std::iter::once(&main).chain(&self.original.further))
    }

    /// Asks for a line; the default is right as it is.
    fn line(
        &mut self,
        prompt: &str,
        default: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, Error> {
        let lenient = |answer: &str| {
            if answer == default {
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
    fn several(
        &mut self,
        prompt: &str,
        default: &[String],
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<Vec<String>, Error> {
        let all = |answer: &str| match &split(answer)[..] {
            [] => check(""),
            parts => parts.iter().try_for_each(|it| check(it)),
        };
        let shown = default.join(", ");
        let answer = self.line(prompt, &shown, &all)?;
        Ok(if answer == shown {
            default.to_vec()
        } else {
            split(&answer)
        })
    }

    /// Gives a key a value, if it has another one.
    fn set(&mut self, key: &Key, value: Value) -> Result<(), Error> {
        if self.now().get(key) == Some(&as_json(&value)) {
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
        set.map_err(|error| self.original.refused(&error))
    }

    fn unset(&mut self, key: &Key) -> Result<(), Error> {
        let removed = self.document.unset(key);
        let removed = removed.map_err(|error| self.original.refused(&error))?;
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

fn key(parts: &[&str]) -> Key {
    Key::of(parts.iter().copied())
}

fn list(values: &[String]) -> Value {
    Value::Array(values.iter().map(String::as_str).collect::<Array>())
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

/// Splits at commas, but not at those between brackets: `rgw[1,3], rgw9` is two.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_usize);
    for letter in text.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if letter == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let parts = parts.iter().map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

/// Refuses an answer without anything in it.
fn something(answer: &str, what: &str) -> Result<(), String> {
    if answer.is_empty() {
        return Err(format!("{what} is wanted"));
    }
    Ok(())
}

fn address(text: &str) -> Result<(), String> {
    let read = text.parse::<IpAddr>().ok().map(drop);
    read.ok_or_else(|| format!("`{text}` is no address"))
}
