//! Tables in a list: which one a key names.

use std::net::IpAddr;

use toml_edit::{Array, ArrayOfTables, InlineTable, Item, Table, Value};

use super::{Error, array};
use crate::config::text::keys::{NAMES, distinct};

/// The lists whose elements are made when a key names one that is not there: each with the key that identifies an element.
const MADE: &[(&str, &str)] = &[
    ("services", "name"),
    ("listeners", "port"),
    ("neighbours", "address"),
    ("nodes", "name"),
];

pub(super) fn identifies(list: &str) -> Option<&'static str> {
    let found = MADE.iter().find(|(name, _)| *name == list);
    found.map(|(_, key)| *key)
}

/// A list of tables, in either notation.
pub(super) fn is_list(item: &Item) -> bool {
    match item {
        Item::ArrayOfTables(_) => true,
        Item::Value(Value::Array(array)) => {
            !array.is_empty() && array.iter().all(Value::is_inline_table)
        }
        Item::None | Item::Value(_) | Item::Table(_) => false,
    }
}

pub(super) fn length(list: &Item) -> usize {
    let tables = list.as_array_of_tables().map(ArrayOfTables::len);
    tables
        .or_else(|| list.as_array().map(Array::len))
        .unwrap_or(0)
}

fn name(table: &Item) -> Option<String> {
    let table = table.as_table_like()?;
    let named = NAMES.iter().find_map(|key| table.get(key))?;
    let text = named.as_str().map(str::to_owned);
    text.or_else(|| named.as_integer().map(|number| number.to_string()))
}

/// What identifies each table of a list.
pub(super) fn names(list: &Item) -> Vec<Option<String>> {
    let names = (0..length(list)).map(|index| list.get(index).and_then(name));
    distinct(&names.collect::<Vec<_>>())
}

/// The element that a key names, and how many of its parts do so: an address has dots, and the longest name counts.
pub(super) fn find(names: &[Option<String>], parts: &[String]) -> Option<(usize, usize)> {
    let named = (1..=parts.len()).rev().find_map(|used| {
        let asked = parts.get(..used)?.join(".");
        let is_it = |name: &Option<String>| name.as_deref() == Some(&asked);
        Some((names.iter().position(is_it)?, used))
    });
    named.or_else(|| {
        let number: usize = parts.first()?.parse().ok()?;
        let index = number.checked_sub(1)?;
        // A port is no number of an element.
        let nameless = names.get(index)?.is_none();
        nameless.then_some((index, 1))
    })
}

/// The element that the first parts of a key name, and the parts behind those; makes it where its list has such elements.
pub(super) fn open<'i, 'p>(
    list: &'i mut Item,
    called: &str,
    parts: &'p [String],
) -> Result<(&'i mut Item, &'p [String]), Error> {
    let names = names(list);
    let missing = || Error::NoElement {
        list: called.to_owned(),
        asked: parts.join("."),
        known: names.iter().flatten().cloned().collect(),
    };
    let (index, used) = if let Some(found) = find(&names, parts) {
        found
    } else {
        let key = identifies(called).ok_or_else(missing)?;
        let (value, used) = identity(key, parts).ok_or_else(missing)?;
        let index = push(list);
        let table = list.get_mut(index).and_then(Item::as_table_like_mut);
        if let Some(table) = table {
            table.insert(key, Item::Value(value));
        }
        (index, used)
    };
    let rest = parts.get(used..).unwrap_or_default();
    let element = list.get_mut(index).ok_or_else(missing)?;
    Ok((element, rest))
}

/// The value of the key that identifies a new element, and how many parts say it.
fn identity(key: &str, parts: &[String]) -> Option<(Value, usize)> {
    match key {
        "port" => {
            let port: u16 = parts.first()?.parse().ok()?;
            Some((i64::from(port).into(), 1))
        }
        "address" => (1..=parts.len()).rev().find_map(|used| {
            let text = parts.get(..used)?.join(".");
            let address: IpAddr = text.parse().ok()?;
            Some((address.to_string().into(), used))
        }),
        _ => Some((parts.first()?.into(), 1)),
    }
}

/// Adds an empty table; returns its place.
pub(super) fn push(list: &mut Item) -> usize {
    let index = length(list);
    match list {
        Item::ArrayOfTables(tables) => tables.push(Table::new()),
        Item::Value(Value::Array(array)) => {
            let mut wanted = array.clone();
            wanted.push(InlineTable::new());
            array::become_like(array, &wanted);
        }
        Item::None | Item::Value(_) | Item::Table(_) => {}
    }
    index
}

/// An empty list below a table.
pub(super) fn empty(inline: bool) -> Item {
    if inline {
        Item::Value(Value::Array(Array::new()))
    } else {
        Item::ArrayOfTables(ArrayOfTables::new())
    }
}
