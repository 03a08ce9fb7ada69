//! Turns names back into an expression.

use std::{collections::HashSet, fmt::Write as _};

/// A short expression for `names`, such as `n[01-03,7]`. Expanding it gives the names back in order, without duplicates.
///
/// Neighbours that differ in one number share a bracket; nothing is reordered to bring more of them together.
pub fn fold<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut seen = HashSet::new();
    let mut folded = String::new();
    let mut group: Option<Group<'a>> = None;
    for name in names {
        if name.is_empty() || !seen.insert(name) {
            continue;
        }
        let joined = group.as_mut().is_some_and(|group| group.join(name));
        if !joined && let Some(done) = group.replace(Group::new(name)) {
            done.write(&mut folded);
        }
    }
    if let Some(done) = group {
        done.write(&mut folded);
    }
    folded
}

/// Names that differ in one number alone.
struct Group<'a> {
    first: &'a str,
    /// The text before and after the number; unknown while the group has one name.
    around: Option<(&'a str, &'a str)>,
    runs: Vec<Run<'a>>,
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
        }
    }

    fn join(&mut self, name: &'a str) -> bool {
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
                run.hi = value;
            }
            _ => self.runs.push(Run {
                first: digits,
                lo: value,
                hi: value,
            }),
        }
    }

    fn write(&self, out: &mut String) {
        if !out.is_empty() {
            out.push(',');
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
    let head = one.get(..head).unwrap_or_default();
    let head = head.trim_end_matches(|c: char| c.is_ascii_digit());
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
