//! The table of services, hashed without collisions: entries are hashed into groups, and each group is moved as a whole
//! until all its slots are free. The largest groups are placed first, while there is most room.

use ober_common::{
    abi::{GROUPS, SERVICE_SLOTS, Service, ServiceTable, TABLES},
    address::Ip,
    flow::{ServiceHash, service_hash},
};

use super::Error;

/// How many seeds are tried. A seed fails only when two entries of a group have the same slot: one seed in 30 with 510
/// entries, half of the seeds with 2,000.
const TRIES: u32 = 256;

/// Builds a table of these entries and finds its seed, whose top bits are `number`. `last`: the seed before, so that
/// each table gets another one.
pub(super) fn find(
    entries: &[Service],
    number: usize,
    last: u64,
) -> Result<(u64, Box<ServiceTable>), Error> {
    let mut state = last;
    for _ in 0..TRIES {
        state = state
            .wrapping_mul(0xd134_2543_de82_ef95)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        let seed = named(state, number);
        if let Some(table) = build(seed, entries) {
            return Ok((seed, table));
        }
    }
    Err(Error::NoSeed { tries: TRIES })
}

/// An odd seed whose top bits are the number of its table.
fn named(state: u64, number: usize) -> u64 {
    let bits = TABLES.trailing_zeros();
    (state << bits >> bits) | (number as u64) << (64 - bits) | 1
}

/// The table of a seed, the same for every order of the entries; `None`: two of them would have the same slot.
pub(super) fn build(seed: u64, entries: &[Service]) -> Option<Box<ServiceTable>> {
    // SAFETY: plain integers, for which zero is valid; too large to be made on the stack.
    let mut table = unsafe { Box::<ServiceTable>::new_zeroed().assume_init() };
    for group in groups(seed, entries) {
        let moved = (0..SERVICE_SLOTS)
            .filter_map(|moved| u16::try_from(moved).ok())
            .find(|moved| fits(&table, &group, *moved))?;
        for (hash, entry) in group {
            table.moved[hash.group()] = moved;
            table.slots[hash.slot(moved)] = *entry;
        }
    }
    Some(table)
}

type Group<'e> = Vec<(ServiceHash, &'e Service)>;

/// The groups that have entries, the largest first.
fn groups(seed: u64, entries: &[Service]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = vec![Vec::new(); GROUPS];
    for entry in entries {
        let hash = service_hash(seed, Ip::from_bytes(entry.vip), entry.protocol, entry.port);
        groups[hash.group()].push((hash, entry));
    }
    groups.retain(|group| !group.is_empty());
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

/// Are all slots of the moved group free, and no two of them the same?
fn fits(table: &ServiceTable, group: &Group, moved: u16) -> bool {
    group.iter().enumerate().all(|(place, (hash, _))| {
        let slot = hash.slot(moved);
        let taken = group[..place]
            .iter()
            .any(|(other, _)| other.slot(moved) == slot);
        !taken && table.slots[slot].used == 0
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use ober_common::{abi::USED, flow::service_table};

    use super::*;
    use crate::dataplane::{ip, services::entries};

    fn service(vip: IpAddr, port: u16, index: u32) -> Service {
        Service {
            vip: ip(vip).bytes(),
            port,
            protocol: 6,
            used: USED,
            index,
            ..Service::default()
        }
    }

    /// Services of `vips` VIPs with `ports` ports each.
    fn services(vips: u16, ports: u16, vip: impl Fn(u16) -> IpAddr) -> Vec<Service> {
        let all = (0..vips).flat_map(|number| (0..ports).map(move |port| (number, port)));
        all.zip(1..)
            .map(|((number, port), index)| service(vip(number), 443 + port, index))
            .collect()
    }

    fn v4(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(192, 0, 2 + high, low).into()
    }

    fn v6(number: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number).into()
    }

    fn mixed(number: u16) -> IpAddr {
        if number.is_multiple_of(2) {
            v4(number / 2)
        } else {
            v6(number / 2)
        }
    }

    /// The slot in which a packet for `wanted` looks.
    fn found(seed: u64, table: &ServiceTable, wanted: &Service) -> Service {
        let vip = Ip::from_bytes(wanted.vip);
        let hash = service_hash(seed, vip, wanted.protocol, wanted.port);
        table.slots[hash.slot(table.moved[hash.group()])]
    }

    #[test]
    fn a_full_set_of_services_fits_the_table_for_any_spread_over_vips_and_ports() {
        let spreads = [
            (100, 2),
            (85, 3),
            (255, 1),
            (1, 255),
            (127, 2),
            (51, 5),
            (50, 6),
            (3, 85),
            (2, 1),
            // More services than a node can hold.
            (1000, 1),
            (200, 5),
        ];
        for (vips, ports) in spreads {
            for vip in [v4 as fn(u16) -> IpAddr, v6, mixed] {
                let entries = entries(&services(vips, ports, vip));
                assert_eq!(entries.len(), usize::from(vips * ports + vips));
                (0..TABLES).for_each(|number| holds(number, &entries));
            }
        }
    }

    /// Every entry is found in the table with this number, and nothing else is in it.
    fn holds(number: usize, entries: &[Service]) {
        let (seed, table) = find(entries, number, 0).unwrap();
        assert_eq!(service_table(seed), number);
        for entry in entries {
            assert_eq!(found(seed, &table, entry), *entry);
        }
        let used = table.slots.iter().filter(|slot| slot.used == USED);
        assert_eq!(used.count(), entries.len());
    }

    #[test]
    fn every_table_has_a_seed_of_its_own() {
        let entries = entries(&services(100, 2, v4));
        let mut seeds = std::collections::BTreeSet::new();
        let mut last = 0;
        for number in (0..TABLES).cycle().take(100) {
            (last, _) = find(&entries, number, last).unwrap();
            assert!(seeds.insert(last), "{last:#x} is used again");
        }
    }

    #[test]
    fn a_table_without_services_holds_nothing() {
        let (_, table) = find(&[], 1, 0).unwrap();
        assert!(table.slots.iter().all(|slot| *slot == Service::default()));
    }

    #[test]
    fn the_same_services_in_another_order_have_the_same_table() {
        let mut entries = entries(&services(60, 4, mixed));
        let (seed, table) = find(&entries, 0, 7).unwrap();
        entries.reverse();
        let again = build(seed, &entries).unwrap();
        assert!(again.slots == table.slots && again.moved == table.moved);
    }
}
