//! Map keys, values and sizes, and the verdicts. Every value is `repr(C)`, of fixed width, with its padding written
//! out and its size asserted, so that both halves and every kernel agree on each byte.

use crate::address::{Address, Ip};

/// The version of the layout, raised whenever a map changes shape or meaning. The daemon replaces pinned maps of
/// another layout and never adopts them.
pub const LAYOUT: u32 = 3;

/// Services a node can hold. Index 0 is the node itself: packets of no service are counted there.
pub const SERVICES: u32 = 256;
/// Slots of the service table, a power of two. At most a quarter is used, so that free places are found for each group
/// of entries.
pub const SERVICE_SLOTS: usize = 8192;
/// Groups of entries that are moved together in the service table, a power of two.
pub const GROUPS: usize = 512;
/// Places of one service in the socket map, one for each worker.
pub const PLACES: u32 = 64;
/// HAProxy workers a node can run.
pub const WORKERS: usize = PLACES as usize;
/// Slots of a ring: 64 workers hold 64 each.
pub const RING_SLOTS: usize = 4096;
/// Rings: two for each service, one in force and one to be filled.
pub const RINGS: usize = SERVICES as usize * 2;
/// Access lists a node can hold; one bit each in [`HostLine::lists`].
pub const LISTS: u32 = 32;
/// Services of a node times workers: every listening socket has a place of its own in the socket map.
pub const SOCKETS: u32 = SERVICES * PLACES;
/// CPUs the steering map has places for.
pub const CPUS: u32 = 256;

/// The decision about a packet. It determines the XDP action, the counter index and the name of the metric.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// For no service of this node: passed untouched. Counted on service 0.
    NotOurs = 0,
    /// A later fragment from a source that may send fragments: passed, because the first fragment is judged.
    Fragment = 1,
    /// Cannot be judged: truncated, contradictory, or with more headers than any known sender uses. Dropped.
    Malformed = 2,
    /// The client is not on the service's access list. Dropped.
    Denied = 3,
    /// A routing protocol packet from an address that is not on the list of routers. Dropped. Counted on service 0.
    RouterDenied = 4,
    /// The flow's ring slot holds no worker. Dropped.
    NoWorker = 5,
    /// For a worker, on this CPU: passed to the kernel here.
    Passed = 6,
    /// For a worker on another CPU: sent there.
    Steered = 7,
    /// The kernel does not hand out bytes of the headers that are within the frame. Dropped. Counted on service 0.
    Unreadable = 8,
    /// A fragment to a VIP from a source that is on none of the VIP's lists. Dropped.
    FragmentDenied = 9,
    /// From or to a loopback address, although it came from outside. Dropped. Counted on service 0.
    Loopback = 10,
}

impl Verdict {
    /// Every verdict, in counter order.
    pub const ALL: [Self; 11] = [
        Self::NotOurs,
        Self::Fragment,
        Self::Malformed,
        Self::Denied,
        Self::RouterDenied,
        Self::NoWorker,
        Self::Passed,
        Self::Steered,
        Self::Unreadable,
        Self::FragmentDenied,
        Self::Loopback,
    ];

    /// The name used by metrics, the CLI and the documents alike.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::Fragment => "fragment",
            Self::Malformed => "malformed",
            Self::Denied => "denied",
            Self::RouterDenied => "router_denied",
            Self::NoWorker => "no_worker",
            Self::Passed => "passed",
            Self::Steered => "steered",
            Self::Unreadable => "unreadable",
            Self::FragmentDenied => "fragment_denied",
            Self::Loopback => "loopback",
        }
    }

    /// Is the packet dropped?
    pub const fn drops(self) -> bool {
        match self {
            Self::Malformed
            | Self::Denied
            | Self::RouterDenied
            | Self::NoWorker
            | Self::Unreadable
            | Self::FragmentDenied
            | Self::Loopback => true,
            Self::NotOurs | Self::Fragment | Self::Passed | Self::Steered => false,
        }
    }
}

/// Verdicts for which one per-CPU value has room, with counters for all services: the kernel allows 32 KiB a value.
pub const BANK: usize = 8;
/// Values of [`BANK`] verdicts that all the verdicts need.
pub const BANKS: usize = Verdict::ALL.len().div_ceil(BANK);
/// Places for verdicts that name no worker.
pub const VERDICTS: usize = BANKS * BANK;
/// Each worker has a cell for packets passed here and one for packets steered to another CPU.
pub const WORKER_CELLS: usize = 2 * WORKERS;
/// Cells of one service: the verdicts that name no worker, then [`WORKERS`] passed, then [`WORKERS`] steered.
pub const CELLS: usize = VERDICTS + WORKER_CELLS;

/// The one counter cell a packet raises.
pub const fn cell(verdict: Verdict, worker: usize) -> usize {
    match verdict {
        Verdict::Passed => VERDICTS + (worker & (WORKERS - 1)),
        Verdict::Steered => VERDICTS + WORKERS + (worker & (WORKERS - 1)),
        other => other as usize,
    }
}

/// Packets and bytes, of one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    /// Bytes of whole frames, link header included; buffers behind the end of a TCP or UDP packet may be left out.
    pub bytes: u64,
}

/// A bank of the cells that name no worker, of all services and one CPU: as much as a per-CPU value can hold. The
/// verdict alone determines the bank, so the program finds it before it knows the service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictCounters {
    pub services: [[Count; BANK]; SERVICES as usize],
}

/// The cells of a service that name a worker, of one CPU: passed, then steered.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerCounters {
    pub cells: [Count; WORKER_CELLS],
}

/// What `sk_lookup` did with new connections, of one CPU, per service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Handed to a worker's listening socket.
    pub assigned: u64,
    /// The client is not on the access list, the sender of a routing protocol is not on the list of routers, or an IPv6
    /// address is IPv4-mapped; and XDP has not dropped the packet before. Dropped.
    pub denied: u64,
    /// The ring slot is empty. Dropped.
    pub no_worker: u64,
    /// The slot names a worker whose socket is not in the map. Dropped.
    pub no_socket: u64,
}

/// The value of [`Service::used`] in every slot that is not empty, for a service and for a VIP alike: [`Service::is`]
/// compares it together with protocol and port in one word.
pub const USED: u8 = 1;

/// One slot of the perfect-hashed service table. All zero: empty.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The VIP.
    pub vip: Address,
    /// Host order.
    pub port: u16,
    /// IP protocol number. 0 with port 0: this slot only marks the VIP as ours.
    pub protocol: u8,
    /// [`USED`] when the slot holds a service or marks a VIP.
    pub used: u8,
    /// Counter index, 1 to [`SERVICES`] - 1; 0 in a slot that only marks the VIP.
    pub index: u32,
    /// Access list plus one; 0: open to every client.
    pub list: u32,
    /// The ring in force. A store to this one word publishes a new ring.
    pub ring: u32,
    /// First place of this service's sockets in the socket map; the worker's number is added.
    pub sockets: u32,
    pub pad: [u32; 4],
    /// In a slot that marks a VIP: a bit for each list of its services. A source on one of them may send the VIP fragments.
    pub lists: u32,
    pub more: [u32; 2],
}

impl Service {
    /// Is this the service of a VIP, protocol and port? Compared in whole words: otherwise the compiler would compare
    /// the half of an IPv4 address that is always zero byte by byte.
    #[inline(always)]
    pub fn is(&self, vip: Ip, protocol: u8, port: u16) -> bool {
        let wanted = if cfg!(target_endian = "little") {
            u32::from(USED) << 24 | u32::from(protocol) << 16 | u32::from(port)
        } else {
            u32::from(port) << 16 | u32::from(protocol) << 8 | u32::from(USED)
        };
        let start = core::ptr::from_ref(self);
        // SAFETY: both reads are within this value and aligned; they read integers, for which any bytes are valid.
        let (held, mark) =
            unsafe { (start.cast::<Ip>().read(), start.cast::<u32>().add(4).read()) };
        held == vip && mark == wanted
    }
}

/// A service table. There are two: [`Node::seed`] names the one in force, the other can be filled.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ServiceTable {
    /// How far each group of entries is moved, so that no two entries of the table have the same slot.
    pub moved: [u16; GROUPS],
    pub slots: [Service; SERVICE_SLOTS],
}

/// Service tables: one in force and one to be filled.
pub const TABLES: usize = 2;

/// Words of [`Node::vips`].
pub const VIP_WORDS: usize = 8;

/// Facts every packet may need: one value, which the programs read in place. All zero: never filled.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Secret key of the flow hash, the same on all nodes of a cluster.
    pub key: [u64; 2],
    /// The seed with which the services in force do not collide. Its top bit is the number of their table
    /// ([`service_table`](crate::flow::service_table)), so a store to this one word publishes the other table.
    pub seed: u64,
    /// [`LAYOUT`] of the daemon that filled the maps.
    pub layout: u32,
    /// Bit per list: it holds IPv6 prefixes, so a miss in the host lines goes on to the prefix trie.
    pub prefix_lists: u32,
    /// List of routers plus one; 0: routing protocols are not checked.
    pub routers: u32,
    /// 1: steer packets to the worker's CPU.
    pub steer: u32,
    /// One drop in this many per CPU and cell may be reported; a power of two, 0: none.
    pub sample: u32,
    /// Number of host lines minus one; a power of two minus one.
    pub line_mask: u32,
    /// Bit per list: it holds IPv6 host addresses, so the host lines are looked up.
    pub host_lists: u32,
    /// How many drops a second each CPU may report, and how many at once.
    pub event_rate: u32,
    /// 1: fragments to a VIP pass from every source; 0: only from sources that are on a list of the VIP.
    pub fragments: u32,
    /// The kernel's id of the CPU map whose drops are counted.
    pub cpu_queues: u32,
    /// A bit for every VIP, see [`vip_bit`](crate::flow::vip_bit): most packets of most nodes are for none of them and
    /// need only this one lookup.
    pub vips: [u64; VIP_WORDS],
    /// 1: an XDP program is on the loopback interface too, where packets may have loopback addresses.
    pub loopback: u32,
    pub pad: [u32; 15],
    pub workers: [Worker; WORKERS],
}

/// TCP ports of BGP, a bit each.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BgpPorts {
    /// Where this node listens.
    pub here: PortBits,
    /// Where its neighbours listen.
    pub there: PortBits,
}

/// A bit for every port.
pub type PortBits = [u64; 1024];

/// How many drops one CPU may still report. Each CPU has a cache line of its own.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `CLOCK_MONOTONIC` of the last refill, nanoseconds.
    pub at: u64,
    /// Unused time at the last refill, at most a second; a report costs a second divided by [`Node::event_rate`].
    pub nanoseconds: u64,
    /// The tick of the kernel's clock (jiffies) in which too little was left for a report.
    pub empty: u64,
    pub pad: [u64; 5],
}

/// Steered packets that were lost on their way to a CPU, as one CPU counts them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SteerDrops {
    /// The CPU's queue was full.
    pub queue: u64,
    /// The CPU had no memory for them.
    pub memory: u64,
}

/// Which worker a ring slot belongs to: worker number plus one, 0: no worker.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ring {
    pub slots: [u16; RING_SLOTS],
}

/// A worker, as the programs see it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// The CPU it runs on.
    pub cpu: u32,
    /// 1: packets may be steered to `cpu` (a place in the CPU map exists).
    pub steerable: u32,
}

/// First level of an IPv4 access list: page numbers by the upper 16 address bits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PageIndex {
    pub pages: [u16; 65536],
}

/// Second level: one bit for each of 65,536 addresses.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Page {
    pub words: [u64; 1024],
}

/// The page that lists no address. Never written.
pub const PAGE_NONE: u16 = 0;
/// The page that lists every address. Never written after start.
pub const PAGE_ALL: u16 = 1;

/// Addresses in one host line.
pub const WAYS: usize = 3;

/// Lines after its home line in which an address is searched. A full home line spills into the following ones.
pub const SPILL: u32 = 8;

/// One cache line of exact IPv6 addresses.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostLine {
    pub addresses: [Address; WAYS],
    /// The lists each address is on, one bit a list; 0: the place is free.
    pub lists: [u32; WAYS],
    /// How many addresses whose home is this line are in a following line; 0: the search ends here.
    pub spilled: u32,
}

/// Host lines that share a word of tags.
pub const TAGGED: u32 = 4;

/// Two of 64 bits for each address whose home is one of [`TAGGED`] lines. An address with one of its bits not set is on
/// no list; a map 32 times smaller than the lines is enough to know it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    pub bits: u64,
}

/// Key of the IPv6 prefix trie, after the prefix length: the list, then the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixKey {
    /// Network order, so that the trie compares it first.
    pub list: [u8; 4],
    pub address: Address,
}

/// Bits of [`PrefixKey`] before the address, which every prefix includes: the list.
pub const PREFIX_LIST_BITS: u32 = 32;

/// A sampled drop.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drop {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at: u64,
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    pub pad: [u8; 3],
    pub verdict: u32,
    pub service: u32,
    pub interface: u32,
    /// Whole frame, bytes.
    pub length: u32,
}

const _: () = {
    assert!(size_of::<Service>() == 64);
    assert!(core::mem::offset_of!(Service, port) == 16);
    assert!(size_of::<HostLine>() == 64);
    assert!(size_of::<Node>() == 128 + 8 * VIP_WORDS + 8 * WORKERS);
    assert!(size_of::<Ring>() == 8192);
    assert!(size_of::<Page>() == 8192);
    assert!(size_of::<PageIndex>() == 131_072);
    assert!(size_of::<Worker>() == 8);
    assert!(size_of::<ServiceTable>() == 64 * SERVICE_SLOTS + 2 * GROUPS);
    assert!(size_of::<BgpPorts>() == 16_384);
    assert!(size_of::<Budget>() == 64);
    assert!(size_of::<SteerDrops>() == 16);
    assert!(size_of::<VerdictCounters>() == 32_768);
    assert!(size_of::<WorkerCounters>() == 16 * WORKER_CELLS);
    assert!(size_of::<Drop>() == 64);
    assert!(size_of::<PrefixKey>() == 20);
    assert!(Verdict::ALL.len() <= VERDICTS);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_its_own_cell_and_name() {
        for (place, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, place);
            for other in &Verdict::ALL[place + 1..] {
                assert_ne!(verdict.name(), other.name());
                assert_ne!(cell(verdict, 0), cell(*other, 0));
            }
        }
        assert_eq!(cell(Verdict::Steered, WORKERS - 1), CELLS - 1);
    }
}
