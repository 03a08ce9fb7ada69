//! The difference of the main file, line by line, without secrets.

use similar::{ChangeTag, TextDiff};

use super::original::Original;
use crate::{
    cli::{
        Error,
        screen::{Screen, Tone},
    },
    config::{Difference, File, without_secrets},
};

/// Lines around a change that are shown.
const AROUND: usize = 3;

pub(super) fn show(original: &Original, next: &File, screen: &mut Screen) -> Result<(), Error> {
    let path = original.path().display();
    let (before, after) = (
        without_secrets(&original.main.text),
        without_secrets(&next.text),
    );
    let state = if original.is_new { " (new)" } else { "" };
    screen.line(screen.paint(format_args!("{path}{state}"), Tone::Strong))?;
    let lines = TextDiff::from_lines(&before, &after);
    for group in lines.grouped_ops(AROUND) {
        let first = group.first().map_or(0, |op| op.new_range().start);
        screen.line(screen.paint(format_args!("@@ line {}", first + 1), Tone::Faint))?;
        for change in group.iter().flat_map(|op| lines.iter_changes(op)) {
            let (sign, tone) = match change.tag() {
                ChangeTag::Delete => ('-', Tone::Bad),
                ChangeTag::Insert => ('+', Tone::Good),
                ChangeTag::Equal => (' ', Tone::Plain),
            };
            let text = change.value().trim_end_matches(['\n', '\r']);
            screen.text(&format!("{sign}{text}"), tone)?;
        }
    }
    for hidden in hidden(original, next) {
        screen.line(hidden.words(0))?;
    }
    screen.line("")?;
    Ok(())
}

/// Secrets that change: both lines look the same without them.
fn hidden(original: &Original, next: &File) -> Vec<Difference> {
    let mut differences = differences(original, next);
    differences.retain(|it| it.from.is_some() && it.from == it.to);
    differences
}

/// The keys that differ.
pub(super) fn differences(original: &Original, next: &File) -> Vec<Difference> {
    let before = original.texts(original.main.clone()).keys();
    before.differences(&original.texts(next.clone()).keys())
}
