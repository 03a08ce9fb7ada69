//! Frames, as they were found, that once got past the list of routers or the list of a service, or that were dropped because of
//! a driver's layout. The sender is on no list.

use std::net::{Ipv4Addr, Ipv6Addr};

use ober_common::abi::Verdict::{Malformed, NotOurs, RouterDenied};
use ober_tests::packets::{Extension, Ipv6, Packet, Piece, VLAN, VRRP, ethernet, frame, vrrp};

use super::{End::Node, FIRST, Law, STRANGER, STRANGER6, VIP, chain, segment};

/// The node's own addresses.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const NODE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);
const PADDING: Extension = Extension::Units { kind: 60, units: 0 };

pub(super) fn all() -> Vec<Law> {
    let behind = |count| frame(&[], chain(STRANGER6, NODE6, 179, &vec![PADDING; count]));
    let priority = |mut packet: Packet| {
        for tag in 0..3 {
            packet.bytes[14 + 4 * tag..16 + 4 * tag].fill(0);
        }
        packet
    };
    let advertisement = |extensions| Ipv6 {
        source: STRANGER6,
        destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12),
        extensions,
        protocol: VRRP,
    };
    let mut laws = vec![
        (
            "S1: a plain SYN to BGP's port",
            behind(0),
            Node(RouterDenied),
        ),
        (
            "S1: a SYN to BGP's port behind six destination options headers",
            behind(6),
            Node(RouterDenied),
        ),
        (
            "S1: a SYN to BGP's port behind seven destination options headers",
            behind(7),
            Node(Malformed),
        ),
        (
            "S1: a plain SYN to the other address of `listen`",
            frame(&[], chain(STRANGER6, NODE6, 1790, &[])),
            Node(RouterDenied),
        ),
        (
            "S1: a SYN to BGP's port under three priority tags",
            priority(frame(&[VLAN; 3], segment(STRANGER, NODE, 179))),
            Node(Malformed),
        ),
        (
            "S1: a SYN to a service under three priority tags",
            priority(frame(&[VLAN; 3], segment(STRANGER, VIP, 80))),
            Node(Malformed),
        ),
        (
            "S1: an advertisement of VRRP behind seven destination options headers",
            frame(&[], advertisement(vec![PADDING; 7]).carry(vrrp())),
            Node(Malformed),
        ),
        (
            "DP1: an ARP request is passed however little of it lies in the first buffer",
            {
                let mut request = ethernet(&[], 0x0806, Packet::data(&[0, 1, 8, 0, 6, 4, 0, 1]));
                request.bytes.resize(60, 0);
                request
            },
            Node(NotOurs),
        ),
    ];
    laws.extend(cut_chain());
    laws
}

/// S1: a SYN to BGP's port in two fragments; the first ends inside the chain of extension headers.
fn cut_chain() -> Vec<Law> {
    let whole = chain(STRANGER6, NODE6, 179, &[PADDING; 2]);
    let (next, inside) = (whole.bytes[6], &whole.bytes[40..]);
    let carry = |piece: Piece, bytes: &[u8]| {
        let field = piece.offset << 3 | u16::from(piece.more);
        let [high, low] = field.to_be_bytes();
        let header = Ipv6 {
            source: STRANGER6,
            destination: NODE6,
            extensions: Vec::new(),
            protocol: 44,
        };
        let part = [&[next, 0, high, low, 0, 0, 0, 7], bytes].concat();
        frame(&[], header.carry(Packet::data(&part)))
    };
    let rest = Piece {
        offset: 1,
        more: false,
    };
    vec![
        (
            "S1: a first fragment that ends inside its chain",
            carry(FIRST, &inside[..8]),
            Node(Malformed),
        ),
        (
            "S1: what follows it to an address that is no VIP",
            carry(rest, &inside[8..]),
            Node(NotOurs),
        ),
        (
            "S1: a first fragment that shows its ports",
            carry(FIRST, &inside[..24]),
            Node(RouterDenied),
        ),
    ]
}
