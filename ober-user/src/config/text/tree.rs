//! Turns texts into one tree: parses each, inserts variables, merges all, and converts the result to [`raw::File`]. Every step
//! goes on after a fault, so that all faults of a kind are reported together.

use std::borrow::Cow;

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Deserializer, Error},
};

use super::{
    env::{Env, substitute},
    error::suggestion,
    source::{Fault, Sources, Span},
};
use crate::config::raw;

/// Old and present names of keys.
const RENAMED: &[(&str, &str)] = &[("min_backends", "min_servers")];
/// More faults than this would only be noise.
const MOST_FAULTS: usize = 50;

pub(in crate::config) fn read(sources: &Sources, env: &Env) -> Result<raw::File, Vec<Fault>> {
    let (files, mut faults) = parsed(sources);
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut tree = DeTable::new();
    for (table, start) in files {
        let mut place = Placing {
            start,
            env,
            faults: &mut faults,
        };
        let table = place.table(table);
        merge(&mut tree, table, true, &mut faults);
    }
    let file = become_file(tree, &mut faults);
    faults.truncate(MOST_FAULTS);
    file.filter(|_| faults.is_empty()).ok_or(faults)
}

/// Where the texts are not TOML.
pub(in crate::config) fn misspelt_places(sources: &Sources) -> Vec<Fault> {
    parsed(sources).1
}

/// Each text as a table, with the number of its first byte.
fn parsed(sources: &Sources) -> (Vec<(DeTable<'_>, usize)>, Vec<Fault>) {
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for (text, start) in sources.texts() {
        let (table, errors) = DeTable::parse_recoverable(text);
        faults.extend(notation(text, start, &errors));
        files.push((table.into_inner(), start));
    }
    faults.truncate(MOST_FAULTS);
    (files, faults)
}

/// The first fault of each line: further ones on the line mostly follow from it.
fn notation(text: &str, start: usize, errors: &[Error]) -> Vec<Fault> {
    let line = |error: &Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        before.map(|before| before.matches('\n').count())
    };
    let mut errors: Vec<&Error> = errors.iter().collect();
    errors.dedup_by_key(|error| line(error));
    let faults = errors.into_iter().map(|error| {
        let span = error
            .span()
            .map(|span| span.start + start..span.end + start);
        let rest = error.span().and_then(|span| text.get(span.start..));
        let rest = rest.and_then(|rest| rest.lines().next());
        Fault::new(span, misspelt(error.message(), rest.unwrap_or_default()))
    });
    faults.collect()
}

/// The parser's message in our words; `rest`: the line from the fault on.
fn misspelt(message: &str, rest: &str) -> String {
    let nothing = rest.trim_start().is_empty() || rest.trim_start().starts_with('#');
    let message = message.trim_end();
    if !message.starts_with("string values must be quoted") {
        let bare = message.strip_suffix(", expected nothing");
        return bare.unwrap_or(message).to_owned();
    }
    let ours = if nothing {
        "the value is missing after `=`; write one, or remove the key"
    } else {
        "this is no value; write text between quotes, as in \"text\", and numbers, true and false without them"
    };
    ours.to_owned()
}

/// Shifts the spans of one file to its position among all sources, and inserts the variables.
struct Placing<'p> {
    start: usize,
    env: &'p Env,
    faults: &'p mut Vec<Fault>,
}

impl Placing<'_> {
    fn table<'i>(&mut self, table: DeTable<'i>) -> DeTable<'i> {
        let entries = table.into_iter().map(|(key, value)| {
            let span = self.span(&key.span());
            (Spanned::new(span, key.into_inner()), self.value(value))
        });
        entries.collect()
    }

    fn value<'i>(&mut self, value: Spanned<DeValue<'i>>) -> Spanned<DeValue<'i>> {
        let span = self.span(&value.span());
        let value = match value.into_inner() {
            DeValue::Table(table) => DeValue::Table(self.table(table)),
            DeValue::Array(array) => {
                let mut placed = DeArray::new();
                array
                    .into_iter()
                    .for_each(|item| placed.push(self.value(item)));
                DeValue::Array(placed)
            }
            DeValue::String(text) => match substitute(&text, &self.env.variables) {
                Ok(result) => DeValue::String(Cow::Owned(result.into_owned())),
                Err(message) => {
                    let help = "`$${` stands for `${` where no variable is meant";
                    self.faults
                        .push(Fault::new(span.clone(), message).help(help));
                    DeValue::String(text)
                }
            },
            other => other,
        };
        Spanned::new(span, value)
    }

    fn span(&self, span: &Span) -> Span {
        span.start + self.start..span.end + self.start
    }
}

/// Merges tables, and appends the services of all files; every other key may be written only once.
fn merge<'i>(into: &mut DeTable<'i>, from: DeTable<'i>, top: bool, faults: &mut Vec<Fault>) {
    for (key, value) in from {
        let Some((old_key, mut old)) = into.remove_entry(key.get_ref().as_ref()) else {
            into.insert(key, value);
            continue;
        };
        match (old.get_mut(), value.into_inner()) {
            (DeValue::Table(old), DeValue::Table(new)) => merge(old, new, false, faults),
            (DeValue::Array(old), DeValue::Array(new)) if top && key.get_ref() == "services" => {
                new.into_iter().for_each(|service| old.push(service));
            }
            _ => faults.push(
                Fault::new(key.span(), format!("`{}` is written twice", key.get_ref()))
                    .first(old_key.span())
                    .help("one of the two must go"),
            ),
        }
        into.insert(old_key, old);
    }
}

/// Removes what serde refuses and tries again, so that one fault does not hide the next.
fn become_file(mut tree: DeTable<'_>, faults: &mut Vec<Fault>) -> Option<raw::File> {
    for _ in 0..MOST_FAULTS {
        let root = Spanned::new(0..0, tree.clone());
        let error = match raw::File::deserialize(Deserializer::from(root)) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        faults.push(refusal(&error, &tree));
        if !error.span().is_some_and(|span| remove(&mut tree, &span)) {
            return None;
        }
    }
    None
}

fn remove(table: &mut DeTable<'_>, span: &Span) -> bool {
    // The innermost first: the span of a table made by a dotted key may be the key alone.
    if table
        .iter_mut()
        .any(|(_, value)| remove_within(value.get_mut(), span))
    {
        return true;
    }
    let found = table
        .iter()
        .find(|(key, value)| key.span() == *span || value.span() == *span);
    let Some(name) = found.map(|(key, _)| key.get_ref().to_string()) else {
        return false;
    };
    table.remove(name.as_str()).is_some()
}

fn remove_within(value: &mut DeValue<'_>, span: &Span) -> bool {
    if let DeValue::Table(table) = value {
        return remove(table, span);
    }
    let DeValue::Array(array) = value else {
        return false;
    };
    if array
        .iter_mut()
        .any(|item| remove_within(item.get_mut(), span))
    {
        return true;
    }
    let length = array.len();
    let mut kept = DeArray::new();
    let items = std::mem::replace(array, DeArray::new()).into_iter();
    items
        .filter(|item| item.span() != *span)
        .for_each(|item| kept.push(item));
    *array = kept;
    array.len() < length
}

/// Rewrites serde's message, which names what it found and then all known names, each between backticks.
fn refusal(error: &Error, tree: &DeTable<'_>) -> Fault {
    let message = error.message();
    let mut names = message.split('`').skip(1).step_by(2);
    let (what, found) = if message.starts_with("unknown field `") {
        ("key", names.next())
    } else if message.starts_with("unknown variant `") {
        ("value", names.next())
    } else {
        ("", None)
    };
    let Some(found) = found else {
        let span = error.span();
        if let Some(name) = span.as_ref().and_then(|span| wrongly_listed(tree, span)) {
            let words = format!(
                "`{name}` is a list of tables, but must be one table: write its name between single brackets, as in `[node]`"
            );
            return Fault::new(span, words);
        }
        let owner = span
            .and_then(|span| owner(tree, &span))
            .unwrap_or_else(|| "the value".to_owned());
        return Fault::new(error.span(), mistyped(message.trim_end(), &owner));
    };
    if let Some((_, name)) = RENAMED
        .iter()
        .find(|(old, _)| what == "key" && *old == found)
    {
        return Fault::new(error.span(), format!("there is no key `{found}` any more"))
            .help(format!("it is called `{name}` now"));
    }
    let known: Vec<&str> = names.collect();
    Fault::new(error.span(), format!("unknown {what} `{found}`")).help(suggestion(found, &known))
}

/// The name of the list with the table at `span`, if that table would not be refused without the list around it. Serde reads a
/// list as the values of a table's keys, and then finds the table in the place of the first.
fn wrongly_listed(tree: &DeTable<'_>, span: &Span) -> Option<String> {
    let mut tree = tree.clone();
    let name = unlist(&mut tree, span)?;
    let root = Spanned::new(0..0, tree);
    let error = raw::File::deserialize(Deserializer::from(root)).err();
    let elsewhere = error.is_none_or(|error| error.span().as_ref() != Some(span));
    elsewhere.then_some(name)
}

/// Puts the table at `span` in the place of the list that has it; returns the name of that list.
fn unlist(table: &mut DeTable<'_>, span: &Span) -> Option<String> {
    let mut entries = table.iter_mut();
    entries.find_map(|(key, value)| {
        let DeValue::Array(items) = value.get_mut() else {
            return unlist_within(value, span);
        };
        let is_it = |item: &&Spanned<DeValue<'_>>| {
            item.span() == *span && matches!(item.get_ref(), DeValue::Table(_))
        };
        let Some(item) = items.iter().find(is_it).cloned() else {
            return items.iter_mut().find_map(|item| unlist_within(item, span));
        };
        *value = item;
        Some(key.get_ref().to_string())
    })
}

fn unlist_within(value: &mut Spanned<DeValue<'_>>, span: &Span) -> Option<String> {
    match value.get_mut() {
        DeValue::Table(table) => unlist(table, span),
        _ => None,
    }
}

/// The name of the key whose value is at `span`.
fn owner(table: &DeTable<'_>, span: &Span) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        owner_within(key.get_ref(), value, false, span)
            .or_else(|| (key.span() == *span).then(|| format!("`{}`", key.get_ref())))
    })
}

fn owner_within(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    listed: bool,
    span: &Span,
) -> Option<String> {
    let inner = match value.get_ref() {
        DeValue::Table(table) => owner(table, span),
        DeValue::Array(items) => items
            .iter()
            .find_map(|item| owner_within(key, item, true, span)),
        _ => None,
    };
    let of = if listed { "a value of " } else { "" };
    inner.or_else(|| (value.span() == *span).then(|| format!("{of}`{key}`")))
}

const TEXT: &str = "text between quotes";
const SOCKET: &str = "an address with a port, such as \"127.0.0.1:8404\" or \"[::1]:8404\"";
const IPV4: &str = "an IPv4 address such as \"192.0.2.1\"";

/// Serde's message on a value of another type, in our words: names of Rust types mean nothing to an operator.
fn mistyped(message: &str, owner: &str) -> String {
    let needed = match message {
        "wanted string or table" => Some(TEXT),
        "invalid socket address syntax" => Some(SOCKET),
        "invalid IPv4 address syntax" => Some(IPV4),
        _ => None,
    };
    if let Some(needed) = needed {
        return format!("{owner} must be {needed}");
    }
    let mismatch = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|mismatch| mismatch.rsplit_once(", expected "));
    let Some((found, expected)) = mismatch else {
        return message.to_owned();
    };
    let shown = match found {
        "map" => "a table",
        "sequence" => "a list",
        _ => found.strip_prefix("string ").unwrap_or_else(|| {
            // A number, or true or false, between backticks.
            found.split('`').nth(1).unwrap_or(found)
        }),
    };
    format!(
        "{owner} is {shown}, but must be {}",
        wanted(found, expected)
    )
}

fn wanted<'e>(found: &str, expected: &'e str) -> &'e str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "a nonzero u8" => "a whole number from 1 to 255",
        "u16" => "a whole number from 0 to 65535",
        // Every such key is a port.
        "a nonzero u16" => "a port, 1 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a boolean" => "true or false",
        "a string" => TEXT,
        "a sequence" if found == "map" => {
            "a list of tables: write its name between double brackets, as in `[[services]]`"
        }
        "a sequence" => "a list between brackets, as in `[\"a\", \"b\"]`",
        "a map" => "a table",
        "socket address" => SOCKET,
        "IPv4 address" => IPV4,
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}
