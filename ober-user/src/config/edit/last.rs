//! New tables come at the end of a text, behind the comments that end it: a comment stays with the table that it is about.

use toml_edit::{DocumentMut, Item, Table};

/// Where new tables at the top are written: behind all others.
const END: isize = isize::MAX;

pub(super) fn settle(document: &mut DocumentMut, top: &[String]) {
    for (name, item) in document.iter_mut() {
        if top.iter().any(|known| known == name.get()) {
            continue;
        }
        match item {
            Item::Table(table) => table.set_position(Some(END)),
            Item::ArrayOfTables(tables) => {
                tables.iter_mut().for_each(|it| it.set_position(Some(END)));
            }
            Item::None | Item::Value(_) => {}
        }
    }
    let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
    if !trailing.contains('#') {
        return;
    }
    let Some(number) = first_at_the_end(document.as_table()) else {
        return;
    };
    document.set_trailing("");
    let end = if trailing.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let mut count = 0;
    visit_mut(document.as_table_mut(), &mut |table| {
        if count == number {
            table.decor_mut().set_prefix(format!("{trailing}{end}"));
        }
        count += 1;
    });
}

/// The number of the first of the new tables that are written behind all others.
fn first_at_the_end(root: &Table) -> Option<usize> {
    let (mut position, mut count) = (0, 0);
    let mut written = Vec::new();
    visit(root, true, &mut |table, is_root| {
        let own = table.position();
        position = own.unwrap_or(position);
        let hidden = table.is_implicit() && table.get_values().is_empty();
        if !is_root && !hidden {
            written.push((position, count, own.is_none_or(|own| own == END)));
        }
        count += 1;
    });
    written.sort_unstable();
    let new = written.iter().rev().take_while(|(_, _, new)| *new);
    new.last().map(|(_, number, _)| *number)
}

fn visit(table: &Table, is_root: bool, see: &mut dyn FnMut(&Table, bool)) {
    if !table.is_dotted() {
        see(table, is_root);
    }
    for (_, item) in table {
        match item {
            Item::Table(table) => visit(table, false, see),
            Item::ArrayOfTables(tables) => tables.iter().for_each(|it| visit(it, false, see)),
            Item::None | Item::Value(_) => {}
        }
    }
}

fn visit_mut(table: &mut Table, see: &mut dyn FnMut(&mut Table)) {
    if !table.is_dotted() {
        see(table);
    }
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(table) => visit_mut(table, see),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|it| visit_mut(it, see)),
            Item::None | Item::Value(_) => {}
        }
    }
}
