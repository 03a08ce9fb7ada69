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
        prefix: Ipv6Net,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Mixed(#[from] Mixed),
}

/// How many addresses a change added to a list and removed from it. An IPv6 prefix counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    pub added: u64,
    pub removed: u64,
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
    hosts: [Vec<u128>; 2],
    prefixes: [BTreeSet<Ipv6Net>; 2],
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

    pub fn change(&self) -> Change {
        let [added, removed] = [0, 1].map(|way| self.hosts[way].len() + self.prefixes[way].len());
        Change {
            added: self.v4.added.count + added as u64,
            removed: self.v4.removed.count + removed as u64,
        }
    }

    /// Is [`Plan::difference`] complete? Of a very large difference only the first ranges are kept.
    pub fn is_whole(&self) -> bool {
        self.v4.added.is_whole() && self.v4.removed.is_whole()
    }

    /// The entries that are added and those that are removed, settled.
    pub fn difference(&self) -> [Entries; 2] {
        let v4 = [&self.v4.added, &self.v4.removed];
        [0, 1].map(|way| {
            let mut entries = Entries {
                v4: v4[way].ranges.clone(),
                hosts: self.hosts[way].clone(),
                prefixes: self.prefixes[way].clone(),
            };
            entries.settle();
            entries
        })
    }

    /// Changes the list, or changes nothing when there is no room. `wanted` and `others` are those given to [`Plan::new`].
    pub fn apply(
        &self,
        maps: &mut Maps,
        wanted: &Entries,
        others: Others<'_>,
    ) -> Result<(), Error> {
        let [added, removed] = &self.hosts;
        let room = self.v4.room(maps)?;
        hosts::add(maps, self.list, added)?;
        if let Err(error) = prefixes::add(maps, self.list, &self.prefixes[0]) {
            hosts::remove(maps, self.list, added);
            return Err(error);
        }
        self.v4.apply(maps, self.list, wanted, others, room);
        if others.stay() {
            return Ok(());
        }
        hosts::remove(maps, self.list, removed);
        hosts::mark(maps, self.list, !wanted.hosts.is_empty());
        prefixes::mark(maps, self.list, !wanted.prefixes.is_empty());
        prefixes::remove(maps, self.list, &self.prefixes[1])
    }
}

/// Makes list `number` hold exactly `wanted`, which is sorted.
pub fn replace(maps: &mut Maps, number: u32, wanted: &Entries) -> Result<Change, Error> {
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
