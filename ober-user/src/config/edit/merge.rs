//! Values come into a document, each in its place.

use toml_edit::{InlineTable, Item, Table, TableLike, Value};

use super::{Error, array, element};

/// Gives the key of these parts a value; `true`: it had another one.
pub(super) fn put(table: &mut Item, parts: &[String], value: &Item) -> Result<bool, Error> {
    let Some((name, rest)) = parts.split_first() else {
        return all(table, value);
    };
    if rest.is_empty() {
        return one(table, name, value);
    }
    let inline = table.is_inline_table();
    let entries = table
        .as_table_like_mut()
        .ok_or_else(|| Error::NoTable(name.clone()))?;
    if !entries.contains_key(name) {
        let made = match element::identifies(name) {
            Some(_) => element::empty(inline),
            None => empty(inline),
        };
        insert(entries, name, made);
    }
    let below = entries
        .get_mut(name)
        .ok_or_else(|| Error::NoTable(name.clone()))?;
    // An array without an element may become a list of tables.
    let list = element::is_list(below) || below.as_array().is_some_and(toml_edit::Array::is_empty);
    if list {
        let before = element::length(below);
        let (element, rest) = element::open(below, name, rest)?;
        let changed = put(element, rest, value)?;
        return Ok(changed || element::length(below) > before);
    }
    if !below.is_table_like() {
        return Err(Error::NoTable(name.clone()));
    }
    put(below, rest, value)
}

/// Merges every key of the answers into the table.
pub(super) fn all(table: &mut Item, answers: &Item) -> Result<bool, Error> {
    let Some(answers) = answers.as_table_like() else {
        return Err(Error::Table("this".to_owned()));
    };
    let mut changed = false;
    for (name, answer) in answers.iter() {
        changed |= one(table, name, answer)?;
    }
    Ok(changed)
}

fn one(table: &mut Item, name: &str, answer: &Item) -> Result<bool, Error> {
    let inline = table.is_inline_table();
    let entries = table
        .as_table_like_mut()
        .ok_or_else(|| Error::NoTable(name.to_owned()))?;
    if element::is_list(answer) {
        return tables(entries, name, answer, inline);
    }
    if answer.is_table_like() {
        let is_new = !entries.contains_key(name);
        if is_new {
            let mut made = empty(inline);
            let blank = answer.as_table_like().is_some_and(TableLike::is_empty);
            if let (true, Some(table)) = (blank, made.as_table_mut()) {
                table.set_implicit(false);
            }
            insert(entries, name, made);
        }
        let below = entries
            .get_mut(name)
            .filter(|below| below.is_table_like())
            .ok_or_else(|| Error::NoTable(name.to_owned()))?;
        return Ok(all(below, answer)? || is_new);
    }
    match answer {
        Item::Value(value) => assign(entries, name, value),
        Item::None | Item::Table(_) | Item::ArrayOfTables(_) => Ok(false),
    }
}

fn assign(entries: &mut dyn TableLike, name: &str, value: &Value) -> Result<bool, Error> {
    let mut value = value.clone();
    value.decor_mut().clear();
    let Some(there) = entries.get_mut(name) else {
        insert(entries, name, Item::Value(value));
        return Ok(true);
    };
    if there.is_table_like() || element::is_list(there) {
        return Err(Error::Table(name.to_owned()));
    }
    let Item::Value(there) = there else {
        return Ok(false);
    };
    if same(there, &value) {
        return Ok(false);
    }
    if let (Value::Array(old), Value::Array(new)) = (&mut *there, &value) {
        array::become_like(old, new);
        return Ok(true);
    }
    let decor = there.decor().clone();
    *there = value;
    *there.decor_mut() = decor;
    Ok(true)
}

/// A list of tables: each merged into the one of its name, or appended. A list whose tables have no names is replaced.
fn tables(
    entries: &mut dyn TableLike,
    name: &str,
    answer: &Item,
    inline: bool,
) -> Result<bool, Error> {
    let asked = element::names(answer);
    if asked.iter().any(Option::is_none) {
        if entries.get(name).is_some_and(|there| alike(there, answer)) {
            return Ok(false);
        }
        entries.remove(name);
    }
    let fresh = entries
        .get(name)
        .is_none_or(|there| there.as_array().is_some_and(toml_edit::Array::is_empty));
    if fresh {
        insert(entries, name, element::empty(inline));
    }
    let list = entries
        .get_mut(name)
        .filter(|list| !list.is_table_like())
        .ok_or_else(|| Error::Table(name.to_owned()))?;
    let mut changed = fresh;
    for (number, asked) in asked.iter().enumerate() {
        let there = element::names(list);
        let known = there.iter().position(|it| it.is_some() && it == asked);
        let index = known.unwrap_or_else(|| element::push(list));
        let (Some(table), Some(answer)) = (list.get_mut(index), answer.get(number)) else {
            return Err(Error::NoTable(name.to_owned()));
        };
        changed |= all(table, answer)? || known.is_none();
    }
    Ok(changed)
}

/// Inserts a key. One that stands in a line of its own begins as the line before it does.
fn insert(entries: &mut dyn TableLike, name: &str, item: Item) {
    let indent = entries
        .get_values()
        .last()
        .and_then(|(path, _)| path.last()?.leaf_decor().prefix()?.as_str())
        .map(|prefix| prefix.rsplit('\n').next().unwrap_or(prefix).to_owned())
        .filter(|indent| indent.trim().is_empty() && !indent.is_empty());
    let plain = item.is_value();
    entries.insert(name, item);
    if let (Some(indent), true, Some(mut key)) = (indent, plain, entries.key_mut(name)) {
        key.leaf_decor_mut().set_prefix(indent);
    }
}

/// A table without a key. Its header is written once it has one.
fn empty(inline: bool) -> Item {
    if inline {
        return Item::Value(Value::InlineTable(InlineTable::new()));
    }
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// Do both stand for the same, however they are written?
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        (Value::Float(one), Value::Float(other)) => {
            one.value().to_bits() == other.value().to_bits()
        }
        (Value::Boolean(one), Value::Boolean(other)) => one.value() == other.value(),
        (Value::Datetime(one), Value::Datetime(other)) => one.value() == other.value(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(a, b)| same(a, b))
        }
        (Value::InlineTable(one), Value::InlineTable(other)) => entries_alike(one, other),
        _ => false,
    }
}

fn alike(one: &Item, other: &Item) -> bool {
    if let (Item::Value(one), Item::Value(other)) = (one, other) {
        return same(one, other);
    }
    if let (Some(one), Some(other)) = (one.as_table_like(), other.as_table_like()) {
        return entries_alike(one, other);
    }
    let length = element::length(one);
    let lists = element::is_list(one) && element::is_list(other);
    lists
        && length == element::length(other)
        && (0..length).all(|index| match (one.get(index), other.get(index)) {
            (Some(one), Some(other)) => alike(one, other),
            _ => false,
        })
}

fn entries_alike(one: &dyn TableLike, other: &dyn TableLike) -> bool {
    let found = |(name, item): (&str, &Item)| other.get(name).is_some_and(|it| alike(item, it));
    one.len() == other.len() && one.iter().all(found)
}
