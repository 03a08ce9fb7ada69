//! Turns names back into an expression.

use std::{collections::HashSet, fmt::Write as _};

use super::error::LONGEST_LINE;

/// Digits of the largest number a bracket may have.
const MOST_DIGITS: usize = 20;

/// A short expression for `names`, such as `n[01-03,7]`. Expanding it gives the names back in order, without duplicates.
///
/// Neighbours that differ in one number share a bracket; nothing is reordered to bring more of them together. A line end
/// separates groups where one line would be longer than a file may have.
pub fn fold<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut seen = HashSet::new();
    let mut folded = String::new();
    let mut line = 0;
    let mut group: Option<Group<'a>> = None;
    for name in names {
        if name.is_empty() || !seen.insert(name) {
            continue;
        }
        let joined = group.as_mut().is_some_and(|group| group.join(name));
        if !joined && let Some(done) = group.replace(Group::new(name)) {
            done.write(&mut folded, &mut line);
        }
    }
    if let Some(done) = group {
        done.write(&mut folded, &mut line);
    }
    folded
}

/// Names that differ in one number alone.
struct Group<'a> {
    first: &'a str,
    /// The text before and after the number; unknown while the group has one name.
    around: Option<(&'a str, &'a str)>,
    runs: Vec<Run<'a>>,
    /// Upper bound of the bytes that [`Self::write`] appends, without the separator.
    length: usize,
}

/// `first` as written, and how many names follow it without a gap.
struct Run<'a> {
    first: &'a str,
    lo: u64,
    hi: u64,
}

impl<'a> Group<'a> {
    fn new(first: &'a str) -> Self {
        Self {
            first,
            around: None,
            runs: Vec::new(),
            length: first.len(),
        }
    }

    fn join(&mut self, name: &'a str) -> bool {
        // The name adds its own bytes at most, or a dash and the end of a range.
        if self.length + 2 * (name.len() + MOST_DIGITS) > LONGEST_LINE {
            return false;
        }
        match self.around {
            Some((head, tail)) => number_between(name, head, tail).map(|n| self.push(n)),
            None => self.pair(name),
        }
        .is_some()
    }

    /// Finds the number in which the second name differs from the first.
    fn pair(&mut self, name: &'a str) -> Option<()> {
        let (head, tail) = common(self.first, name);
        let first = number_between(self.first, head, tail)?;
        let second = number_between(name, head, tail)?;
        self.around = Some((head, tail));
        self.length = head.len() + tail.len() + "[]".len();
        self.push(first);
        self.push(second);
        Some(())
    }

    fn push(&mut self, (digits, value): (&'a str, u64)) {
        match self.runs.last_mut() {
            Some(run)
                if run.hi.checked_add(1) == Some(value)
                    && padded(value, run.first.len()) == digits =>
            {
                if run.lo == run.hi {
                    self.length += 1 + run.first.len().max(MOST_DIGITS);
                }
                run.hi = value;
            }
            _ => {
                self.length += 1 + digits.len();
                self.runs.push(Run {
                    first: digits,
                    lo: value,
                    hi: value,
                });
            }
        }
    }

    /// Appends the group to the last line of `out`, which begins at byte `line`, or to a new one if it does not fit there.
    fn write(&self, out: &mut String, line: &mut usize) {
        if !out.is_empty() {
            if out.len() - *line + 1 + self.length > LONGEST_LINE {
                out.push('\n');
                *line = out.len();
            } else {
                out.push(',');
            }
        }
        let Some((head, tail)) = self.around else {
            out.push_str(self.first);
            return;
        };
        out.push_str(head);
        for (index, run) in self.runs.iter().enumerate() {
            out.push(if index == 0 { '[' } else { ',' });
            out.push_str(run.first);
            if run.hi > run.lo {
                out.push('-');
                out.push_str(&padded(run.hi, run.first.len()));
            }
        }
        out.push(']');
        out.push_str(tail);
    }
}

fn padded(value: u64, width: usize) -> String {
    let mut text = String::with_capacity(width);
    // Writing to a string cannot fail; if it did, the comparison that follows would notice.
    write!(text, "{value:0width$}").unwrap_or_default();
    text
}

/// The common text at both ends of two names, shortened so that no number is cut in two.
fn common<'a>(one: &'a str, other: &str) -> (&'a str, &'a str) {
    let same = |(a, b): &(u8, u8)| a == b;
    let head = one.bytes().zip(other.bytes()).take_while(same).count();
    let head = one
        .get(..head)
        .unwrap_or_default()
        .trim_end_matches(|c: char| c.is_ascii_digit());
    let (one_rest, other_rest) = (
        &one.as_bytes()[head.len()..],
        &other.as_bytes()[head.len()..],
    );
    let tail = one_rest
        .iter()
        .rev()
        .zip(other_rest.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let tail = one.get(one.len() - tail..).unwrap_or_default();
    (head, tail.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// The digits of `name` between `head` and `tail`, when they are all there is and make a number.
fn number_between<'a>(name: &'a str, head: &str, tail: &str) -> Option<(&'a str, u64)> {
    let digits = name.strip_prefix(head)?.strip_suffix(tail)?;
    // `parse` alone would accept a sign.
    let only_digits = digits.bytes().all(|b| b.is_ascii_digit());
    Some((digits, digits.parse().ok().filter(|_| only_digits)?))
}
