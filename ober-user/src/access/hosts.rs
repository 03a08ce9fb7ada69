//! IPv6 host addresses: lines of exact addresses, three to a cache line, with one bit for each list.

use std::{net::Ipv6Addr, sync::atomic::Ordering};

use ober_common::{
    abi::{HostLine, SPILL, TAGGED, WAYS},
    flow::{HostHash, Ip, host_hash, tags_of},
};

use super::Error;
use crate::dataplane::{
    Maps,
    memory::{word32, word64},
};

/// Where an address stands or could stand.
#[derive(Clone, Copy)]
struct Place {
    line: u32,
    way: usize,
}

/// Puts hosts on a list; returns those that were not on it. What does not fit is taken back.
pub(super) fn add(maps: &Maps, list: u32, hosts: &[u128]) -> Result<Vec<u128>, Error> {
    let bit = bit(list);
    if !hosts.is_empty() {
        mark(maps, bit, true);
    }
    let mut added = Vec::new();
    for host in hosts {
        match put(maps, *host, bit) {
            Some(true) => added.push(*host),
            Some(false) => {}
            None => {
                take_back(maps, list, &added);
                return Err(Error::HostsFull {
                    host: Ipv6Addr::from_bits(*host),
                });
            }
        }
    }
    Ok(added)
}

pub(super) fn take_back(maps: &Maps, list: u32, hosts: &[u128]) {
    for host in hosts {
        if let Some(place) = find(maps, *host) {
            clear(maps, place, bit(list));
        }
    }
}

/// Takes every host off the list that `wanted` (sorted) does not name. Returns how many.
pub(super) fn retain(maps: &Maps, list: u32, wanted: &[u128]) -> u64 {
    let bit = bit(list);
    let mut removed = 0;
    for (place, host) in members(maps, bit) {
        if wanted.binary_search(&host).is_err() {
            clear(maps, place, bit);
            removed += 1;
        }
    }
    if wanted.is_empty() {
        mark(maps, bit, false);
    }
    removed
}

pub(super) fn read(maps: &Maps, list: u32) -> Vec<u128> {
    let mut hosts: Vec<u128> = members(maps, bit(list)).map(|(_, host)| host).collect();
    hosts.sort_unstable();
    hosts
}

pub(super) fn listed(maps: &Maps, list: u32, host: Ipv6Addr) -> bool {
    let host = host.to_bits();
    let tag = hash(maps, host).tag();
    let tagged = tags(maps, home(maps, host)).load(Ordering::Acquire) & tag == tag;
    tagged
        && find(maps, host)
            .is_some_and(|place| lists(maps, place).load(Ordering::Acquire) & bit(list) != 0)
}

fn bit(list: u32) -> u32 {
    1 << (list & 31)
}

/// Tells the packet path whether the list has hosts at all.
fn mark(maps: &Maps, bit: u32, has: bool) {
    let node = maps.node.at(0).as_ptr();
    // SAFETY: within the node's value, mapped as long as `maps`.
    let word = unsafe { word32(&raw mut (*node).host_lists) };
    if has {
        word.fetch_or(bit, Ordering::Release);
    } else {
        word.fetch_and(!bit, Ordering::Release);
    }
}

fn members(maps: &Maps, bit: u32) -> impl Iterator<Item = (Place, u128)> {
    let has = maps.node.read(0).host_lists & bit != 0;
    let lines = if has {
        u32::try_from(maps.lines.count()).unwrap_or(u32::MAX)
    } else {
        0
    };
    (0..lines)
        .flat_map(|line| (0..WAYS).map(move |way| Place { line, way }))
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

/// The places where an address at home in `home` may stand, nearest first.
fn places(maps: &Maps, home: u32) -> impl Iterator<Item = Place> {
    (0..=SPILL).flat_map(move |distance| {
        (0..WAYS).map(move |way| Place {
            line: step(maps, home, distance),
            way,
        })
    })
}

fn find(maps: &Maps, host: u128) -> Option<Place> {
    places(maps, home(maps, host)).find(|place| {
        lists(maps, *place).load(Ordering::Relaxed) != 0 && address(maps, *place) == host
    })
}

/// Sets the list's bit for a host. `Some(true)`: it was not set. `None`: no room.
fn put(maps: &Maps, host: u128, bit: u32) -> Option<bool> {
    if let Some(place) = find(maps, host) {
        return Some(lists(maps, place).fetch_or(bit, Ordering::AcqRel) & bit == 0);
    }
    let home = home(maps, host);
    let place =
        places(maps, home).find(|place| lists(maps, *place).load(Ordering::Relaxed) == 0)?;
    let ip = Ip::from_bytes(host.to_be_bytes());
    let target = line(maps, place.line);
    // SAFETY: a way of a mapped line. A packet may be reading it: it then sees an address that is on no list yet.
    unsafe { (&raw mut (*target).addresses[place.way]).write_volatile(ip.bytes()) };
    if place.line != home {
        spilled(maps, home).fetch_add(1, Ordering::Release);
    }
    tags(maps, home).fetch_or(hash(maps, host).tag(), Ordering::Release);
    lists(maps, place).store(bit, Ordering::Release);
    Some(true)
}

fn clear(maps: &Maps, place: Place, bit: u32) {
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

/// The tags of all addresses that share a word of them with those at home in `line`.
fn wanted_tags(maps: &Maps, line: u32) -> u64 {
    let word = tags_of(line);
    (0..TAGGED + SPILL)
        .flat_map(|distance| (0..WAYS).map(move |way| (distance, way)))
        .map(|(distance, way)| Place {
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

fn address(maps: &Maps, place: Place) -> u128 {
    u128::from_be_bytes(maps.lines.read(place.line as usize).addresses[place.way])
}

fn lists(maps: &Maps, place: Place) -> &std::sync::atomic::AtomicU32 {
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
