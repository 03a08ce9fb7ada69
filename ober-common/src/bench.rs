//! The contract between the benchmark and its wrapper program. Only `cargo xtask bench` uses it; the product's programs
//! contain nothing of it.

/// Packets between two readings of the clock, and flows of the widest sweep: each chunk sees every flow once.
pub const CHUNK: u64 = 65_536;
/// Clock readings one run can hold.
pub const STAMPS: usize = 64;
/// Words of 8 bytes that are written again for every packet: Ethernet, IPv6 and the first part of TCP.
pub const WORDS: usize = 10;

/// One run: which packets the program gets, and when each chunk of them began.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The first bytes of every packet.
    pub head: [u64; WORDS],
    /// The number of flows, a power of two, minus one.
    pub mask: u64,
    /// Distance from one flow's source address to the next; 0: all flows have the same.
    pub source_step: u32,
    /// Distance from one flow's source port to the next.
    pub port_step: u32,
    /// The first flow's source: IPv4, or the last 32 bits of IPv6. Host order.
    pub source: u32,
    /// The first flow's source port. Host order.
    pub port: u32,
    /// 1: IPv6.
    pub wide: u64,
    /// Packets so far.
    pub count: u64,
    /// The clock at the start of each chunk, nanoseconds.
    pub stamps: [u64; STAMPS],
}
