//! The difference of two versions of a text with one IPv4 address on each line: only the lines between the first and
//! the last difference are parsed.

use std::{collections::BTreeSet, net::Ipv4Addr};

use memchr::memmem;

use crate::{
    dataplane::access::Diff,
    names::entries::{Entries, Range},
};

/// The longest text that is kept for comparison, in bytes. A longer one takes much memory, and parsing is only a part
/// of the time that its change takes.
pub(super) const LONGEST: usize = 2 << 20;
/// The most bytes between the first and the last difference; with more, the whole text is read.
const MOST: usize = 64 << 10;
/// The most removed addresses; each is searched in the rest of the text.
const SOUGHT: usize = 16;

/// The change of a list of which the text is the only source.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EntryDifference {
    pub(super) added: Entries,
    /// Sorted.
    pub(super) removed: Vec<Range>,
    /// The number of lines with an address in the changed part of the new text and of the old one.
    pub(super) lines: Diff<u64>,
}

/// May the text consist of IPv4 addresses, one on each line, and nothing else? A caller that has parsed it knows
/// whether it does.
pub(super) fn plain(text: &[u8]) -> bool {
    let part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.' || *byte == b'\n';
    // Without an early exit in a chunk, so that the compiler can test many bytes at once.
    text.chunks(CHUNK)
        .all(|chunk| chunk.iter().fold(true, |all, byte| all & part(byte)))
}

/// Compares a plain text with the next one. `None`: too much differs, or the next one is not plain.
pub(super) fn entry_difference(old: &[u8], new: &[u8]) -> Option<EntryDifference> {
    let head = line_start(&old[..common(old.chunks(CHUNK), new.chunks(CHUNK), first)]);
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let same = common(old_rest.rchunks(CHUNK), new_rest.rchunks(CHUNK), last);
    let tail = line_end(&old_rest[old_rest.len() - same..]);
    let [gone, came] = [old_rest, new_rest].map(|rest| addresses(&rest[..rest.len() - tail.len()]));
    let ((gone, went), (came, arrived)) = (gone?, came?);
    let mut removed = gone.difference(&came).copied().collect::<Vec<_>>();
    if removed.len() > SOUGHT {
        return None;
    }
    removed.retain(|address| {
        ![&old[..head], tail]
            .iter()
            .any(|text| names(text, *address))
    });
    let mut added = Entries::default();
    came.difference(&gone)
        .for_each(|address| added.push((*address).into()));
    let single = |address: Ipv4Addr| Range {
        first: address.to_bits(),
        last: address.to_bits(),
    };
    Some(EntryDifference {
        added,
        removed: removed.into_iter().map(single).collect(),
        lines: Diff {
            added: arrived,
            removed: went,
        },
    })
}

const CHUNK: usize = 4096;

/// How many bytes are the same, from one end on. Compares whole chunks, which is as fast as memory.
fn common<'a>(
    a: impl Iterator<Item = &'a [u8]>,
    b: impl Iterator<Item = &'a [u8]>,
    within: fn(&[u8], &[u8]) -> usize,
) -> usize {
    let mut same = 0;
    for (a, b) in a.zip(b) {
        if a != b {
            return same + within(a, b);
        }
        same += a.len();
    }
    same
}

fn first(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn last(a: &[u8], b: &[u8]) -> usize {
    let pairs = a.iter().rev().zip(b.iter().rev());
    pairs.take_while(|(a, b)| a == b).count()
}

/// The start of the last, unfinished line.
fn line_start(text: &[u8]) -> usize {
    memchr::memrchr(b'\n', text).map_or(0, |end| end + 1)
}

/// The text behind the first line end.
fn line_end(text: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', text).map_or(&[], |end| &text[end + 1..])
}

/// The addresses on these whole lines, and the number of lines with one.
fn addresses(lines: &[u8]) -> Option<(BTreeSet<Ipv4Addr>, u64)> {
    let text = str::from_utf8(lines)
        .ok()
        .filter(|text| text.len() <= MOST)?;
    let mut count = 0;
    let mut all = BTreeSet::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        all.insert(line.parse().ok()?);
        count += 1;
    }
    Some((all, count))
}

/// Is the address on a line of the plain text?
fn names(text: &[u8], address: Ipv4Addr) -> bool {
    let wanted = address.to_string();
    memmem::find_iter(text, &wanted).any(|at| {
        let before = at.checked_sub(1).map(|before| text[before]);
        let behind = text.get(at + wanted.len());
        before.is_none_or(|byte| byte == b'\n') && behind.is_none_or(|byte| *byte == b'\n')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(lines: &[u8], end: bool) -> String {
        // Includes addresses of which one is the end of another, and empty lines.
        let line = |line: &u8| match line % 5 {
            0 => "\n".to_owned(),
            kind => format!("{kind}0.0.0.{}\n", line / 5),
        };
        let mut text = lines.iter().map(line).collect::<Vec<_>>().concat();
        if !end {
            text.pop();
        }
        text
    }

    fn set(text: &str) -> BTreeSet<u32> {
        let lines = text.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| line.parse::<Ipv4Addr>().unwrap().to_bits())
            .collect()
    }

    proptest! {
        #[test]
        fn the_difference_applied_to_the_old_list_gives_the_new_one(
            head in proptest::collection::vec(0u8..60, 0..20),
            middles in [proptest::collection::vec(0u8..60, 0..5), proptest::collection::vec(0u8..60, 0..5)],
            tail in proptest::collection::vec(0u8..60, 0..20),
            ends in any::<[bool; 2]>(),
        ) {
            let [old, new] = [0, 1].map(|which| {
                text(&[&head[..], &middles[which], &tail].concat(), ends[which])
            });
            prop_assert!(plain(old.as_bytes()));
            let EntryDifference { added, removed, lines } = entry_difference(old.as_bytes(), new.as_bytes()).unwrap();
            let mut list = set(&old);
            for range in &removed {
                prop_assert!(list.remove(&range.first));
            }
            list.extend(added.v4.iter().flat_map(|range| range.first..=range.last));
            prop_assert_eq!(list, set(&new));
            let count = |text: &str| text.lines().filter(|line| !line.is_empty()).count() as u64;
            prop_assert_eq!(count(&old) + lines.added, count(&new) + lines.removed);
        }
    }

    #[test]
    fn a_text_that_is_not_plain_or_differs_too_much_is_read_whole() {
        let old = "10.0.0.1\n10.0.0.2\n10.0.0.3\n".repeat(4000);
        for other in [
            "10.0.0.2\r",
            "10.0.0.02",
            " 10.0.0.2",
            "rack1",
            "10.0.0.2-10.0.0.9",
            "10.0.0",
        ] {
            let new = old.replacen("10.0.0.2", other, 7);
            assert_eq!(
                entry_difference(old.as_bytes(), new.as_bytes()),
                None,
                "{other}"
            );
        }
        let every = |octet| {
            let lines = (0..=SOUGHT).map(|host| format!("10.{octet}.0.{host}\n"));
            lines.collect::<Vec<_>>().concat()
        };
        assert_eq!(
            entry_difference(every(1).as_bytes(), every(2).as_bytes()),
            None
        );
        let far = format!("1{old}10.9.9.9\n");
        assert_eq!(entry_difference(old.as_bytes(), far.as_bytes()), None);
    }
}
