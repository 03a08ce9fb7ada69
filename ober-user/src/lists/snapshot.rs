//! A list's entries on disk: little-endian numbers, so that a million addresses are written and read in milliseconds,
//! and behind them the changes since, so that a small change costs a small write.
//!
//! ```text
//! "OBERLST1"  entries  (added:entries removed:entries)*
//! entries:  ranges:u64 hosts:u64 prefixes:u64  (first:u32 last:u32)*  (host:u128)*  (address:u128 length:u8)*
//! ```
//! A change that was cut short never reached the kernel, and does not count.

use std::{io, net::Ipv6Addr, path::Path};

use bytes::{Buf as _, BufMut as _};
use ipnet::Ipv6Net;

use crate::{
    access::{Entries, Plan, Range},
    store::{self, Appended, Error, Pending},
};

const MAGIC: &[u8; 8] = b"OBERLST1";
/// Changes behind a snapshot. Each is applied to the whole list when it is read.
const CHANGES: u32 = 100;

/// A snapshot that holds what the kernel holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    length: u64,
    /// Of the entries alone, without changes.
    base: u64,
    changes: u32,
}

/// A snapshot brought up to date, to be committed or dropped.
#[derive(Debug)]
pub(super) struct Update {
    snapshot: Snapshot,
    written: Written,
}

#[derive(Debug)]
enum Written {
    Whole(Pending),
    Change(Appended),
}

impl Update {
    /// Writes all entries, settled, beside the file.
    pub(super) fn whole(path: &Path, entries: &mut Entries) -> Result<Self, Error> {
        entries.settle();
        let mut bytes = Vec::with_capacity(MAGIC.len() + size(entries));
        bytes.put_slice(MAGIC);
        put(&mut bytes, entries);
        let length = bytes.len() as u64;
        Ok(Self {
            snapshot: Snapshot {
                length,
                base: length,
                changes: 0,
            },
            written: Written::Whole(Pending::write(path, &bytes)?),
        })
    }

    /// Writes the change behind `last`. `None`: it is too much, or one too many, or the file is not as it was left.
    pub(super) fn append(path: &Path, last: Snapshot, plan: &Plan) -> Result<Option<Self>, Error> {
        if last.changes >= CHANGES || !plan.is_whole() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        for entries in &plan.difference() {
            put(&mut bytes, entries);
        }
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

    /// What is on disk from now on.
    pub(super) fn commit(self) -> Result<Snapshot, Error> {
        match self.written {
            Written::Whole(file) => file.commit()?,
            Written::Change(file) => file.commit(),
        }
        Ok(self.snapshot)
    }
}

fn size(entries: &Entries) -> usize {
    24 + entries.v4.len() * 8 + entries.hosts.len() * 16 + entries.prefixes.len() * 17
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
    let damaged =
        || io::Error::other("it is damaged; remove it, the list is then made from its sources");
    parse(&bytes).map(Some).ok_or_else(|| Error::Read {
        path: path.into(),
        source: damaged(),
    })
}

fn parse(mut bytes: &[u8]) -> Option<Entries> {
    if bytes.split_off(..MAGIC.len())? != MAGIC {
        return None;
    }
    let mut entries = take(&mut bytes)?;
    while let (Some(added), Some(removed)) = (take(&mut bytes), take(&mut bytes)) {
        entries = entries.without(&removed);
        entries.extend(added);
        entries.settle();
    }
    Some(entries)
}

/// The next entries, settled. `None`: they are not there whole.
fn take(bytes: &mut &[u8]) -> Option<Entries> {
    let mut count = || {
        bytes
            .try_get_u64_le()
            .ok()
            .and_then(|count| usize::try_from(count).ok())
    };
    let (ranges, hosts, prefixes) = (count()?, count()?, count()?);
    let size = ranges
        .checked_mul(8)?
        .checked_add(hosts.checked_mul(16)?)?
        .checked_add(prefixes.checked_mul(17)?)?;
    let mut bytes = bytes.split_off(..size)?;
    let mut entries = Entries {
        v4: (0..ranges)
            .map(|_| Range {
                first: bytes.get_u32_le(),
                last: bytes.get_u32_le(),
            })
            .collect(),
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

    #[test]
    fn a_snapshot_is_read_back_with_its_changes_and_a_cut_change_does_not_count() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("list.entries");
        let first = entries(&["10.0.0.0/9", "fd00::1/128", "fd01::/48"]);
        let mut bytes = MAGIC.to_vec();
        put(&mut bytes, &first);
        let base = bytes.len();
        let added = entries(&["11.0.0.1/32", "fd00::2/128"]);
        let removed = entries(&["10.0.0.0/10", "fd01::/48"]);
        put(&mut bytes, &added);
        put(&mut bytes, &removed);
        fs::write(&path, &bytes).unwrap();
        let second = entries(&["10.64.0.0/10", "11.0.0.1/32", "fd00::1/128", "fd00::2/128"]);
        assert_eq!(read(&path).unwrap(), Some(second));
        for length in 0..bytes.len() {
            let expected = (length >= base).then_some(&first);
            assert_eq!(parse(&bytes[..length]).as_ref(), expected, "{length} bytes");
        }
    }
}
