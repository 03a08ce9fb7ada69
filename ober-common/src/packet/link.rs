//! The link header: Ethernet, with VLAN tags or without.

use super::{Bytes, Frame, TAGS};

const ETH_VLAN: u16 = 0x8100;
const ETH_QINQ: u16 = 0x88a8;
const ETH_IPV4: u16 = 0x0800;
const ETH_IPV6: u16 = 0x86dd;

/// What a frame carries, and at which offset it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ipv4(usize),
    Ipv6(usize),
    Other,
    /// The frame ends within the link header.
    Short,
    /// There are more tags than [`TAGS`]. The kernel removes any number of priority tags and would read the packet
    /// below them.
    Tagged,
}

/// Reads the link header and its VLAN tags.
#[inline(always)]
pub fn link(frame: impl Frame) -> Link {
    let mut offset = 14;
    let Some(link) = frame.bytes::<14>(0) else {
        return Link::Short;
    };
    let mut kind = link.half::<12>();
    for _ in 0..TAGS {
        if !is_tag(kind) {
            break;
        }
        let Some(tag) = frame.bytes::<4>(offset) else {
            return Link::Short;
        };
        kind = tag.half::<2>();
        offset += 4;
    }
    match kind {
        ETH_IPV4 => Link::Ipv4(offset),
        ETH_IPV6 => Link::Ipv6(offset),
        kind if is_tag(kind) => Link::Tagged,
        _ => Link::Other,
    }
}

#[inline(always)]
const fn is_tag(kind: u16) -> bool {
    kind == ETH_VLAN || kind == ETH_QINQ
}
