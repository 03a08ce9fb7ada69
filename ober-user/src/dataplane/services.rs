//! The services in the kernel: a table without collisions, published by one store.

use std::{collections::BTreeMap, net::IpAddr, sync::atomic::Ordering, thread};

use ober_common::{
    abi::{
        LISTS, Node, PLACES, SERVICE_SLOTS, SERVICES, Service, ServiceTable, TABLES, USED,
        VIP_WORDS,
    },
    address::Ip,
    flow::{service_table, vip_bit},
};

use super::{
    Error, GRACE, Maps, Plane,
    memory::{Memory, word64},
    table,
};

/// A service of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub vip: IpAddr,
    pub protocol: u8,
    pub port: u16,
    /// Number of its access list; `None`: open to every client.
    pub list: Option<u32>,
}

/// The sixteen bytes of an address.
pub fn ip(address: IpAddr) -> Ip {
    Ip::from_bytes(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    })
}

impl Maps {
    /// The services in force, without the marks of their VIPs.
    pub fn services(&self) -> Vec<Service> {
        services(&self.node, &self.tables)
    }

    /// Do the table and the VIP bits in force match these entries?
    fn has(&self, entries: &[Service]) -> bool {
        let (node, current) = (self.node.read(0), self.tables.at(self.table()).as_ptr());
        // SAFETY: as in `services`.
        let current = unsafe { &*current };
        let same = |wanted: Box<ServiceTable>| {
            wanted.moved == current.moved && wanted.slots == current.slots
        };
        node.vips == vip_bits(entries) && table::build(node.seed, entries).is_some_and(same)
    }

    /// Number of the table in force.
    pub(super) fn table(&self) -> usize {
        service_table(self.node.read(0).seed)
    }
}

/// The services in force in these maps, without the marks of their VIPs.
pub(super) fn services(node: &Memory<Node>, tables: &Memory<ServiceTable>) -> Vec<Service> {
    let table = tables.at(service_table(node.read(0).seed)).as_ptr();
    // SAFETY: mapped; only this process writes tables, and not the one in force.
    let slots = unsafe { &(*table).slots };
    slots
        .iter()
        .filter(|service| service.used == USED && service.index != 0)
        .copied()
        .collect()
}

impl Plane {
    /// Puts exactly these services in force and returns the counter index of each. A service keeps its index, ring and
    /// sockets as long as it exists. Nothing is written when nothing changes.
    pub fn set_services(&self, wanted: &[Wanted]) -> Result<Vec<u32>, Error> {
        let placed = self.place(wanted, &self.current())?;
        let entries = entries(&placed);
        if entries.len() > SERVICE_SLOTS / 4 {
            return Err(Error::TooManyServices {
                count: wanted.len(),
                limit: SERVICES as usize - 1,
            });
        }
        if !self.maps.has(&entries) {
            self.publish(&entries)?;
        }
        Ok(placed.iter().map(|service| service.index).collect())
    }

    /// Are exactly these services in force?
    pub fn has_services(&self, wanted: &[Wanted]) -> Result<bool, Error> {
        let placed = self.place(wanted, &self.current())?;
        Ok(self.maps.has(&entries(&placed)))
    }

    fn place(&self, wanted: &[Wanted], current: &[Service]) -> Result<Vec<Service>, Error> {
        let limit = SERVICES as usize - 1;
        let mut free =
            (1..SERVICES).filter(|index| current.iter().all(|service| service.index != *index));
        let mut placed = Vec::with_capacity(wanted.len());
        for want in wanted {
            let fresh = Service {
                vip: ip(want.vip).bytes(),
                port: want.port,
                protocol: want.protocol,
                used: USED,
                list: want.list.map_or(0, |list| list + 1),
                ..Service::default()
            };
            let same = |old: &&Service| key(old) == key(&fresh) && is_sound(old);
            if let Some(old) = current.iter().find(same) {
                placed.push(Service {
                    list: fresh.list,
                    ..*old
                });
                continue;
            }
            let index = free.next().ok_or(Error::TooManyServices {
                count: wanted.len(),
                limit,
            })?;
            self.clear_ring(index * 2);
            placed.push(Service {
                index,
                ring: index * 2,
                sockets: index * PLACES,
                ..fresh
            });
        }
        Ok(placed)
    }

    fn publish(&self, entries: &[Service]) -> Result<(), Error> {
        let vips = vip_bits(entries);
        self.mark_vips(|word, old| old | vips[word]);
        let next = (self.maps.table() + 1) % TABLES;
        let (seed, table) = table::find(entries, next, self.maps.node.read(0).seed)?;
        self.maps.tables.fill(next, &table);
        let node = self.maps.node.at(0).as_ptr();
        // SAFETY: within the node's value, which is mapped as long as `self`.
        let word = unsafe { word64(&raw mut (*node).seed) };
        word.store(seed, Ordering::Release);
        // The next change may write the other table only when no kernel program can still be reading it.
        thread::sleep(GRACE);
        self.mark_vips(|word, _| vips[word]);
        Ok(())
    }

    fn mark_vips(&self, change: impl Fn(usize, u64) -> u64) {
        let node = self.maps.node.at(0).as_ptr();
        for word in 0..VIP_WORDS {
            // SAFETY: within the node's value, which is mapped as long as `self`.
            let bits = unsafe { word64(&raw mut (*node).vips[word]) };
            bits.store(
                change(word, bits.load(Ordering::Relaxed)),
                Ordering::Release,
            );
        }
    }
}

/// The entries of a table: the services, and for each of their VIPs a mark with the lists of its services.
pub(super) fn entries(placed: &[Service]) -> Vec<Service> {
    let mut lists = BTreeMap::<_, u32>::new();
    for service in placed {
        let bit = service
            .list
            .checked_sub(1)
            .map_or(0, |list| 1 << (list % LISTS));
        *lists.entry(service.vip).or_default() |= bit;
    }
    let mark = |(vip, lists)| Service {
        vip,
        used: USED,
        lists,
        ..Service::default()
    };
    let marks = lists.into_iter().map(mark);
    placed.iter().copied().chain(marks).collect()
}

/// Do its ring and sockets belong to its index?
fn is_sound(service: &Service) -> bool {
    let index = service.index;
    index < SERVICES && service.ring / 2 == index && service.sockets == index * PLACES
}

fn vip_bits(entries: &[Service]) -> [u64; VIP_WORDS] {
    let mut bits = [0; VIP_WORDS];
    for service in entries {
        let (word, bit) = vip_bit(Ip::from_bytes(service.vip));
        bits[word] |= 1 << bit;
    }
    bits
}

fn key(service: &Service) -> (ober_common::address::Address, u8, u16) {
    (service.vip, service.protocol, service.port)
}
