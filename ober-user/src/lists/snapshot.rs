//! A list's entries on disk: little-endian numbers, so that a million addresses are written and read in milliseconds.
//!
//! ```text
//! "OBERLST1"  ranges:u64 hosts:u64 prefixes:u64  (first:u32 last:u32)*  (host:u128)*  (address:u128 length:u8)*
//! ```

use std::{io, net::Ipv6Addr, path::Path};

use bytes::{Buf as _, BufMut as _};
use ipnet::Ipv6Net;

use crate::{
    access::{Entries, Range},
    store::{self, Error, Pending},
};

const MAGIC: &[u8; 8] = b"OBERLST1";

pub(super) fn write(path: &Path, entries: &Entries) -> Result<Pending, Error> {
    let size = 32 + entries.v4.len() * 8 + entries.hosts.len() * 16 + entries.prefixes.len() * 17;
    let mut bytes = Vec::with_capacity(size);
    bytes.put_slice(MAGIC);
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
    entries
        .hosts
        .iter()
        .for_each(|host| bytes.put_u128_le(*host));
    for prefix in &entries.prefixes {
        bytes.put_u128_le(prefix.network().to_bits());
        bytes.put_u8(prefix.prefix_len());
    }
    Pending::write(path, &bytes)
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
    let magic = bytes.split_off(..MAGIC.len())?;
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
    if magic != MAGIC || bytes.len() != size {
        return None;
    }
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

    #[test]
    fn a_snapshot_is_read_back_and_a_cut_one_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("list.entries");
        let mut entries = Entries::default();
        entries.push_prefix("10.0.0.0/9".parse().unwrap());
        entries.push("fd00::1".parse().unwrap());
        entries.push_prefix("fd01::/48".parse().unwrap());
        entries.settle();
        write(&path, &entries).unwrap().commit().unwrap();
        assert_eq!(read(&path).unwrap(), Some(entries));
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            assert_eq!(
                parse(&whole[..length]),
                None,
                "{length} bytes of {}",
                whole.len()
            );
        }
    }
}
