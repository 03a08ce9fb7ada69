//! An array gets other values. Those that stay keep their lines, and no comment is lost.

use toml_edit::{Array, RawString, Value};

use super::merge::same;

/// Gives `array` the values of `wanted`. A value in the place of another takes over its line.
pub(super) fn become_like(array: &mut Array, wanted: &Array) {
    let behind = end(array);
    let old: Vec<Value> = array.iter().cloned().collect();
    let mut gaps: Vec<String> = old.iter().map(prefix).collect();
    let sample = gaps.last().filter(|it| it.contains('\n')).cloned();
    let blank = |it: &&String| it.trim_matches(' ').is_empty();
    let first = gaps.first().filter(blank).cloned().unwrap_or_default();
    gaps.push(behind);
    let lines = sample.map(|it| it.rsplit('\n').next().unwrap_or_default().to_owned());
    let indent = lines.as_deref().unwrap_or_default();
    let mut at = 0;
    let mut values = Vec::new();
    for (number, new) in wanted.iter().enumerate() {
        let stays = |old: &Value| wanted.iter().skip(number + 1).any(|it| same(it, old));
        let found = (at..old.len()).find(|index| old.get(*index).is_some_and(|it| same(it, new)));
        let replaced = old.get(at).filter(|it| !stays(it)).map(|_| at);
        let (gap, value) = match (found, replaced) {
            (Some(index), _) => {
                leave_out(&mut gaps, at..index, indent);
                at = index + 1;
                (take(&mut gaps, index), old.get(index).unwrap_or(new))
            }
            (None, Some(index)) => {
                at = index + 1;
                (take(&mut gaps, index), new)
            }
            (None, None) => (new_line(&mut gaps, at, lines.as_deref()), new),
        };
        values.push((gap, value.clone()));
    }
    leave_out(&mut gaps, at..old.len(), indent);
    array.clear();
    for (number, (gap, mut value)) in values.into_iter().enumerate() {
        let between = if number == 0 { first.as_str() } else { " " };
        let plain = gap.trim_matches(' ').is_empty();
        let gap = if plain { between.to_owned() } else { gap };
        value.decor_mut().set_prefix(gap);
        array.push_formatted(value);
    }
    if array.is_empty() {
        array.set_trailing_comma(false);
    }
    array.set_trailing(gaps.pop().unwrap_or_default());
}

fn prefix(value: &Value) -> String {
    let prefix = value.decor().prefix().and_then(RawString::as_str);
    prefix.unwrap_or_default().to_owned()
}

/// What is written behind the last value.
fn end(array: &mut Array) -> String {
    let last = array.len().checked_sub(1);
    let suffix = last.and_then(|last| array.get_mut(last)).map(|last| {
        let suffix = last.decor().suffix().and_then(RawString::as_str);
        let suffix = suffix.unwrap_or_default().to_owned();
        last.decor_mut().set_suffix("");
        suffix
    });
    suffix.unwrap_or_default() + array.trailing().as_str().unwrap_or_default()
}

fn take(gaps: &mut [String], index: usize) -> String {
    gaps.get_mut(index).map(std::mem::take).unwrap_or_default()
}

/// Values go: the comments before each come before what follows.
fn leave_out(gaps: &mut [String], which: std::ops::Range<usize>, indent: &str) {
    for index in which {
        let gap = take(gaps, index);
        let comments = gap.rsplit_once('\n').map_or("", |(before, _)| before);
        if !comments.contains('#') {
            continue;
        }
        if let Some(next) = gaps.get_mut(index + 1) {
            let head = next.split('\n').next().unwrap_or_default();
            *next = if head.contains('#') {
                format!("{comments}\n{indent}{}", next.trim_start())
            } else if next.contains('\n') {
                format!("{comments}{next}")
            } else {
                format!("{comments}\n{next}")
            };
        }
    }
}

/// The beginning of a value before that at `at`. A comment that ends the line before stays there.
fn new_line(gaps: &mut [String], at: usize, lines: Option<&str>) -> String {
    let (Some(indent), Some(gap)) = (lines, gaps.get_mut(at)) else {
        return String::new();
    };
    let (head, rest) = gap.split_once('\n').unwrap_or((gap.as_str(), ""));
    if !head.contains('#') {
        return format!("\n{indent}");
    }
    let before = format!("{head}\n{indent}");
    *gap = format!("\n{rest}");
    before
}
