//! What the benchmark and its wrapper program agree on. Used by `cargo xtask bench` alone; nothing of it is in the
//! product's programs.

/// Packets between two readings of the clock, and flows of the widest sweep: each chunk sees every flow once.
pub const CHUNK: u64 = 65_536;
/// Clock readings one run can hold.
pub const STAMPS: usize = 64;
/// Bytes written afresh for every packet, in words: Ethernet, IPv6 and the first part of TCP.
pub const WORDS: usize = 10;

/// One run: which bytes to put before the program, and when each chunk began.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The first bytes of every packet.
    pub head: [u64; WORDS],
    /// Flows minus one; flows are a power of two.
    pub mask: u64,
    /// Distance of one flow's source address to the next; 0: all have the same.
    pub source_step: u32,
    /// Distance of one flow's source port to the next.
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
