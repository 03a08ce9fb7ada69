//! An address in the maps, in packets and in the hash.

/// Sixteen address bytes in network order: an IPv6 address, or an IPv4 address in its mapped form (`::ffff:a.b.c.d`).
pub type Address = [u8; 16];

/// An address as two machine words of its sixteen network-order bytes, the way the programs compare and hash it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ip {
    pub hi: u64,
    pub lo: u64,
}

impl Ip {
    /// From IPv4 in the byte order of the packet (a `u32` read as it is in memory).
    #[inline(always)]
    pub const fn from_v4(raw: u32) -> Self {
        let [a, b, c, d] = raw.to_ne_bytes();
        Self {
            hi: 0,
            lo: u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d]),
        }
    }

    #[inline(always)]
    pub const fn from_bytes(bytes: Address) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self {
            hi: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            lo: u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    #[inline(always)]
    pub const fn bytes(self) -> Address {
        let [a, b, c, d, e, f, g, h] = self.hi.to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.lo.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// Is this the mapped form of an IPv4 address? In an IPv6 header no host has such an address (RFC 4942 section 2.2).
    #[inline(always)]
    pub const fn is_mapped(self) -> bool {
        self.hi == 0 && self.lo & MAPPED_MASK == MAPPED
    }

    /// Is this the loopback address of IPv6?
    #[inline(always)]
    pub const fn is_loopback_v6(self) -> bool {
        self.hi == 0 && self.lo == 1u64.to_be()
    }

    /// The IPv4 address in host order, if this is one.
    #[inline(always)]
    pub const fn v4(self) -> Option<u32> {
        let [.., a, b, c, d] = self.bytes();
        if self.is_mapped() {
            Some(u32::from_be_bytes([a, b, c, d]))
        } else {
            None
        }
    }
}

const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
const MAPPED_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
