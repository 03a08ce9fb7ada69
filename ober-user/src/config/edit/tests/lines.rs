//! Which lines of a text a key has, and which lines an edit took away.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::*;
use crate::config::text::keys::NAMES;

/// The numbers of the lines that another text does not have any more.
pub(super) fn lost_lines(from: &str, to: &str) -> Vec<usize> {
    let lines = similar::TextDiff::from_lines(from, to);
    let changes = lines.iter_all_changes();
    let lost = changes.filter(|it| it.tag() == similar::ChangeTag::Delete);
    lost.filter_map(|it| it.old_index()).collect()
}

/// The lines of the value of a key, or of the innermost table or list in a line that it belongs into; none where it gets a line
/// of its own.
pub(super) fn lines_of(text: &str, key: &Key) -> Range<usize> {
    let before = text.len() - text.trim_start_matches(BOM).len();
    let table = DeTable::parse(&text[before..]).unwrap();
    let root = Spanned::new(0..0, DeValue::Table(table.into_inner()));
    let (mut at, mut parts, mut inner) = (&root, key.parts(), None);
    while let Some((next, rest)) = child(at, parts) {
        let span = next.span().start + before..next.span().end + before;
        if inner.is_some() || text[..span.start].trim_end().ends_with('=') {
            inner = Some(span);
        }
        (at, parts) = (next, rest);
    }
    let line = |end: usize| text[..end].matches('\n').count();
    inner.map_or(0..0, |span| line(span.start)..line(span.end) + 1)
}

type Place<'t> = Spanned<DeValue<'t>>;

/// The value that the first parts of a key name, and the parts behind those.
fn child<'v, 'p>(at: &'v Place<'v>, parts: &'p [String]) -> Option<(&'v Place<'v>, &'p [String])> {
    match at.get_ref() {
        DeValue::Table(table) => Some((table.get(parts.first()?.as_str())?, &parts[1..])),
        DeValue::Array(array) => {
            let names: Vec<Option<String>> = array.iter().map(identity).collect();
            let (index, used) = element::find(&names, parts)?;
            Some((array.get(index)?, &parts[used..]))
        }
        _ => None,
    }
}

fn identity(table: &Place<'_>) -> Option<String> {
    let table = table.get_ref().as_table()?;
    let named = NAMES.iter().find_map(|it| table.get(*it))?;
    let number = named.get_ref().as_integer().map(ToString::to_string);
    number.or_else(|| named.get_ref().as_str().map(str::to_owned))
}

#[test]
fn the_lines_of_a_key_are_those_of_its_value_and_an_edit_elsewhere_is_seen() {
    for (name, lines) in [
        ("node.interfaces", 2..6),
        ("node.xdp", 7..8),
        ("bgp.neighbours.192.0.2.254.as", 8..9),
        ("services.s3.backend", 13..14),
        ("services.s3.listeners.443.certificate", 15..16),
        ("services.s3.listeners.8443.access", 14..18),
        ("backends.cold.servers", 0..0),
    ] {
        assert_eq!(lines_of(ODD, &key(name)), lines, "{name}");
    }
    assert_eq!(lost_lines("a = 1\nb = 2\n", "a = 1\nb = 3\nc = 1\n"), [1]);
}
