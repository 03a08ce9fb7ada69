//! One packet for each law of the packet path, held against the kernel and the model alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ober_common::abi::Verdict::{
    self, Denied, Fragment, Malformed, NoWorker, NotOurs, RouterDenied,
};
use ober_tests::packets::{
    Case, Extension, ICMP, ICMPV6, Ipv4, Ipv6, NO_NEXT_HEADER, Packet, Part, QINQ, TCP, UDP, VLAN,
    VRRP, ethernet, frame, icmp, ip, rich_stage, tcp, udp, vrrp,
};

use super::{agreed, kernel::Kernel};

/// Open on 443, restricted on 80.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const LISTED: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const LISTED6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const STRANGER6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 3);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 5, 5, 5);
const ELSEWHERE6: Ipv6Addr = Ipv6Addr::new(0xfd55, 0, 0, 0, 0, 0, 0, 5);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const FIRST: Part = Part {
    offset: 0,
    more: true,
};
const LATER: Part = Part {
    offset: 185,
    more: false,
};
/// Services of the stage, by their place there.
const OPEN: usize = 1;
const RESTRICTED: usize = 2;
const OPEN6: usize = 3;
const RESTRICTED6: usize = 4;
const NOBODY_ON_LIST: usize = 7;
const EMPTY_RING: usize = 8;
const BGP_SERVICE: usize = 9;

/// What must become of a packet.
#[derive(Clone, Copy)]
enum End {
    /// To a worker of this service, here or on its CPU.
    Served(usize),
    /// This verdict, counted on the node.
    Node(Verdict),
    /// This verdict, counted on the service.
    Service(Verdict, usize),
}
use End::{Node, Served, Service};

type Law = (&'static str, Packet, End);

fn v4(from: impl Into<IpAddr>, to: impl Into<IpAddr>, port: u16) -> Packet {
    ip(from.into(), to.into(), TCP, tcp(40_000, port, b"GET /"))
}

fn fragment(from: Ipv4Addr, to: Ipv4Addr, port: u16, part: Part) -> Packet {
    Ipv4 {
        source: from,
        destination: to,
        protocol: TCP,
        options: 0,
        part,
    }
    .carry(tcp(40_000, port, b"GET /"))
}

fn chain(from: Ipv6Addr, to: Ipv6Addr, port: u16, extensions: &[Extension]) -> Packet {
    Ipv6 {
        source: from,
        destination: to,
        extensions: extensions.to_vec(),
        protocol: TCP,
    }
    .carry(tcp(40_000, port, b"GET /"))
}

/// An error from a stranger's router about a packet of ours to `client`.
fn error(kind: u8, client: Ipv4Addr, port: u16) -> Packet {
    let quoted = ip(VIP.into(), client.into(), TCP, tcp(port, 40_000, b"")).cut(28);
    ip(STRANGER.into(), VIP.into(), ICMP, icmp(kind, 4, quoted))
}

fn error6(kind: u8, client: Ipv6Addr, port: u16, extensions: &[Extension]) -> Packet {
    let header = Ipv6 {
        source: VIP6,
        destination: client,
        extensions: extensions.to_vec(),
        protocol: TCP,
    };
    ip(
        STRANGER6.into(),
        VIP6.into(),
        ICMPV6,
        icmp(kind, 0, header.carry(tcp(port, 40_000, b""))),
    )
}

/// The packet with one byte of it changed.
fn with(mut packet: Packet, at: usize, value: u8) -> Packet {
    packet.bytes[at] = value;
    packet
}

fn links() -> Vec<Law> {
    let open = || v4(STRANGER, VIP, 443);
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
            "a packet under three tags is passed",
            frame(&[QINQ, VLAN, VLAN], open()),
            Node(NotOurs),
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

fn ipv4() -> Vec<Law> {
    let options = |options| Ipv4 {
        source: LISTED,
        destination: VIP,
        protocol: TCP,
        options,
        part: Part::default(),
    };
    let plain = |to| frame(&[], v4(STRANGER, to, 443));
    let long = |by: u8| with(plain(VIP), 17, 45 + by);
    vec![
        (
            "a client of an open service reaches a worker",
            plain(VIP),
            Served(OPEN),
        ),
        (
            "a listed client of a restricted service reaches a worker",
            frame(&[], v4(LISTED, VIP, 80)),
            Served(RESTRICTED),
        ),
        (
            "a client that is not listed is denied",
            frame(&[], v4(STRANGER, VIP, 80)),
            Service(Denied, RESTRICTED),
        ),
        (
            "an empty list admits nobody",
            frame(&[], v4(LISTED, Ipv4Addr::new(10, 77, 0, 3), 8080)),
            Service(Denied, NOBODY_ON_LIST),
        ),
        (
            "an empty ring serves nobody",
            frame(&[], v4(LISTED, Ipv4Addr::new(10, 77, 0, 4), 443)),
            Service(NoWorker, EMPTY_RING),
        ),
        (
            "another port of a VIP is passed",
            frame(&[], v4(STRANGER, VIP, 22)),
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
            "a wrong version to others is passed",
            with(plain(ELSEWHERE), 14, 0x55),
            Node(NotOurs),
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
            "ports that are not all there to others are passed",
            plain(ELSEWHERE).cut(37),
            Node(NotOurs),
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
            "a malformed packet of a client that is not listed is malformed first",
            frame(&[], v4(STRANGER, VIP, 80)).cut(50),
            Service(Malformed, RESTRICTED),
        ),
    ]
}

fn ipv6() -> Vec<Law> {
    let unit = |kind| Extension::Units { kind, units: 1 };
    let all = [
        unit(0),
        unit(60),
        unit(43),
        Extension::Fragment(FIRST),
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
            "IPv6: a seventh extension header to others is passed",
            frame(&[], chain(STRANGER6, ELSEWHERE6, 443, &seven)),
            Node(NotOurs),
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
            "IPv6: a malformed packet to the address zero, which is no VIP, is passed",
            with(
                frame(&[], chain(STRANGER6, Ipv6Addr::UNSPECIFIED, 443, &[])),
                14,
                0x40,
            ),
            Node(NotOurs),
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

fn fragments() -> Vec<Law> {
    let later6 = |to, before: &[Extension]| {
        let extensions = [
            before,
            &[
                Extension::Fragment(LATER),
                Extension::Units { kind: 60, units: 0 },
            ],
        ]
        .concat();
        frame(&[], chain(STRANGER6, to, 80, &extensions))
    };
    let six = [Extension::Units { kind: 60, units: 0 }; 5];
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
            "a later fragment to a VIP is passed as one",
            frame(&[], fragment(STRANGER, VIP, 80, LATER)),
            Node(Fragment),
        ),
        (
            "a later fragment to others is passed",
            frame(&[], fragment(STRANGER, ELSEWHERE, 80, LATER)),
            Node(NotOurs),
        ),
        (
            "the flags beside the offset do not make a later fragment",
            with(frame(&[], v4(LISTED, VIP, 80)), 20, 0xe0),
            Served(RESTRICTED),
        ),
        (
            "IPv6: a later fragment to a VIP is passed as one",
            later6(VIP6, &[]),
            Node(Fragment),
        ),
        (
            "IPv6: a later fragment to others is passed",
            later6(ELSEWHERE6, &[]),
            Node(NotOurs),
        ),
        (
            "IPv6: a later fragment ends the chain, however long",
            later6(VIP6, &six),
            Node(Fragment),
        ),
        (
            "IPv6: a fragment that is the whole packet is judged",
            frame(
                &[],
                chain(LISTED6, VIP6, 80, &[Extension::Fragment(Part::default())]),
            ),
            Served(RESTRICTED6),
        ),
    ]
}

fn icmp_errors() -> Vec<Law> {
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

fn routing() -> Vec<Law> {
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
    let vrrp4 = |from: Ipv4Addr, options| {
        let destination = Ipv4Addr::new(224, 0, 0, 18);
        frame(
            &[],
            Ipv4 {
                source: from,
                destination,
                protocol: VRRP,
                options,
                part: Part::default(),
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
            frame(&[], v4(ROUTER, ELSEWHERE, 179)),
            Node(NotOurs),
        ),
        (
            "BGP from anybody else is dropped",
            frame(&[], v4(STRANGER, ELSEWHERE, 179)),
            Node(RouterDenied),
        ),
        (
            "BGP to a VIP without such a service from anybody else is dropped",
            frame(&[], v4(STRANGER, VIP, 179)),
            Node(RouterDenied),
        ),
        (
            "a service on BGP's port is a service first",
            frame(&[], v4(LISTED, Ipv4Addr::new(10, 77, 0, 2), 179)),
            Served(BGP_SERVICE),
        ),
        (
            "a first fragment of BGP counts",
            frame(&[], fragment(STRANGER, ELSEWHERE, 179, FIRST)),
            Node(RouterDenied),
        ),
        (
            "IPv6: BGP from a listed router is passed",
            frame(&[], v4(ROUTER6, ELSEWHERE6, 179)),
            Node(NotOurs),
        ),
        (
            "IPv6: BGP from anybody else is dropped",
            frame(&[], v4(STRANGER6, ELSEWHERE6, 179)),
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
                    source: STRANGER,
                    destination: VIP,
                    protocol: VRRP,
                    options: 0,
                    part: LATER,
                }
                .carry(vrrp()),
            ),
            Node(Fragment),
        ),
    ]
}

#[test]
fn each_law_of_the_packet_path_holds_in_the_kernel_and_in_the_model() {
    let mut stage = rich_stage();
    let mut kernel = Kernel::load("laws", &mut stage);
    for (law, packet, end) in [
        links(),
        ipv4(),
        ipv6(),
        fragments(),
        icmp_errors(),
        routing(),
    ]
    .concat()
    {
        let judgement = agreed(&mut kernel, &stage, &Case::fixed(packet.bytes), law);
        let index = |place: usize| stage.node.services[place - 1].index;
        let (verdict, service) = match end {
            Served(place) => (judgement.verdict, index(place)),
            Node(verdict) => (verdict, 0),
            Service(verdict, place) => (verdict, index(place)),
        };
        assert_eq!(
            (judgement.verdict, judgement.service),
            (verdict, service),
            "{law}"
        );
        assert_eq!(
            judgement.worker.is_some(),
            matches!(end, Served(_)),
            "{law}"
        );
    }
}

#[test]
fn without_a_list_of_routers_everybody_may_speak_routing_protocols() {
    let mut stage = rich_stage();
    let mut kernel = Kernel::load("routers", &mut stage);
    kernel.switch(&mut stage, None, true);
    for (law, packet, end) in routing() {
        let judgement = agreed(&mut kernel, &stage, &Case::fixed(packet.bytes), law);
        if let Node(RouterDenied | NotOurs) = end {
            assert_eq!(judgement.verdict, NotOurs, "{law}, and the list is off");
        }
    }
}

#[test]
fn a_packet_is_steered_only_when_its_worker_is_elsewhere_and_steering_is_on() {
    let mut stage = rich_stage();
    let mut kernel = Kernel::load("steer", &mut stage);
    for steer in [true, false] {
        let routers = stage.node.routers;
        kernel.switch(&mut stage, routers, steer);
        let mut seen = [(0, Verdict::Passed); 64].map(|_| None);
        for port in 1..400 {
            let packet = ip(STRANGER.into(), VIP.into(), TCP, tcp(port, 443, b""));
            let case = Case::fixed(frame(&[], packet).bytes);
            let judgement = agreed(&mut kernel, &stage, &case, "a flow of an open service");
            seen[judgement.worker.unwrap()] = Some(judgement.verdict);
        }
        for worker in &stage.node.workers {
            let elsewhere = worker.cpu != stage.node.here && worker.steerable;
            let verdict = if steer && elsewhere {
                Verdict::Steered
            } else {
                Verdict::Passed
            };
            assert_eq!(
                seen[worker.number],
                Some(verdict),
                "worker {} with steer {steer}",
                worker.number
            );
        }
    }
}
