//! One packet for each law of the packet path, tried on the kernel and on the model alike.

mod flows;
mod ip;
mod known;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
    time::{Duration, Instant},
};

use ober_common::abi::{
    Verdict::{self, Denied, Fragment, NotOurs, RouterDenied},
    WORKERS,
};
use ober_tests::model::address;
use ober_tests::packets::{
    Case, Extension, ICMP, ICMPV6, Ipv4, Ipv6, Packet, Piece, TCP, frame, icmp, ip, rich_target,
    tcp,
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
const FIRST: Piece = Piece {
    offset: 0,
    more: true,
};
const LATER: Piece = Piece {
    offset: 185,
    more: false,
};
/// Services of the target, by their place there.
const OPEN: usize = 1;
const RESTRICTED: usize = 2;
const OPEN6: usize = 3;
const RESTRICTED6: usize = 4;
const NOBODY_ON_LIST: usize = 7;
const EMPTY_RING: usize = 8;
const BGP_SERVICE: usize = 9;

/// How a packet must end.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// To a worker of this service, here or on its CPU.
    Served(usize),
    /// This verdict, counted on the node.
    Node(Verdict),
    /// This verdict, counted on the service.
    Service(Verdict, usize),
}
use End::{Node, Served, Service};

pub(super) type Law = (&'static str, Packet, End);

fn segment(from: impl Into<IpAddr>, to: impl Into<IpAddr>, port: u16) -> Packet {
    ip(from.into(), to.into(), TCP, tcp(40_000, port, b"GET /"))
}

fn fragment(from: Ipv4Addr, to: Ipv4Addr, port: u16, piece: Piece) -> Packet {
    Ipv4 {
        source: from,
        destination: to,
        protocol: TCP,
        options: 0,
        piece,
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

pub(super) fn all() -> Vec<Law> {
    let ip = [ip::links(), ip::ipv4(), ip::ipv6(), ip::odd_addresses()].concat();
    let flows = [flows::fragments(), flows::icmp_errors(), flows::routing()].concat();
    [ip, flows, known::all()].concat()
}

#[test]
fn with_fragments_of_all_sources_allowed_later_ones_pass_and_first_ones_are_still_judged() {
    let mut target = rich_target();
    target.node.fragments = true;
    let mut kernel = Kernel::load("fragments", &mut target);
    let index = target.node.services[RESTRICTED - 1].index;
    for (law, from, piece, expected) in [
        (
            "a later fragment of any source passes",
            STRANGER,
            LATER,
            (Fragment, 0),
        ),
        (
            "a first fragment of a client that is not listed is denied",
            STRANGER,
            FIRST,
            (Denied, index),
        ),
    ] {
        let packet = frame(&[], fragment(from, VIP, 80, piece));
        let judgement = agreed(&mut kernel, &target, &Case::fixed(packet.bytes), law);
        assert_eq!((judgement.verdict, judgement.service), expected, "{law}");
    }
}

#[test]
fn each_law_of_the_packet_path_holds_in_the_kernel_and_in_the_model() {
    let mut target = rich_target();
    let mut kernel = Kernel::load("laws", &mut target);
    for (law, packet, end) in all() {
        let judgement = agreed(&mut kernel, &target, &Case::fixed(packet.bytes), law);
        let index = |place: usize| target.node.services[place - 1].index;
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
fn without_a_list_of_routers_any_sender_may_speak_routing_protocols() {
    let mut target = rich_target();
    let mut kernel = Kernel::load("routers", &mut target);
    kernel.switch(&mut target, None, true);
    for (law, packet, end) in flows::routing() {
        let judgement = agreed(&mut kernel, &target, &Case::fixed(packet.bytes), law);
        if let Node(RouterDenied | NotOurs) = end {
            assert_eq!(judgement.verdict, NotOurs, "{law}, and the list is off");
        }
    }
}

#[test]
fn a_packet_is_steered_only_if_steering_is_on_and_its_worker_is_on_another_cpu() {
    let mut target = rich_target();
    let mut kernel = Kernel::load("steer", &mut target);
    for steer in [true, false] {
        let routers = target.node.routers;
        kernel.switch(&mut target, routers, steer);
        let mut seen = [None; WORKERS];
        for port in 1..400 {
            let packet = ip(STRANGER.into(), VIP.into(), TCP, tcp(port, 443, b""));
            let case = Case::fixed(frame(&[], packet).bytes);
            let judgement = agreed(&mut kernel, &target, &case, "a flow of an open service");
            seen[judgement.worker.unwrap()] = Some(judgement.verdict);
        }
        for worker in &target.node.workers {
            let elsewhere = worker.cpu != target.node.here && worker.steerable;
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

#[test]
fn drops_are_sampled_at_the_configured_rate_and_reported_with_reason_and_addresses() {
    let mut target = rich_target();
    let mut kernel = Kernel::load("events", &mut target);
    kernel.sample(4);
    let denied = Case::fixed(frame(&[], segment(STRANGER, VIP, 80)).bytes);
    let reports: Vec<_> = (0..8).map(|_| kernel.run(&denied).report).collect();
    let reported: Vec<bool> = reports.iter().map(Option::is_some).collect();
    assert_eq!(
        reported,
        [true, false, false, false, true, false, false, false]
    );
    let report = reports[0].unwrap();
    assert_eq!(report.source, address(STRANGER.into()));
    assert_eq!(report.destination, address(VIP.into()));
    assert_eq!((report.source_port, report.destination_port), (40_000, 80));
    assert_eq!(report.protocol, TCP);
    assert_eq!(report.verdict, Verdict::Denied as u32);
    kernel.sample(0);
    assert!(
        (0..8).all(|_| kernel.run(&denied).report.is_none()),
        "reports are off"
    );
}

#[test]
fn no_more_drops_are_reported_than_the_rate_limit() {
    const RATE: u32 = 10;
    let mut target = rich_target();
    let mut kernel = Kernel::load("event-rate", &mut target);
    kernel.rate(RATE);
    let denied = Case::fixed(frame(&[], segment(STRANGER, VIP, 80)).bytes);
    let began = Instant::now();
    let reports = (0..1000).filter(|_| kernel.run(&denied).report.is_some());
    let reports = u32::try_from(reports.count()).unwrap();
    // The reports saved up in a second, and those that came due meanwhile.
    let meanwhile = began.elapsed().as_millis() * u128::from(RATE) / 1000;
    let most = RATE + 1 + u32::try_from(meanwhile).unwrap();
    assert!(
        (1..=most).contains(&reports),
        "{reports} reports of at most {most}"
    );
    thread::sleep(Duration::from_millis(200));
    let after = kernel.run(&denied).report;
    assert!(after.is_some(), "a drop after a pause is reported again");
}
