//! IPv6 host addresses: lines of exact addresses, three to a cache line, with one bit for each list.

use std::{net::Ipv6Addr, sync::atomic::Ordering};

use ober_common::{
    abi::{HostLine, SPILL, TAGGED, WAYS},
    address::Ip,
    flow::{HostHash, host_hash, tags_of},
};

use super::{Diff, Error, Others};
use crate::dataplane::{
    Maps,
    memory::{word32, word64},
};

/// A place for one address: a line, and one of its three ways.
#[derive(Clone, Copy)]
struct HostCell {
    line: u32,
    way: usize,
}

/// The hosts to add to the list and those to remove from it. `wanted` is sorted.
pub(super) fn compare(
    maps: &Maps,
    list: u32,
    wanted: &[u128],
    others: Others<'_>,
) -> Diff<Vec<u128>> {
    let bit = bit(list);
    let missing = |host: &&u128| !holds(maps, **host, bit);
    let surplus = |host: &u128| wanted.binary_search(host).is_err();
    let added = wanted.iter().filter(missing).copied().collect();
    let removed = if others.stay() {
        Vec::new()
    } else {
        let held = members(maps, bit).map(|(_, host)| host);
        held.filter(surplus).collect()
    };
    Diff { added, removed }
}

/// Adds hosts to a list. They are not on it yet. When there is no room for one, all are removed again.
pub(super) fn add(maps: &Maps, list: u32, hosts: &[u128]) -> Result<(), Error> {
    if !hosts.is_empty() {
        mark(maps, list, true);
    }
    for (done, host) in hosts.iter().enumerate() {
        if put(maps, *host, bit(list)).is_none() {
            remove(maps, list, &hosts[..done]);
            return Err(Error::HostsFull {
                host: Ipv6Addr::from_bits(*host),
            });
        }
    }
    Ok(())
}

pub(super) fn remove(maps: &Maps, list: u32, hosts: &[u128]) {
    for host in hosts {
        if let Some(place) = find(maps, *host) {
            clear(maps, place, bit(list));
        }
    }
}

pub(super) fn read(maps: &Maps, list: u32) -> Vec<u128> {
    let mut hosts: Vec<u128> = members(maps, bit(list)).map(|(_, host)| host).collect();
    hosts.sort_unstable();
    hosts
}

pub(super) fn listed(maps: &Maps, list: u32, host: Ipv6Addr) -> bool {
    holds(maps, host.to_bits(), bit(list))
}

/// Is the host on the list? Looked up as the kernel programs do it.
fn holds(maps: &Maps, host: u128, bit: u32) -> bool {
    let tag = hash(maps, host).tag();
    let tagged = tags(maps, home(maps, host)).load(Ordering::Acquire) & tag == tag;
    tagged
        && find(maps, host)
            .is_some_and(|place| lists(maps, place).load(Ordering::Acquire) & bit != 0)
}

fn bit(list: u32) -> u32 {
    1 << (list & 31)
}

/// Sets or clears the list's bit in `Node::host_lists`: the kernel programs skip the host lines for a list without it.
pub(super) fn mark(maps: &Maps, list: u32, has: bool) {
    let bit = bit(list);
    let node = maps.node.at(0).as_ptr();
    // SAFETY: within the node's value, mapped as long as `maps`.
    let word = unsafe { word32(&raw mut (*node).host_lists) };
    if has {
        word.fetch_or(bit, Ordering::Release);
    } else {
        word.fetch_and(!bit, Ordering::Release);
    }
}

fn members(maps: &Maps, bit: u32) -> impl Iterator<Item = (HostCell, u128)> {
    let has = maps.node.read(0).host_lists & bit != 0;
    let lines = if has {
        u32::try_from(maps.lines.count()).unwrap_or(u32::MAX)
    } else {
        0
    };
    (0..lines)
        .flat_map(|line| (0..WAYS).map(move |way| HostCell { line, way }))
        .filter(move |place| lists(maps, *place).load(Ordering::Relaxed) & bit != 0)
        .map(|place| (place, address(maps, place)))
}

fn hash(maps: &Maps, host: u128) -> HostHash {
    // SAFETY: within the node's value, mapped as long as `maps`; never written once the maps are in use.
    let key = unsafe { (&raw const (*maps.node.at(0).as_ptr()).key).read_volatile() };
    host_hash(key, Ip::from_bytes(host.to_be_bytes()))
}

fn mask(maps: &Maps) -> u32 {
    // SAFETY: as in `hash`.
    unsafe { (&raw const (*maps.node.at(0).as_ptr()).line_mask).read_volatile() }
}

fn home(maps: &Maps, host: u128) -> u32 {
    hash(maps, host).line(mask(maps))
}

fn step(maps: &Maps, home: u32, step: u32) -> u32 {
    (home + step) & mask(maps)
}

/// The places for an address whose home line is `home`, nearest first.
fn places(maps: &Maps, home: u32) -> impl Iterator<Item = HostCell> {
    (0..=SPILL).flat_map(move |distance| {
        (0..WAYS).map(move |way| HostCell {
            line: step(maps, home, distance),
            way,
        })
    })
}

fn find(maps: &Maps, host: u128) -> Option<HostCell> {
    places(maps, home(maps, host)).find(|place| {
        lists(maps, *place).load(Ordering::Relaxed) != 0 && address(maps, *place) == host
    })
}

/// Sets the list's bit for a host. `None`: there is no room for the host.
fn put(maps: &Maps, host: u128, bit: u32) -> Option<()> {
    if let Some(place) = find(maps, host) {
        lists(maps, place).fetch_or(bit, Ordering::AcqRel);
        return Some(());
    }
    let home = home(maps, host);
    let place =
        places(maps, home).find(|place| lists(maps, *place).load(Ordering::Relaxed) == 0)?;
    let ip = Ip::from_bytes(host.to_be_bytes());
    let target = line(maps, place.line);
    // SAFETY: a way of a mapped line. A kernel program may be reading it: it then sees an address that is on no list yet.
    unsafe { (&raw mut (*target).addresses[place.way]).write_volatile(ip.bytes()) };
    if place.line != home {
        spilled(maps, home).fetch_add(1, Ordering::Release);
    }
    tags(maps, home).fetch_or(hash(maps, host).tag(), Ordering::Release);
    lists(maps, place).store(bit, Ordering::Release);
    Some(())
}

fn clear(maps: &Maps, place: HostCell, bit: u32) {
    let left = lists(maps, place).fetch_and(!bit, Ordering::AcqRel) & !bit;
    if left != 0 {
        return;
    }
    let home = home(maps, address(maps, place));
    if home != place.line {
        spilled(maps, home).fetch_sub(1, Ordering::Release);
    }
    tags(maps, home).store(wanted_tags(maps, home), Ordering::Release);
}

/// The word of tags that `line` shares, computed from all addresses whose home lines share it.
fn wanted_tags(maps: &Maps, line: u32) -> u64 {
    let word = tags_of(line);
    (0..TAGGED + SPILL)
        .flat_map(|distance| (0..WAYS).map(move |way| (distance, way)))
        .map(|(distance, way)| HostCell {
            line: step(maps, word * TAGGED, distance),
            way,
        })
        .filter(|place| lists(maps, *place).load(Ordering::Relaxed) != 0)
        .map(|place| address(maps, place))
        .filter(|host| tags_of(home(maps, *host)) == word)
        .fold(0, |tags, host| tags | hash(maps, host).tag())
}

fn line(maps: &Maps, line: u32) -> *mut HostLine {
    maps.lines.at(line as usize).as_ptr()
}

fn address(maps: &Maps, place: HostCell) -> u128 {
    u128::from_be_bytes(maps.lines.read(place.line as usize).addresses[place.way])
}

fn lists(maps: &Maps, place: HostCell) -> &std::sync::atomic::AtomicU32 {
    // SAFETY: a way of a mapped line.
    unsafe { word32(&raw mut (*line(maps, place.line)).lists[place.way]) }
}

fn tags(maps: &Maps, line: u32) -> &std::sync::atomic::AtomicU64 {
    // SAFETY: a mapped word.
    unsafe { word64(&raw mut (*maps.tags.at(tags_of(line) as usize).as_ptr()).bits) }
}

fn spilled(maps: &Maps, home: u32) -> &std::sync::atomic::AtomicU32 {
    // SAFETY: a mapped line.
    unsafe { word32(&raw mut (*line(maps, home)).spilled) }
}
