//! Access lists in the kernel's maps. A list is changed by the difference between what the maps hold and what is wanted.
//!
//! A client on both the old and the new list is never refused: additions are written before removals. Each client is
//! one bit or one entry of its own, so an interrupted change leaves each client in its old or its new state. A lack of
//! room is found before the first removal, and the additions made until then are removed again.
//!
//! `pages` has IPv4, `hosts` and `prefixes` IPv6. A page that was given up is never used again before
//! [`GRACE`](super::GRACE) is over.

mod hosts;
mod pages;
mod prefixes;

use std::collections::BTreeSet;

use ipnet::Ipv6Net;

use crate::{
    dataplane::{Error as MapError, Maps},
    names::entries::{Entries, Mixed, Range},
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "put the IPv4 addresses into the kernel: {needed} pages of 65,536 addresses are needed and {free} are free; a list that is replaced needs room for its old and its new entries; raise limits.ipv4_pages and restart"
    )]
    PagesFull { needed: usize, free: usize },
    #[error(
        "put IPv6 host {host} into the kernel: its lines are full; a list that is replaced needs room for its old and its new entries; raise limits.ipv6_hosts and restart"
    )]
    HostsFull { host: std::net::Ipv6Addr },
    #[error(
        "put IPv6 prefix {prefix} into the kernel: {source}; a list that is replaced needs room for its old and its new entries; raise limits.ipv6_prefixes and restart"
    )]
    PrefixesFull {
        prefix: Ipv6Net,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Mixed(#[from] Mixed),
}

/// What a change adds to a list and removes from it. Of numbers of addresses: an IPv6 prefix counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Diff<T> {
    pub added: T,
    pub removed: T,
}

/// Whether entries of a list that are not wanted are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others<'a> {
    Go,
    /// All stay except these IPv4 ranges, which are sorted.
    Stay {
        but: &'a [Range],
    },
}

impl Others<'_> {
    /// All stay.
    pub const STAY: Self = Self::Stay { but: &[] };

    fn stay(self) -> bool {
        matches!(self, Self::Stay { .. })
    }
}

/// The changes that make a list hold the wanted entries. Valid until the list is changed.
pub struct Plan {
    list: u32,
    v4: pages::Plan,
    hosts: Diff<Vec<u128>>,
    prefixes: Diff<BTreeSet<Ipv6Net>>,
}

impl Plan {
    /// Compares list `number` with `wanted`, which is sorted. Changes nothing.
    pub fn new(
        maps: &Maps,
        number: u32,
        wanted: &Entries,
        others: Others<'_>,
    ) -> Result<Self, Error> {
        Ok(Self {
            list: number,
            v4: pages::Plan::new(maps, number, wanted, others)?,
            hosts: hosts::compare(maps, number, &wanted.hosts, others),
            prefixes: prefixes::compare(maps, number, &wanted.prefixes, others)?,
        })
    }

    pub fn change(&self) -> Diff<u64> {
        let (v4, hosts, prefixes) = (&self.v4, &self.hosts, &self.prefixes);
        Diff {
            added: v4.added.count + (hosts.added.len() + prefixes.added.len()) as u64,
            removed: v4.removed.count + (hosts.removed.len() + prefixes.removed.len()) as u64,
        }
    }

    /// Is [`Plan::difference`] complete? Of a very large difference only the first ranges are kept.
    pub fn is_whole(&self) -> bool {
        self.v4.added.is_whole() && self.v4.removed.is_whole()
    }

    /// The entries that are added and those that are removed, settled.
    pub fn difference(&self) -> Diff<Entries> {
        let (v4, hosts, prefixes) = (&self.v4, &self.hosts, &self.prefixes);
        Diff {
            added: settled(&v4.added.ranges, &hosts.added, &prefixes.added),
            removed: settled(&v4.removed.ranges, &hosts.removed, &prefixes.removed),
        }
    }

    /// Changes the list, or changes nothing when there is no room. `wanted` and `others` are those given to [`Plan::new`].
    pub fn apply(
        &self,
        maps: &mut Maps,
        wanted: &Entries,
        others: Others<'_>,
    ) -> Result<(), Error> {
        let (hosts, prefixes) = (&self.hosts, &self.prefixes);
        let room = self.v4.room(maps)?;
        hosts::add(maps, self.list, &hosts.added)?;
        if let Err(error) = prefixes::add(maps, self.list, &prefixes.added) {
            hosts::remove(maps, self.list, &hosts.added);
            return Err(error);
        }
        self.v4.apply(maps, self.list, wanted, others, room);
        if others.stay() {
            return Ok(());
        }
        hosts::remove(maps, self.list, &hosts.removed);
        hosts::mark(maps, self.list, !wanted.hosts.is_empty());
        prefixes::mark(maps, self.list, !wanted.prefixes.is_empty());
        prefixes::remove(maps, self.list, &prefixes.removed)
    }
}

fn settled(v4: &[Range], hosts: &[u128], prefixes: &BTreeSet<Ipv6Net>) -> Entries {
    let mut entries = Entries {
        v4: v4.to_vec(),
        hosts: hosts.to_vec(),
        prefixes: prefixes.clone(),
    };
    entries.settle();
    entries
}

/// Makes list `number` hold exactly `wanted`, which is sorted.
pub fn replace(maps: &mut Maps, number: u32, wanted: &Entries) -> Result<Diff<u64>, Error> {
    let plan = Plan::new(maps, number, wanted, Others::Go)?;
    plan.apply(maps, wanted, Others::Go)?;
    Ok(plan.change())
}

/// All entries of list `number`.
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
pub fn listed(maps: &Maps, number: u32, address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(address) => pages::listed(maps, number, address),
        std::net::IpAddr::V6(address) => {
            hosts::listed(maps, number, address) || prefixes::listed(maps, number, address)
        }
    }
}
