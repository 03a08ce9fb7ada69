//! Access lists: from addresses to what the kernel holds, and from one list to the next as a difference.
//!
//! A client on both the old and the new list is never refused: additions are written before removals, and each client
//! is one bit or one entry of its own, so an interrupted change leaves everyone either old or new. What does not fit
//! is found out before the first removal, and what was added until then is taken back.

mod entries;
mod hosts;
mod pages;
mod prefixes;

pub use entries::{Entries, Mixed, Range};

use crate::dataplane::{Error as MapError, Maps};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "put the IPv4 addresses into the kernel: {needed} pages of 65,536 addresses are needed and {free} are free; raise limits.ipv4_pages and restart"
    )]
    PagesFull { needed: usize, free: usize },
    #[error(
        "put IPv6 host {host} into the kernel: its lines are full; raise limits.ipv6_hosts and restart"
    )]
    HostsFull { host: std::net::Ipv6Addr },
    #[error(
        "put IPv6 prefix {prefix} into the kernel: {source}; raise limits.ipv6_prefixes and restart"
    )]
    PrefixesFull {
        prefix: ipnet::Ipv6Net,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Mixed(#[from] Mixed),
}

/// How many addresses a change put on a list and took off it. A prefix counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    pub added: u64,
    pub removed: u64,
}

/// Makes list `number` hold exactly `wanted`.
pub fn replace(maps: &mut Maps, number: u32, wanted: &Entries) -> Result<Change, Error> {
    let room = pages::Room::find(maps, number, wanted)?;
    let hosts = hosts::add(maps, number, &wanted.hosts)?;
    let prefixes = match prefixes::add(maps, number, &wanted.prefixes) {
        Ok(added) => added,
        Err(error) => {
            hosts::take_back(maps, number, &hosts);
            return Err(error);
        }
    };
    let v4 = pages::replace(maps, number, wanted, room);
    let removed = hosts::retain(maps, number, &wanted.hosts)
        + prefixes::retain(maps, number, &wanted.prefixes)?;
    Ok(Change {
        added: v4.added + hosts.len() as u64 + prefixes,
        removed: v4.removed + removed,
    })
}

/// What [`replace`] would add and remove, without doing it.
pub fn difference(maps: &Maps, number: u32, wanted: &Entries) -> Result<(Entries, Entries), Error> {
    let held = read(maps, number)?;
    Ok((wanted.without(&held), held.without(wanted)))
}

/// Everything list `number` holds.
pub fn read(maps: &Maps, number: u32) -> Result<Entries, Error> {
    let mut entries = Entries {
        v4: pages::read(maps, number),
        ..Entries::default()
    };
    entries.hosts = hosts::read(maps, number);
    entries.prefixes = prefixes::read(maps, number)?;
    Ok(entries)
}

/// Is the address on the list, as the kernel sees it?
pub fn listed(maps: &Maps, number: u32, address: std::net::IpAddr) -> Result<bool, Error> {
    match address {
        std::net::IpAddr::V4(address) => Ok(pages::listed(maps, number, address)),
        std::net::IpAddr::V6(address) => Ok(hosts::listed(maps, number, address)
            || prefixes::read(maps, number)?
                .iter()
                .any(|net| net.contains(&address))),
    }
}
