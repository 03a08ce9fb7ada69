//! A list's entries on disk: little-endian numbers, so that a million addresses are written and read in milliseconds;
//! behind them the later changes, so that a small change is a small write.
//!
//! ```text
//! "OBERLST2"  entries sum  (added:entries removed:entries sum)*
//! entries:  ranges:u64 hosts:u64 prefixes:u64  (first:u32 last:u32)*  (host:u128)*  (address:u128 length:u8)*
//! sum:      CRC-32 of the bytes since the previous sum:u32
//! ```
//! A change is on disk before it is in the kernel's maps, so one that was cut short never reached the maps and is
//! ignored. One that is complete and has another sum is damaged. "OBERLST1", of earlier versions, has no sums.

use std::{net::Ipv6Addr, path::Path};

use bytes::{Buf as _, BufMut as _};
use ipnet::Ipv6Net;

use crate::{
    dataplane::access::{Diff, Plan},
    names::entries::{Entries, Range},
    system::store::{self, Appended, Batch, Error, Kind, Pending},
};

const MAGIC: &[u8; 8] = b"OBERLST2";
const WITHOUT_SUMS: &[u8; 8] = b"OBERLST1";
/// The most changes behind a snapshot. Each is applied to the whole list when it is read.
const CHANGES: u32 = 100;
/// Bytes of the three counts before entries.
const HEAD: usize = 24;
/// Bytes of a sum.
const SUM: usize = 4;

/// A snapshot whose entries are those in the kernel's maps. Lengths are in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    length: u64,
    /// The length of the entries alone, without changes.
    base: u64,
    changes: u32,
}

/// An update of a snapshot, to be put in place or dropped.
#[derive(Debug)]
pub(super) struct Update {
    /// The snapshot after the update.
    pub(super) snapshot: Snapshot,
    written: Written,
}

#[derive(Debug)]
enum Written {
    Whole(Pending),
    Change(Appended),
    There,
}

impl Update {
    /// Settles all entries and writes them beside the file.
    pub(super) fn whole(path: &Path, entries: &mut Entries) -> Result<Self, Error> {
        entries.settle();
        let mut bytes = Vec::with_capacity(MAGIC.len() + size(entries) + SUM);
        bytes.put_slice(MAGIC);
        put(&mut bytes, entries);
        let sum = crc32fast::hash(&bytes[MAGIC.len()..]);
        bytes.put_u32_le(sum);
        let length = bytes.len() as u64;
        Ok(Self {
            snapshot: Snapshot {
                length,
                base: length,
                changes: 0,
            },
            written: Written::Whole(Pending::write(Kind::Entries, path, &bytes)?),
        })
    }

    /// An update without a write, if the file holds these settled entries already: so a list can be put in force when
    /// the disk cannot be written to.
    pub(super) fn there(path: &Path, entries: &Entries) -> Result<Option<Self>, Error> {
        let Some(bytes) = store::read(path)? else {
            return Ok(None);
        };
        let length = bytes.len() as u64;
        let same = parse(&bytes).is_ok_and(|there| there == *entries);
        Ok(same.then_some(Self {
            snapshot: Snapshot {
                length,
                base: length,
                // The changes were not counted, so the next update writes the whole list.
                changes: CHANGES,
            },
            written: Written::There,
        }))
    }

    /// Writes the change behind `last`, if there is any. `None`: the change is too large, there are too many changes,
    /// or the file is not as it was left.
    pub(super) fn append(path: &Path, last: Snapshot, plan: &Plan) -> Result<Option<Self>, Error> {
        if plan.change() == Diff::default() && store::length(path)? == Some(last.length) {
            return Ok(Some(Self {
                snapshot: last,
                written: Written::There,
            }));
        }
        if last.changes >= CHANGES || !plan.is_whole() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let difference = plan.difference();
        put(&mut bytes, &difference.added);
        put(&mut bytes, &difference.removed);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        let length = last.length + bytes.len() as u64;
        if length > last.base * 2 {
            return Ok(None);
        }
        let appended = Appended::write(path, last.length, &bytes)?;
        Ok(appended.map(|appended| Self {
            snapshot: Snapshot {
                length,
                changes: last.changes + 1,
                ..last
            },
            written: Written::Change(appended),
        }))
    }

    /// Adds a whole snapshot to the files to be put in place. A change was appended already and is returned.
    pub(super) fn join(self, batch: &mut Batch) -> (Snapshot, Option<Appended>) {
        let appended = match self.written {
            Written::Whole(file) => {
                batch.push(file);
                None
            }
            Written::Change(appended) => Some(appended),
            Written::There => None,
        };
        (self.snapshot, appended)
    }
}

fn size(entries: &Entries) -> usize {
    HEAD + entries.v4.len() * 8 + entries.hosts.len() * 16 + entries.prefixes.len() * 17
}

fn put(bytes: &mut Vec<u8>, entries: &Entries) {
    for count in [
        entries.v4.len(),
        entries.hosts.len(),
        entries.prefixes.len(),
    ] {
        bytes.put_u64_le(count as u64);
    }
    for range in &entries.v4 {
        bytes.put_u32_le(range.first);
        bytes.put_u32_le(range.last);
    }
    for host in &entries.hosts {
        bytes.put_u128_le(*host);
    }
    for prefix in &entries.prefixes {
        bytes.put_u128_le(prefix.network().to_bits());
        bytes.put_u8(prefix.prefix_len());
    }
}

/// `None`: there is no snapshot.
pub(super) fn read(path: &Path) -> Result<Option<Entries>, Error> {
    let Some(bytes) = store::read(path)? else {
        return Ok(None);
    };
    parse(&bytes).map(Some).map_err(|why| Error::Damaged {
        path: path.into(),
        why: why.to_owned(),
    })
}

/// The entries, or the reason why the bytes are damaged.
fn parse(mut bytes: &[u8]) -> Result<Entries, &'static str> {
    let sum = match bytes.split_off(..MAGIC.len()) {
        Some(magic) if magic == MAGIC => SUM,
        Some(magic) if magic == WITHOUT_SUMS => 0,
        Some(_) | None => return Err("it does not begin as a list does"),
    };
    let [mut entries] = block(&mut bytes, sum)?.ok_or("it is cut short")?;
    while let Some([added, removed]) = block(&mut bytes, sum)? {
        entries = entries.without(&removed);
        entries.extend(added);
        entries.settle();
    }
    Ok(entries)
}

/// Reads `N` sets of entries and the sum behind them. `None`: they are incomplete.
fn block<const N: usize>(
    bytes: &mut &[u8],
    sum: usize,
) -> Result<Option<[Entries; N]>, &'static str> {
    let mut length = 0;
    for _ in 0..N {
        let Some(next) = bytes.get(length..).and_then(length_of) else {
            return Ok(None);
        };
        length += next;
    }
    if bytes
        .len()
        .checked_sub(length)
        .is_none_or(|rest| rest < sum)
    {
        return Ok(None);
    }
    let (mut block, rest) = bytes.split_at(length);
    *bytes = rest;
    if sum > 0 && bytes.get_u32_le() != crc32fast::hash(block) {
        return Err("its bytes do not fit their sum");
    }
    let mut all = std::array::from_fn(|_| Entries::default());
    for entries in &mut all {
        *entries = take(&mut block).ok_or("it holds what is no address")?;
    }
    Ok(Some(all))
}

/// The numbers of ranges, hosts and prefixes.
fn counts(bytes: &mut &[u8]) -> Option<[usize; 3]> {
    let mut counts = [0; 3];
    for count in &mut counts {
        *count = usize::try_from(bytes.try_get_u64_le().ok()?).ok()?;
    }
    Some(counts)
}

/// The length in bytes of the entries that begin here; `None`: they are incomplete.
fn length_of(mut bytes: &[u8]) -> Option<usize> {
    let [ranges, hosts, prefixes] = counts(&mut bytes)?;
    let length = ranges
        .checked_mul(8)?
        .checked_add(hosts.checked_mul(16)?)?
        .checked_add(prefixes.checked_mul(17)?)?;
    (length <= bytes.len()).then_some(length + HEAD)
}

/// Reads the next entries, which are complete, and settles them. `None`: the bytes are not valid entries.
fn take(bytes: &mut &[u8]) -> Option<Entries> {
    let [ranges, hosts, prefixes] = counts(bytes)?;
    let range = |bytes: &mut &[u8]| {
        let (first, last) = (bytes.get_u32_le(), bytes.get_u32_le());
        (first <= last).then_some(Range { first, last })
    };
    let mut entries = Entries {
        v4: (0..ranges).map(|_| range(bytes)).collect::<Option<_>>()?,
        hosts: (0..hosts).map(|_| bytes.get_u128_le()).collect(),
        ..Entries::default()
    };
    for _ in 0..prefixes {
        let (address, length) = (Ipv6Addr::from_bits(bytes.get_u128_le()), bytes.get_u8());
        entries.prefixes.insert(Ipv6Net::new(address, length).ok()?);
    }
    entries.settle();
    Some(entries)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn entries(members: &[&str]) -> Entries {
        let mut entries = Entries::default();
        for member in members {
            entries.push_prefix(member.parse().unwrap());
        }
        entries.settle();
        entries
    }

    /// A list and two changes of it, as bytes and as states.
    fn written() -> (Vec<u8>, Vec<(usize, Entries)>) {
        let first = entries(&["10.0.0.0/9", "fd00::1/128", "fd01::/48"]);
        let mut bytes = MAGIC.to_vec();
        let mut states = Vec::new();
        let mut block = |parts: &[&Entries], after: Entries| {
            let mut block = Vec::new();
            for part in parts {
                put(&mut block, part);
            }
            let sum = crc32fast::hash(&block);
            block.put_u32_le(sum);
            bytes.extend(block);
            states.push((bytes.len(), after));
        };
        block(&[&first], first.clone());
        let second = entries(&["10.64.0.0/10", "11.0.0.1/32", "fd00::1/128", "fd00::2/128"]);
        let added = entries(&["11.0.0.1/32", "fd00::2/128"]);
        let removed = entries(&["10.0.0.0/10", "fd01::/48"]);
        block(&[&added, &removed], second.clone());
        let (none, removed) = (Entries::default(), entries(&["11.0.0.1/32"]));
        block(&[&none, &removed], second.without(&removed));
        (bytes, states)
    }

    #[test]
    fn a_snapshot_is_read_back_with_its_changes_and_a_cut_change_does_not_count() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("list.entries");
        let (bytes, states) = written();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(
            read(&path).unwrap().as_ref(),
            states.last().map(|(_, it)| it)
        );
        for length in 0..bytes.len() {
            let whole = states.iter().rev().find(|(end, _)| *end <= length);
            let read = parse(&bytes[..length]).ok();
            assert_eq!(read.as_ref(), whole.map(|(_, it)| it), "{length} bytes");
        }
    }

    #[test]
    fn a_snapshot_with_a_changed_byte_is_refused_or_gives_a_state_that_was_stored() {
        let (bytes, states) = written();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                // A length beyond the end counts as a change that was cut short.
                let read = parse(&bytes).ok();
                let known = read
                    .as_ref()
                    .is_none_or(|read| states.iter().any(|(_, it)| it == read));
                assert!(known, "byte {at}: {read:?}");
            }
        }
    }

    #[test]
    fn a_snapshot_of_the_format_without_checksums_is_still_read() {
        let first = entries(&["10.0.0.0/9", "fd00::1/128"]);
        let (added, none) = (entries(&["11.0.0.1/32"]), Entries::default());
        let mut bytes = WITHOUT_SUMS.to_vec();
        for part in [&first, &added, &none] {
            put(&mut bytes, part);
        }
        let both = entries(&["10.0.0.0/9", "11.0.0.1/32", "fd00::1/128"]);
        assert_eq!(parse(&bytes), Ok(both));
    }
}
