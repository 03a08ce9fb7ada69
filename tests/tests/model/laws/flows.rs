//! Laws of fragments, of errors about flows, and of routing protocols.

#![expect(clippy::too_many_lines, reason = "tables, a law a line")]

use std::net::{Ipv4Addr, Ipv6Addr};

use ober_common::abi::Verdict::{
    Denied, Fragment, FragmentDenied, Malformed, NotOurs, RouterDenied,
};
use ober_tests::packets::{
    Extension, Ipv4, Ipv6, Piece, TCP, UDP, VRRP, frame, ip, tcp, udp, vrrp,
};

use super::{
    BGP_SERVICE, ELSEWHERE, ELSEWHERE6,
    End::{Node, Served, Service},
    FIRST, LATER, LISTED, LISTED6, Law, OPEN, RESTRICTED, RESTRICTED6, ROUTER, ROUTER6, STRANGER,
    STRANGER6, VIP, VIP6, chain, error, error6, fragment, segment, with,
};

pub(super) fn fragments() -> Vec<Law> {
    let later6 = |from, to, before: &[Extension]| {
        let extensions = [
            before,
            &[
                Extension::Fragment(LATER),
                Extension::Units { kind: 60, units: 0 },
            ],
        ]
        .concat();
        frame(&[], chain(from, to, 80, &extensions))
    };
    let padding = Extension::Units { kind: 60, units: 0 };
    let six = [padding; 5];
    vec![
        (
            "a first fragment is judged like a whole packet",
            frame(&[], fragment(LISTED, VIP, 80, FIRST)),
            Served(RESTRICTED),
        ),
        (
            "a first fragment of a client that is not listed is denied",
            frame(&[], fragment(STRANGER, VIP, 80, FIRST)),
            Service(Denied, RESTRICTED),
        ),
        (
            "a first fragment of an open service comes from who is on another list of the VIP",
            frame(&[], fragment(LISTED, VIP, 443, FIRST)),
            Served(OPEN),
        ),
        (
            "a first fragment of an open service from anybody else is dropped",
            frame(&[], fragment(STRANGER, VIP, 443, FIRST)),
            Service(FragmentDenied, OPEN),
        ),
        (
            "a first fragment to a port without a service comes from who is on a list of the VIP",
            frame(&[], fragment(LISTED, VIP, 22, FIRST)),
            Node(NotOurs),
        ),
        (
            "a first fragment to a port without a service from anybody else is dropped",
            frame(&[], fragment(STRANGER, VIP, 22, FIRST)),
            Node(FragmentDenied),
        ),
        (
            "a first fragment of another protocol to a VIP from anybody else is dropped",
            frame(
                &[],
                Ipv4 {
                    source: STRANGER,
                    destination: VIP,
                    protocol: 132,
                    options: 0,
                    piece: FIRST,
                }
                .carry(vrrp()),
            ),
            Node(FragmentDenied),
        ),
        (
            "a first fragment too short to show its ports is malformed",
            frame(&[], fragment(LISTED, VIP, 80, FIRST)).cut(36),
            Node(Malformed),
        ),
        (
            "a first fragment that says it is too short to hold its ports is malformed",
            with(frame(&[], fragment(LISTED, VIP, 80, FIRST)), 17, 22),
            Service(Malformed, RESTRICTED),
        ),
        (
            "a later fragment to a VIP from who is on a list of it is passed as one",
            frame(&[], fragment(LISTED, VIP, 80, LATER)),
            Node(Fragment),
        ),
        (
            "a later fragment to a VIP from anybody else is dropped",
            frame(&[], fragment(STRANGER, VIP, 80, LATER)),
            Node(FragmentDenied),
        ),
        (
            "a later fragment longer than its frame is malformed",
            frame(&[], fragment(LISTED, VIP, 80, LATER)).cut(50),
            Node(Malformed),
        ),
        (
            "a later fragment to others is passed",
            frame(&[], fragment(STRANGER, ELSEWHERE, 80, LATER)),
            Node(NotOurs),
        ),
        (
            "the flags beside the offset do not make a later fragment",
            with(frame(&[], segment(LISTED, VIP, 80)), 20, 0xe0),
            Served(RESTRICTED),
        ),
        (
            "IPv6: a later fragment to a VIP from who is on a list of it is passed as one",
            later6(LISTED6, VIP6, &[]),
            Node(Fragment),
        ),
        (
            "IPv6: a later fragment to a VIP from a listed prefix is passed as one",
            later6(Ipv6Addr::new(0xfd99, 0, 0, 7, 1, 2, 3, 4), VIP6, &[]),
            Node(Fragment),
        ),
        (
            "IPv6: a later fragment to a VIP from anybody else is dropped",
            later6(STRANGER6, VIP6, &[]),
            Node(FragmentDenied),
        ),
        (
            "IPv6: a later fragment to others is passed",
            later6(STRANGER6, ELSEWHERE6, &[]),
            Node(NotOurs),
        ),
        (
            "IPv6: a later fragment ends the chain, however long",
            later6(LISTED6, VIP6, &six),
            Node(Fragment),
        ),
        (
            "IPv6: a first fragment that ends inside its chain is malformed wherever it goes",
            frame(
                &[],
                chain(
                    LISTED6,
                    ELSEWHERE6,
                    80,
                    &[Extension::Fragment(FIRST), padding, padding],
                ),
            )
            .cut(14 + 40 + 8 + 12),
            Node(Malformed),
        ),
        (
            "IPv6: a first fragment that says it ends inside its chain is malformed, whatever follows it in the frame",
            with(
                frame(
                    &[],
                    chain(
                        LISTED6,
                        ELSEWHERE6,
                        80,
                        &[Extension::Fragment(FIRST), padding, padding],
                    ),
                ),
                19,
                8 + 8,
            ),
            Node(Malformed),
        ),
        (
            "IPv6: a fragment that is the whole packet is judged",
            frame(
                &[],
                chain(LISTED6, VIP6, 80, &[Extension::Fragment(Piece::default())]),
            ),
            Served(RESTRICTED6),
        ),
    ]
}

pub(super) fn icmp_errors() -> Vec<Law> {
    let mut laws = vec![
        (
            "an error about a flow of a client that is not listed is denied",
            frame(&[], error(3, STRANGER, 80)),
            Service(Denied, RESTRICTED),
        ),
        (
            "an error about no service is passed",
            frame(&[], error(3, LISTED, 22)),
            Node(NotOurs),
        ),
        (
            "an error too short for the ports it quotes is malformed",
            frame(&[], error(3, LISTED, 80)).cut(14 + 20 + 8 + 23),
            Node(Malformed),
        ),
        (
            "an error whose packet ends before the quoted ports is malformed for the service",
            with(frame(&[], error(3, LISTED, 80)), 17, 51),
            Service(Malformed, RESTRICTED),
        ),
        (
            "an error that quotes a wrong version is malformed",
            with(frame(&[], error(3, LISTED, 80)), 42, 0x65),
            Node(Malformed),
        ),
        (
            "an error that quotes a later fragment is passed",
            with(frame(&[], error(3, LISTED, 80)), 49, 9),
            Node(NotOurs),
        ),
        (
            "an error that quotes another protocol is passed",
            with(frame(&[], error(3, LISTED, 80)), 51, 132),
            Node(NotOurs),
        ),
        (
            "an error about BGP is no routing protocol",
            frame(&[], error(3, STRANGER, 179)),
            Node(NotOurs),
        ),
        (
            "another ICMP message is passed",
            frame(&[], error(8, LISTED, 80)),
            Node(NotOurs),
        ),
        (
            "an ICMP message without its type is malformed",
            frame(&[], error(8, LISTED, 80)).cut(34),
            Node(Malformed),
        ),
        (
            "ICMPv6: an error about a client that is not listed is denied",
            frame(&[], error6(2, STRANGER6, 80, &[])),
            Service(Denied, RESTRICTED6),
        ),
        (
            "ICMPv6: the quoted packet's extension headers are followed",
            frame(&[], error6(2, LISTED6, 80, &[Extension::Fragment(FIRST)])),
            Served(RESTRICTED6),
        ),
        (
            "ICMPv6: an error that quotes a later fragment is passed",
            frame(&[], error6(2, LISTED6, 80, &[Extension::Fragment(LATER)])),
            Node(NotOurs),
        ),
        (
            "ICMPv6: a neighbour solicitation is passed",
            frame(&[], error6(135, LISTED6, 80, &[])),
            Node(NotOurs),
        ),
    ];
    for kind in [3, 11, 12] {
        laws.push((
            "an ICMP error goes where the flow it quotes goes",
            frame(&[], error(kind, LISTED, 80)),
            Served(RESTRICTED),
        ));
    }
    for kind in 1..=4 {
        laws.push((
            "an ICMPv6 error goes where the flow it quotes goes",
            frame(&[], error6(kind, LISTED6, 80, &[])),
            Served(RESTRICTED6),
        ));
    }
    laws
}

pub(super) fn routing() -> Vec<Law> {
    let udp_to = |from: Ipv4Addr, port| {
        frame(
            &[],
            ip(
                from.into(),
                ELSEWHERE.into(),
                UDP,
                udp(49_152, port, &[0; 24]),
            ),
        )
    };
    let answer = |from: Ipv4Addr, to: Ipv4Addr, port| {
        ip(from.into(), to.into(), TCP, tcp(port, 40_000, &[0xff; 19]))
    };
    let vrrp4 = |from: Ipv4Addr, options| {
        let destination = Ipv4Addr::new(224, 0, 0, 18);
        frame(
            &[],
            Ipv4 {
                source: from,
                destination,
                protocol: VRRP,
                options,
                piece: Piece::default(),
            }
            .carry(vrrp()),
        )
    };
    let vrrp6 = |from, extensions: &[Extension]| {
        let destination = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
        frame(
            &[],
            Ipv6 {
                source: from,
                destination,
                extensions: extensions.to_vec(),
                protocol: VRRP,
            }
            .carry(vrrp()),
        )
    };
    let padding = [Extension::Units { kind: 60, units: 0 }];
    vec![
        (
            "BGP from a listed router is passed",
            frame(&[], segment(ROUTER, ELSEWHERE, 179)),
            Node(NotOurs),
        ),
        (
            "BGP from anybody else is dropped",
            frame(&[], segment(STRANGER, ELSEWHERE, 179)),
            Node(RouterDenied),
        ),
        (
            "BGP to a VIP without such a service from anybody else is dropped",
            frame(&[], segment(STRANGER, VIP, 179)),
            Node(RouterDenied),
        ),
        (
            "a service on BGP's port is a service first",
            frame(&[], segment(LISTED, Ipv4Addr::new(10, 77, 0, 2), 179)),
            Served(BGP_SERVICE),
        ),
        (
            "BGP to another port we listen on from anybody else is dropped",
            frame(&[], segment(STRANGER, ELSEWHERE, 1790)),
            Node(RouterDenied),
        ),
        (
            "the port of a neighbour is none of ours",
            frame(&[], segment(STRANGER, ELSEWHERE, 1791)),
            Node(NotOurs),
        ),
        (
            "what anybody else answers on BGP's port is dropped",
            frame(&[], answer(STRANGER, ELSEWHERE, 179)),
            Node(RouterDenied),
        ),
        (
            "what anybody else answers on the port of a neighbour is dropped",
            frame(&[], answer(STRANGER, ELSEWHERE, 1791)),
            Node(RouterDenied),
        ),
        (
            "what a listed router answers is passed",
            frame(&[], answer(ROUTER, ELSEWHERE, 179)),
            Node(NotOurs),
        ),
        (
            "a client whose port is BGP's is a client of a service first",
            frame(&[], ip(LISTED.into(), VIP.into(), TCP, tcp(179, 80, b""))),
            Served(RESTRICTED),
        ),
        (
            "a first fragment of BGP counts",
            frame(&[], fragment(STRANGER, ELSEWHERE, 179, FIRST)),
            Node(RouterDenied),
        ),
        (
            "IPv6: BGP from a listed router is passed",
            frame(&[], segment(ROUTER6, ELSEWHERE6, 179)),
            Node(NotOurs),
        ),
        (
            "IPv6: BGP from anybody else is dropped",
            frame(&[], segment(STRANGER6, ELSEWHERE6, 179)),
            Node(RouterDenied),
        ),
        (
            "BGP's port in UDP is passed",
            udp_to(STRANGER, 179),
            Node(NotOurs),
        ),
        (
            "BFD over one hop from anybody else is dropped",
            udp_to(STRANGER, 3784),
            Node(RouterDenied),
        ),
        (
            "BFD over several hops from anybody else is dropped",
            udp_to(STRANGER, 4784),
            Node(RouterDenied),
        ),
        (
            "BFD from a listed router is passed",
            udp_to(ROUTER, 3784),
            Node(NotOurs),
        ),
        (
            "the port after BFD's is passed",
            udp_to(STRANGER, 3785),
            Node(NotOurs),
        ),
        (
            "VRRP from a listed router is passed",
            vrrp4(ROUTER, 0),
            Node(NotOurs),
        ),
        (
            "VRRP from anybody else is dropped",
            vrrp4(STRANGER, 0),
            Node(RouterDenied),
        ),
        (
            "VRRP behind options from anybody else is dropped",
            vrrp4(STRANGER, 3),
            Node(RouterDenied),
        ),
        (
            "IPv6: VRRP from a listed router is passed",
            vrrp6(ROUTER6, &[]),
            Node(NotOurs),
        ),
        (
            "IPv6: VRRP behind extension headers from anybody else is dropped",
            vrrp6(STRANGER6, &padding),
            Node(RouterDenied),
        ),
        (
            "a later fragment of VRRP is a later fragment",
            frame(
                &[],
                Ipv4 {
                    source: LISTED,
                    destination: VIP,
                    protocol: VRRP,
                    options: 0,
                    piece: LATER,
                }
                .carry(vrrp()),
            ),
            Node(Fragment),
        ),
    ]
}
