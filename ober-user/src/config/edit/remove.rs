//! A key or a table goes. Its lines are marked, and taken out of the text: so the comments around them stay where they are,
//! but for those directly above, which are about what goes.

use toml_edit::{Item, Table, Value};

use super::{array, element};

const MARK: &str = "ober: this line goes";

/// Marks what a key names; `false`: there is no such thing.
pub(super) fn mark(table: &mut Item, parts: &[String]) -> bool {
    let Some((name, rest)) = parts.split_first() else {
        return false;
    };
    let inline = table.is_inline_table();
    let Some(entries) = table.as_table_like_mut() else {
        return false;
    };
    if !entries.contains_key(name) {
        return false;
    }
    if rest.is_empty() && inline {
        return entries.remove(name).is_some();
    }
    let Some(below) = entries.get_mut(name) else {
        return false;
    };
    if rest.is_empty() {
        whole(below);
        return true;
    }
    if !element::is_list(below) {
        return mark(below, rest);
    }
    let Some((index, used)) = element::find(&element::names(below), rest) else {
        return false;
    };
    match rest.get(used..) {
        Some([]) | None => one(below, index),
        Some(rest) => below
            .get_mut(index)
            .is_some_and(|element| mark(element, rest)),
    }
}

/// One element of a list.
fn one(list: &mut Item, index: usize) -> bool {
    match list {
        Item::ArrayOfTables(tables) => tables.get_mut(index).map(header).is_some(),
        Item::Value(Value::Array(array)) if index < array.len() => {
            let mut wanted = array.clone();
            wanted.remove(index);
            array::become_like(array, &wanted);
            true
        }
        Item::None | Item::Value(_) | Item::Table(_) => false,
    }
}

fn whole(item: &mut Item) {
    match item {
        Item::Value(value) => *value = MARK.into(),
        Item::Table(table) => header(table),
        Item::ArrayOfTables(tables) => tables.iter_mut().for_each(header),
        Item::None => {}
    }
}

fn header(table: &mut Table) {
    let hidden = table.is_implicit() && table.get_values().is_empty();
    if !(table.is_dotted() || hidden) {
        table.decor_mut().set_suffix(format!(" # {MARK}"));
    }
    table.iter_mut().for_each(|(_, item)| whole(item));
}

/// The text without marked lines, and without the comments directly above them.
pub(super) fn without_marked(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut gap = false;
    for line in text.split_inclusive('\n') {
        if line.contains(MARK) {
            while kept
                .last()
                .is_some_and(|it| it.trim_start().starts_with('#'))
            {
                kept.pop();
            }
            gap = true;
            continue;
        }
        let blank = line.trim().is_empty();
        if gap && blank && kept.last().is_none_or(|it| it.trim().is_empty()) {
            continue;
        }
        gap = gap && blank;
        kept.push(line);
    }
    kept.concat()
}
