//! The values of a configuration as written, to read: those of all its files together.

use serde_json::Value;

use super::{element, key::Key};
use crate::config::{
    File,
    text::keys::{NAMES, distinct},
};

/// What is written, without defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View(Value);

impl View {
    /// The values of these texts; one that is not TOML has none.
    pub fn of<'f>(files: impl IntoIterator<Item = &'f File>) -> Self {
        let mut all = Value::Object(serde_json::Map::new());
        for file in files {
            let text = file.text.trim_start_matches(super::BOM);
            if let Ok(value) = toml::from_str::<Value>(text) {
                merge(&mut all, value, true);
            }
        }
        Self(all)
    }

    /// The value of a key; `None`: it is not written.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        find(&self.0, key.parts())
    }

    /// The value of a key that is a text or a number.
    pub fn text(&self, key: &Key) -> Option<String> {
        words(self.get(key)?)
    }

    /// The values of a list of texts; empty when it is not written.
    pub fn texts(&self, key: &Key) -> Vec<String> {
        let values = self.get(key).and_then(Value::as_array);
        values.into_iter().flatten().filter_map(words).collect()
    }

    /// What identifies each table of a list; empty when there is none.
    pub fn names(&self, key: &Key) -> Vec<String> {
        let tables = self.get(key).and_then(Value::as_array);
        let names = names_of(tables.map_or(&[], Vec::as_slice)).into_iter();
        names
            .enumerate()
            .map(|(index, name)| name.unwrap_or_else(|| (index + 1).to_string()))
            .collect()
    }
}

fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn name(table: &Value) -> Option<String> {
    NAMES.iter().find_map(|key| table.get(key)).and_then(words)
}

fn names_of(tables: &[Value]) -> Vec<Option<String>> {
    distinct(&tables.iter().map(name).collect::<Vec<_>>())
}

fn find<'v>(value: &'v Value, parts: &[String]) -> Option<&'v Value> {
    let Some((first, rest)) = parts.split_first() else {
        return Some(value);
    };
    match value {
        Value::Object(entries) => find(entries.get(first)?, rest),
        Value::Array(elements) => {
            let (index, used) = element::find(&names_of(elements), parts)?;
            find(elements.get(index)?, parts.get(used..)?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn merge(into: &mut Value, from: Value, top: bool) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                let list = top && name == "services";
                match into.get_mut(&name) {
                    Some(there) => merge(there, value, list),
                    None => {
                        into.insert(name, value);
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(from)) if top => into.extend(from),
        // Written twice, which is refused where the files are judged.
        _ => {}
    }
}
