//! The switches of a node: settings of the kernel programs beside services and rings.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use ober_common::{
    abi::{Node, PortBits},
    packet::BGP_PORT,
};

use super::{Maps, Plane, memory::word32};

/// The wanted switches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Number of the list of routers; `None`: routing protocols are not checked.
    pub routers: Option<u32>,
    /// One drop in this many may be reported.
    pub sample: u32,
    /// The most reports a second on each CPU.
    pub event_rate: u32,
    /// Fragments to a VIP pass from every source.
    pub fragments: bool,
    /// The XDP program is on the loopback interface too.
    pub loopback: bool,
    /// Ports on which this node and its neighbours listen for BGP, beside port 179.
    pub bgp_here: BTreeSet<u16>,
    pub bgp_there: BTreeSet<u16>,
}

/// A word of the node: its name, its field and its wanted value.
type Switch = (&'static str, fn(&mut Node) -> *mut u32, u32);

impl Switches {
    fn words(&self) -> [Switch; 5] {
        let routers = self.routers.map_or(0, |number| number + 1);
        [
            ("routers", |node| &raw mut node.routers, routers),
            ("sample", |node| &raw mut node.sample, self.sample),
            (
                "event_rate",
                |node| &raw mut node.event_rate,
                self.event_rate,
            ),
            (
                "fragments",
                |node| &raw mut node.fragments,
                u32::from(self.fragments),
            ),
            (
                "loopback",
                |node| &raw mut node.loopback,
                u32::from(self.loopback),
            ),
        ]
    }
}

impl Plane {
    /// Sets every switch. The ports of BGP come first, because the list of routers makes the programs read them.
    pub fn set_switches(&self, switches: &Switches) {
        let [here, there] = self.maps.bits();
        here.write(&switches.bgp_here);
        there.write(&switches.bgp_there);
        for (_, field, value) in switches.words() {
            self.set_switch(field, value);
        }
    }

    /// The switches that differ: name, value found, value wanted.
    pub fn others(&self, switches: &Switches) -> Vec<(&'static str, String, String)> {
        let words = switches.words().into_iter().map(|(name, field, value)| {
            let word = self.switch(field).load(Ordering::Acquire);
            (name, word.to_string(), value.to_string())
        });
        let [here, there] = self.maps.bits();
        let ports = [
            ("bgp_here", here, &switches.bgp_here),
            ("bgp_there", there, &switches.bgp_there),
        ]
        .into_iter()
        .map(|(name, bits, wanted)| {
            let wanted = wanted.iter().copied().chain([BGP_PORT]).collect();
            (name, text(&bits.read()), text(&wanted))
        });
        let all = words.chain(ports);
        all.filter(|(_, found, wanted)| found != wanted).collect()
    }

    /// Changes one switch of the node with one store.
    pub fn set_switch(&self, field: impl FnOnce(&mut Node) -> *mut u32, value: u32) {
        self.switch(field).store(value, Ordering::Release);
    }

    fn switch(&self, field: impl FnOnce(&mut Node) -> *mut u32) -> &AtomicU32 {
        // SAFETY: the node's value is mapped as long as `self`; the reference only serves to name the field.
        unsafe { word32(field(self.maps.node.at(0).as_mut())) }
    }
}

impl Maps {
    /// Is this a flow of BGP: is `here` one of our BGP ports, or `there` one of the neighbours'?
    pub fn speaks_bgp(&self, here: u16, there: u16) -> bool {
        let [ours, theirs] = self.bits();
        ours.has(here) || theirs.has(there)
    }

    /// The BGP ports of this node and of its neighbours.
    fn bits(&self) -> [Bits<'_>; 2] {
        let ports = self.bgp_ports.at(0).as_ptr();
        // SAFETY: within the map's value, which is mapped as long as `self`; atomic words have the same layout as plain
        // ones, and the programs only read them.
        unsafe {
            [
                Bits(&*(&raw mut (*ports).here).cast()),
                Bits(&*(&raw mut (*ports).there).cast()),
            ]
        }
    }
}

/// The bits of all ports.
#[derive(Clone, Copy)]
struct Bits<'m>(&'m [AtomicU64; 1024]);
const _: () = assert!(size_of::<[AtomicU64; 1024]>() == size_of::<PortBits>());

impl Bits<'_> {
    fn has(self, port: u16) -> bool {
        let word = self.0[usize::from(port / 64)].load(Ordering::Acquire);
        word >> (port % 64) & 1 == 1
    }

    fn read(self) -> BTreeSet<u16> {
        (0..=u16::MAX).filter(|port| self.has(*port)).collect()
    }

    /// Sets the bits of these ports and of BGP's own, and no others. A port that stays is set all the time.
    fn write(self, ports: &BTreeSet<u16>) {
        let mut words: PortBits = [0; 1024];
        for port in ports.iter().copied().chain([BGP_PORT]) {
            words[usize::from(port / 64)] |= 1 << (port % 64);
        }
        for (word, value) in self.0.iter().zip(words) {
            if word.load(Ordering::Relaxed) != value {
                word.store(value, Ordering::Release);
            }
        }
    }
}

fn text(ports: &BTreeSet<u16>) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(" ")
}
