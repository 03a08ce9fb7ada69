//! Laws of the link and of the IP headers.

#![expect(clippy::too_many_lines, reason = "tables, a law a line")]

use std::net::{Ipv4Addr, Ipv6Addr};

use ober_common::abi::Verdict::{Denied, Loopback, Malformed, NoWorker, NotOurs};
use ober_tests::packets::{
    Extension, Ipv4, NO_NEXT_HEADER, Packet, Piece, QINQ, TCP, UDP, VLAN, ethernet, frame, ip, tcp,
    udp,
};

use super::{
    ELSEWHERE, ELSEWHERE6, EMPTY_RING,
    End::{Node, Served, Service},
    LATER, LISTED, LISTED6, Law, NOBODY_ON_LIST, OPEN, OPEN6, RESTRICTED, RESTRICTED6, STRANGER,
    STRANGER6, VIP, VIP6, chain, fragment, segment, with,
};

pub(super) fn links() -> Vec<Law> {
    let open = || segment(STRANGER, VIP, 443);
    vec![
        (
            "a frame of neither IPv4 nor IPv6 is passed",
            ethernet(&[], 0x0806, udp(1, 2, b"arp")),
            Node(NotOurs),
        ),
        (
            "a packet under one tag is judged",
            frame(&[VLAN], open()),
            Served(OPEN),
        ),
        (
            "a packet under two tags is judged",
            frame(&[QINQ, VLAN], open()),
            Served(OPEN),
        ),
        (
            "a packet under three tags is malformed",
            frame(&[QINQ, VLAN, VLAN], open()),
            Node(Malformed),
        ),
        (
            "a packet under three tags is malformed wherever it goes",
            frame(&[VLAN, VLAN, VLAN], segment(STRANGER, ELSEWHERE, 443)),
            Node(Malformed),
        ),
        (
            "whatever is under three tags is malformed",
            ethernet(&[VLAN, VLAN, QINQ], 0x0806, udp(1, 2, b"arp")),
            Node(Malformed),
        ),
        (
            "a frame that ends within its tag is malformed",
            frame(&[VLAN], open()).cut(16),
            Node(Malformed),
        ),
        (
            "a frame that ends within its second tag is malformed",
            frame(&[QINQ, VLAN], open()).cut(21),
            Node(Malformed),
        ),
        (
            "padding after the packet changes nothing",
            {
                let mut padded = frame(&[], open());
                padded.bytes.resize(80, 0);
                padded
            },
            Served(OPEN),
        ),
    ]
}

pub(super) fn ipv4() -> Vec<Law> {
    let options = |options| Ipv4 {
        source: LISTED,
        destination: VIP,
        protocol: TCP,
        options,
        piece: Piece::default(),
    };
    let plain = |to| frame(&[], segment(STRANGER, to, 443));
    let long = |by: u8| with(plain(VIP), 17, 45 + by);
    vec![
        (
            "a client of an open service reaches a worker",
            plain(VIP),
            Served(OPEN),
        ),
        (
            "a listed client of a restricted service reaches a worker",
            frame(&[], segment(LISTED, VIP, 80)),
            Served(RESTRICTED),
        ),
        (
            "a client that is not listed is denied",
            frame(&[], segment(STRANGER, VIP, 80)),
            Service(Denied, RESTRICTED),
        ),
        (
            "an empty list admits no client",
            frame(&[], segment(LISTED, Ipv4Addr::new(10, 77, 0, 3), 8080)),
            Service(Denied, NOBODY_ON_LIST),
        ),
        (
            "an empty ring serves no client",
            frame(&[], segment(LISTED, Ipv4Addr::new(10, 77, 0, 4), 443)),
            Service(NoWorker, EMPTY_RING),
        ),
        (
            "another port of a VIP is passed",
            frame(&[], segment(STRANGER, VIP, 22)),
            Node(NotOurs),
        ),
        (
            "another protocol on a service's port is passed",
            frame(&[], ip(STRANGER.into(), VIP.into(), UDP, udp(9, 443, b""))),
            Node(NotOurs),
        ),
        (
            "ports are found behind the longest options",
            frame(&[], options(10).carry(tcp(9, 80, b""))),
            Served(RESTRICTED),
        ),
        (
            "an IPv4 header that is not all there is malformed",
            plain(ELSEWHERE).cut(33),
            Node(Malformed),
        ),
        (
            "a wrong version to a VIP is malformed",
            with(plain(VIP), 14, 0x55),
            Node(Malformed),
        ),
        (
            "a wrong version to others is malformed while routers are checked",
            with(plain(ELSEWHERE), 14, 0x55),
            Node(Malformed),
        ),
        (
            "a header length below five words to a VIP is malformed",
            with(plain(VIP), 14, 0x44),
            Node(Malformed),
        ),
        (
            "ports that are not all there to a VIP are malformed",
            plain(VIP).cut(37),
            Node(Malformed),
        ),
        (
            "ports that are not all there to others are malformed while routers are checked",
            plain(ELSEWHERE).cut(37),
            Node(Malformed),
        ),
        (
            "a frame that ends within the packet is malformed for its service",
            plain(VIP).cut(50),
            Service(Malformed, OPEN),
        ),
        (
            "a packet longer than its frame is malformed for its service",
            long(1),
            Service(Malformed, OPEN),
        ),
        (
            "a packet that ends before its ports is malformed for its service",
            with(plain(VIP), 17, 23),
            Service(Malformed, OPEN),
        ),
        (
            "a packet that ends with its ports is judged",
            with(plain(VIP), 17, 24),
            Served(OPEN),
        ),
        (
            "a packet to a VIP that ends before its ports is malformed without a service too",
            with(frame(&[], segment(STRANGER, VIP, 22)), 17, 23),
            Node(Malformed),
        ),
        (
            "a packet to a VIP that says it is shorter than its header is malformed without a service too",
            with(frame(&[], segment(STRANGER, VIP, 22)), 17, 19),
            Node(Malformed),
        ),
        (
            "another protocol to a VIP that ends inside its options is malformed",
            with(
                frame(
                    &[],
                    Ipv4 {
                        protocol: 132,
                        ..options(5)
                    }
                    .carry(Packet::data(&[0; 20])),
                ),
                17,
                39,
            ),
            Node(Malformed),
        ),
        (
            "a malformed packet of a client that is not listed is malformed first",
            frame(&[], segment(STRANGER, VIP, 80)).cut(50),
            Service(Malformed, RESTRICTED),
        ),
    ]
}

pub(super) fn ipv6() -> Vec<Law> {
    let unit = |kind| Extension::Units { kind, units: 1 };
    let all = [
        unit(0),
        unit(60),
        unit(43),
        Extension::Fragment(Piece::default()),
        Extension::Authentication { words: 4 },
        unit(135),
    ];
    let seven = [unit(60); 7];
    let open = |extensions: &[Extension]| frame(&[], chain(STRANGER6, VIP6, 443, extensions));
    let mut laws = vec![
        (
            "IPv6: a listed client reaches a worker",
            frame(&[], chain(LISTED6, VIP6, 80, &[])),
            Served(RESTRICTED6),
        ),
        (
            "IPv6: a client that is not listed is denied",
            frame(&[], chain(STRANGER6, VIP6, 80, &[])),
            Service(Denied, RESTRICTED6),
        ),
        (
            "IPv6: a client within a listed prefix reaches a worker",
            frame(
                &[],
                chain(Ipv6Addr::new(0xfd99, 0, 0, 7, 1, 2, 3, 4), VIP6, 80, &[]),
            ),
            Served(RESTRICTED6),
        ),
        (
            "IPv6: ports are found behind six extension headers",
            open(&all),
            Served(OPEN6),
        ),
        (
            "IPv6: a seventh extension header to a VIP is malformed",
            open(&seven),
            Node(Malformed),
        ),
        (
            "IPv6: a seventh extension header to others is malformed while routers are checked",
            frame(&[], chain(STRANGER6, ELSEWHERE6, 443, &seven)),
            Node(Malformed),
        ),
        (
            "IPv6: a header that is not all there is malformed",
            frame(&[], chain(STRANGER6, ELSEWHERE6, 443, &[])).cut(53),
            Node(Malformed),
        ),
        (
            "IPv6: a wrong version to a VIP is malformed",
            with(open(&[]), 14, 0x40),
            Node(Malformed),
        ),
        (
            "IPv6: a malformed packet to the address zero is malformed while routers are checked",
            with(
                frame(&[], chain(STRANGER6, Ipv6Addr::UNSPECIFIED, 443, &[])),
                14,
                0x40,
            ),
            Node(Malformed),
        ),
        (
            "IPv6: a chain that is cut short to a VIP is malformed",
            open(&all).cut(14 + 40 + 17),
            Node(Malformed),
        ),
        (
            "IPv6: an extension header that reaches beyond the frame is malformed",
            with(open(&[unit(60)]), 55, 200),
            Node(Malformed),
        ),
        (
            "IPv6: no next header is passed",
            frame(
                &[],
                ip(
                    STRANGER6.into(),
                    VIP6.into(),
                    NO_NEXT_HEADER,
                    Packet::default(),
                ),
            ),
            Node(NotOurs),
        ),
        (
            "IPv6: a packet longer than its frame is malformed for its service",
            with(open(&[]), 19, 26),
            Service(Malformed, OPEN6),
        ),
        (
            "IPv6: a payload that ends before the ports is malformed for its service",
            with(open(&[unit(60)]), 19, 19),
            Service(Malformed, OPEN6),
        ),
    ];
    for kind in [0, 43, 60, 135, 139, 140] {
        laws.push((
            "IPv6: ports are found behind each kind of extension header",
            open(&[unit(kind)]),
            Served(OPEN6),
        ));
    }
    laws
}

pub(super) fn odd_addresses() -> Vec<Law> {
    let mapped = |address: Ipv4Addr| address.to_ipv6_mapped();
    let tcp6 = |from, to| frame(&[], chain(from, to, 80, &[]));
    let tcp4 = |from, to| frame(&[], segment(from, to, 80));
    vec![
        (
            "nothing from outside goes to 127.0.0.1",
            tcp4(LISTED, Ipv4Addr::LOCALHOST),
            Node(Loopback),
        ),
        (
            "nothing from outside goes to the last address of 127.0.0.0/8",
            tcp4(LISTED, Ipv4Addr::new(127, 255, 255, 255)),
            Node(Loopback),
        ),
        (
            "the addresses before and after 127.0.0.0/8 are others'",
            tcp4(LISTED, Ipv4Addr::new(126, 255, 255, 255)),
            Node(NotOurs),
        ),
        (
            "the addresses before and after 127.0.0.0/8 are others'",
            tcp4(LISTED, Ipv4Addr::new(128, 0, 0, 0)),
            Node(NotOurs),
        ),
        (
            "nothing from outside comes from 127.0.0.1",
            tcp4(Ipv4Addr::LOCALHOST, VIP),
            Node(Loopback),
        ),
        (
            "a fragment to an address of loopback is no better",
            frame(&[], fragment(LISTED, Ipv4Addr::LOCALHOST, 80, LATER)),
            Node(Loopback),
        ),
        (
            "IPv6: nothing from outside goes to ::1",
            tcp6(LISTED6, Ipv6Addr::LOCALHOST),
            Node(Loopback),
        ),
        (
            "IPv6: nothing from outside comes from ::1",
            tcp6(Ipv6Addr::LOCALHOST, VIP6),
            Node(Loopback),
        ),
        (
            "IPv6: nothing behind extension headers goes to ::1",
            frame(
                &[],
                chain(
                    LISTED6,
                    Ipv6Addr::LOCALHOST,
                    80,
                    &[Extension::Units { kind: 60, units: 0 }],
                ),
            ),
            Node(Loopback),
        ),
        (
            "IPv6: the mapped form of a listed IPv4 address is nobody's",
            tcp6(mapped(LISTED), VIP6),
            Node(Malformed),
        ),
        (
            "IPv6: the mapped form of an IPv4 VIP is nobody's",
            tcp6(LISTED6, mapped(VIP)),
            Node(Malformed),
        ),
        (
            "IPv6: mapped addresses on both sides do not pass for IPv4",
            tcp6(mapped(LISTED), mapped(VIP)),
            Node(Malformed),
        ),
        (
            "IPv6: the mapped form of a loopback address is nobody's",
            tcp6(LISTED6, mapped(Ipv4Addr::LOCALHOST)),
            Node(Malformed),
        ),
        (
            "IPv6: an address one bit from the mapped form is an address",
            tcp6(LISTED6, Ipv6Addr::new(0, 0, 0, 0, 0, 0xfffe, 0x0a4d, 1)),
            Node(NotOurs),
        ),
    ]
}
