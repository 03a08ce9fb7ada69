//! IPv6 prefixes: a longest-prefix trie, which is looked up only for lists that have prefixes.

use std::{collections::BTreeSet, net::Ipv6Addr, sync::atomic::Ordering};

use aya::maps::lpm_trie::Key;
use ipnet::Ipv6Net;
use ober_common::abi::{PREFIX_LIST_BITS, PrefixKey};

use super::{Diff, Error, Others};
use crate::dataplane::{Error as MapError, Maps, maps::Plain, memory::word32};

/// The prefixes to add to the list and those to remove from it.
pub(super) fn compare(
    maps: &Maps,
    list: u32,
    wanted: &BTreeSet<Ipv6Net>,
    others: Others<'_>,
) -> Result<Diff<BTreeSet<Ipv6Net>>, Error> {
    if wanted.is_empty() && others.stay() {
        return Ok(Diff::default());
    }
    let held = read(maps, list)?;
    let removed = match others {
        Others::Stay { .. } => BTreeSet::new(),
        Others::Go => &held - wanted,
    };
    let added = wanted - &held;
    Ok(Diff { added, removed })
}

/// Adds prefixes to a list. They are not on it yet. When there is no room for one, all are removed again.
pub(super) fn add(maps: &mut Maps, list: u32, prefixes: &BTreeSet<Ipv6Net>) -> Result<(), Error> {
    for prefix in prefixes {
        if let Err(source) = maps.prefixes.insert(&key(list, prefix), 1, 0) {
            let added = prefixes.range(..prefix).copied().collect();
            remove(maps, list, &added)?;
            return Err(Error::PrefixesFull {
                prefix: *prefix,
                source: Box::new(source),
            });
        }
    }
    if !prefixes.is_empty() {
        mark(maps, list, true);
    }
    Ok(())
}

pub(super) fn remove(
    maps: &mut Maps,
    list: u32,
    prefixes: &BTreeSet<Ipv6Net>,
) -> Result<(), Error> {
    let mut gone = prefixes.iter();
    gone.try_for_each(|prefix| maps.prefixes.remove(&key(list, prefix)))
        .map_err(write_error)
}

pub(super) fn read(maps: &Maps, list: u32) -> Result<BTreeSet<Ipv6Net>, Error> {
    let mut held = BTreeSet::new();
    for entry in maps.prefixes.keys() {
        let entry = entry.map_err(write_error)?;
        let Plain(data) = entry.data();
        let length =
            u8::try_from(entry.prefix_len().saturating_sub(PREFIX_LIST_BITS)).unwrap_or(128);
        if u32::from_be_bytes(data.list) == list {
            held.extend(Ipv6Net::new(Ipv6Addr::from(data.address), length));
        }
    }
    Ok(held)
}

/// Is the address within a prefix of the list?
pub(super) fn listed(maps: &Maps, list: u32, address: Ipv6Addr) -> bool {
    let all = key(list, &Ipv6Net::from(address));
    maps.prefixes.get(&all, 0).is_ok()
}

fn write_error(source: aya::maps::MapError) -> Error {
    Error::Map(MapError::Write {
        name: "PREFIXES",
        source: Box::new(source),
    })
}

fn key(list: u32, prefix: &Ipv6Net) -> Key<Plain<PrefixKey>> {
    let data = PrefixKey {
        list: list.to_be_bytes(),
        address: prefix.network().octets(),
    };
    Key::new(
        PREFIX_LIST_BITS + u32::from(prefix.prefix_len()),
        Plain(data),
    )
}

pub(super) fn mark(maps: &Maps, list: u32, has: bool) {
    let node = maps.node.at(0).as_ptr();
    // SAFETY: within the node's value, mapped as long as `maps`.
    let word = unsafe { word32(&raw mut (*node).prefix_lists) };
    let bit = 1 << (list & 31);
    if has {
        word.fetch_or(bit, Ordering::Release);
    } else {
        word.fetch_and(!bit, Ordering::Release);
    }
}
