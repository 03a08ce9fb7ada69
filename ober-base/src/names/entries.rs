//! The addresses of a list: ranges of IPv4, hosts and prefixes of IPv6.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};

use super::radix;

/// IPv4 addresses from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    pub first: u32,
    pub last: u32,
}

/// Sorted for the kernel's lists after [`Entries::order`]; sorted and without overlap after [`Entries::settle`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    pub v4: Vec<Range>,
    pub hosts: Vec<u128>,
    pub prefixes: BTreeSet<Ipv6Net>,
}

/// A host or prefix cannot be removed from a larger prefix that stays on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "take {inner} off the list: the list holds {outer}, which includes it; remove {outer} and add what shall stay"
)]
pub struct Mixed {
    pub inner: Ipv6Net,
    pub outer: Ipv6Net,
}

impl Entries {
    pub fn push(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.push_range(address, address),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => self.push_range(address, address),
                None => self.hosts.push(address.to_bits()),
            },
        }
    }

    pub fn push_range(&mut self, first: Ipv4Addr, last: Ipv4Addr) {
        let range = Range {
            first: first.to_bits(),
            last: last.to_bits(),
        };
        push(&mut self.v4, range);
    }

    pub fn push_prefix(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(prefix) => self.push_range(prefix.network(), prefix.broadcast()),
            IpNet::V6(prefix) if prefix.prefix_len() == 128 => self.push(prefix.addr().into()),
            IpNet::V6(prefix) => {
                self.prefixes.insert(prefix.trunc());
            }
        }
    }

    /// Sorts as far as the kernel's lists need, which is a third of the work of [`Entries::settle`].
    pub fn order(&mut self) {
        radix::sort(&mut self.v4, &[16, 28]);
        self.hosts.sort_unstable();
        self.hosts.dedup();
    }

    /// Sorts, merges and drops duplicates.
    pub fn settle(&mut self) {
        radix::sort(&mut self.v4, &[0, 12, 24]);
        // In place: a list of a million scattered addresses must not be held twice.
        let mut kept = 0;
        for at in 0..self.v4.len() {
            let next = self.v4[at];
            if kept > 0 && next.first <= self.v4[kept - 1].last.saturating_add(1) {
                let previous = &mut self.v4[kept - 1];
                previous.last = previous.last.max(next.last);
            } else {
                self.v4[kept] = next;
                kept += 1;
            }
        }
        self.v4.truncate(kept);
        self.hosts.sort_unstable();
        self.hosts.dedup();
    }

    /// Addresses and prefixes on the settled list; a prefix counts as one, an IPv4 range as all its addresses.
    pub fn count(&self) -> u64 {
        let v4: u64 = self
            .v4
            .iter()
            .map(|range| u64::from(range.last - range.first) + 1)
            .sum();
        v4 + self.hosts.len() as u64 + self.prefixes.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.hosts.is_empty() && self.prefixes.is_empty()
    }

    pub fn extend(&mut self, other: Self) {
        self.v4.extend(other.v4);
        self.hosts.extend(other.hosts);
        self.prefixes.extend(other.prefixes);
    }

    /// The entries that `other` does not have; both settled.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            v4: subtract(&self.v4, &other.v4),
            hosts: self
                .hosts
                .iter()
                .copied()
                .filter(|host| other.hosts.binary_search(host).is_err())
                .collect(),
            prefixes: self.prefixes.difference(&other.prefixes).copied().collect(),
        }
    }

    /// Removes `gone`, address by address: hosts within a removed prefix go too. Both settled.
    pub fn remove(&mut self, gone: &Self) -> Result<(), Mixed> {
        let within = |inner: &Ipv6Net| gone.prefixes.iter().any(|outer| outer.contains(inner));
        let mut rest = self.without(gone);
        rest.hosts.retain(|host| !within(&single(*host)));
        rest.prefixes.retain(|prefix| !within(prefix));
        for inner in gone
            .hosts
            .iter()
            .map(|host| single(*host))
            .chain(gone.prefixes.iter().copied())
        {
            if let Some(outer) = rest.prefixes.iter().find(|outer| outer.contains(&inner)) {
                return Err(Mixed {
                    inner,
                    outer: *outer,
                });
            }
        }
        *self = rest;
        Ok(())
    }

    /// Every entry in its shortest notation, in order.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let v4 = self.v4.iter().map(|range| {
            let (first, last) = (
                Ipv4Addr::from_bits(range.first),
                Ipv4Addr::from_bits(range.last),
            );
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        });
        let hosts = self
            .hosts
            .iter()
            .map(|host| Ipv6Addr::from_bits(*host).to_string());
        v4.chain(hosts)
            .chain(self.prefixes.iter().map(ToString::to_string))
    }
}

/// Merges neighbours at once: files usually list them in order, so a million lines become a few ranges here.
pub fn push(ranges: &mut Vec<Range>, range: Range) {
    match ranges.last_mut() {
        Some(previous) if previous.last != u32::MAX && previous.last + 1 == range.first => {
            previous.last = range.last;
        }
        _ => ranges.push(range),
    }
}

fn single(host: u128) -> Ipv6Net {
    Ipv6Addr::from_bits(host).into()
}

/// `a` without `b`; both sorted and without overlap.
fn subtract(a: &[Range], b: &[Range]) -> Vec<Range> {
    let mut rest = Vec::new();
    let mut holes = b.iter().peekable();
    for range in a {
        let mut first = Some(range.first);
        while holes.peek().is_some_and(|hole| hole.last < range.first) {
            holes.next();
        }
        let mut ahead = holes.clone();
        while let (Some(start), Some(hole)) =
            (first, ahead.peek().filter(|hole| hole.first <= range.last))
        {
            if hole.first > start {
                rest.push(Range {
                    first: start,
                    last: hole.first - 1,
                });
            }
            first = hole.last.checked_add(1).filter(|next| *next <= range.last);
            ahead.next();
        }
        rest.extend(first.map(|first| Range {
            first,
            last: range.last,
        }));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settled(ranges: &[(u8, u8)]) -> Entries {
        let mut entries = Entries::default();
        for (first, length) in ranges {
            let first = u32::from(*first);
            entries.push_range(first.into(), (first + u32::from(*length) % 9).into());
        }
        entries.settle();
        entries
    }

    fn holds(entries: &Entries, address: u32) -> bool {
        entries
            .v4
            .iter()
            .any(|range| (range.first..=range.last).contains(&address))
    }

    proptest! {
        #[test]
        fn subtracting_entries_agrees_with_a_test_of_each_address(
            a in proptest::collection::vec(any::<(u8, u8)>(), 0..20),
            b in proptest::collection::vec(any::<(u8, u8)>(), 0..20),
        ) {
            let (a, b) = (settled(&a), settled(&b));
            let rest = a.without(&b);
            for address in 0..300 {
                prop_assert_eq!(holds(&rest, address), holds(&a, address) && !holds(&b, address));
            }
            prop_assert!(rest.v4.windows(2).all(|pair| pair[0].last < pair[1].first));
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_addresses_too() {
        let mut all = Entries::default();
        all.push_prefix("0.0.0.0/0".parse().unwrap());
        all.push("255.255.255.255".parse().unwrap());
        all.settle();
        assert_eq!(
            all.v4,
            [Range {
                first: 0,
                last: u32::MAX
            }]
        );
        let mut last = Entries::default();
        last.push("255.255.255.255".parse().unwrap());
        assert_eq!(
            all.without(&last).v4,
            [Range {
                first: 0,
                last: u32::MAX - 1
            }]
        );
        assert_eq!(last.without(&all).v4, []);
    }

    #[test]
    fn removing_a_host_from_a_prefix_that_stays_is_refused() {
        let mut list = Entries::default();
        list.push_prefix("fd00::/64".parse().unwrap());
        let mut gone = Entries::default();
        gone.push("fd00::7".parse().unwrap());
        assert!(list.remove(&gone).is_err());
        gone.push_prefix("fd00::/48".parse().unwrap());
        assert_eq!(list.remove(&gone), Ok(()));
        assert!(list.is_empty());
    }
}
