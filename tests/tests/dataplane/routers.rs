//! The list of routers is checked at the sockets too: for packets that come by an interface without a program, out of a tunnel,
//! or from this machine itself.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use ober_tests::{
    lab::{
        Host, Lab,
        wire::{CARD, Wire, checksum, seal},
    },
    packets::{TCP, frame, ip, tcp},
    plane::Lists,
};
use ober_user::{
    dataplane::{Switches, Wanted, access},
    names::entries::Entries,
};
use socket2::{Domain, Protocol, Socket, Type};

const NODE: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
const NODE6: Ipv6Addr = Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const LISTED: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);
const LISTED6: Ipv6Addr = Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 3);
const STRANGER6: Ipv6Addr = Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 3);
/// BGP's own port, another of the configuration, and one of no routing protocol.
const PORTS: [u16; 3] = [179, 1790, 2222];
/// Where a neighbour listens.
const THERE: u16 = 1791;

fn hosts(lab: &Lab) -> [Host; 2] {
    let [node, peer] = ["node", "peer"].map(|name| lab.host(name).unwrap());
    let pair = format!("link add out0 type veth peer name in0 netns {}", node.pid());
    let lines = [
        pair,
        "link set out0 up".into(),
        format!("addr add {LISTED}/24 dev out0"),
        format!("addr add {STRANGER}/24 dev out0"),
        format!("addr add {LISTED6}/64 dev out0 nodad"),
        format!("addr add {STRANGER6}/64 dev out0 nodad"),
    ];
    peer.ip(&lines).unwrap();
    let lines = [
        format!("link set in0 address {CARD}"),
        "link set in0 up".into(),
        format!("addr add {NODE}/24 dev in0"),
        format!("addr add {NODE6}/64 dev in0 nodad"),
        format!("addr add {VIP6}/128 dev lo nodad"),
    ];
    node.ip(&lines).unwrap();
    [node, peer]
}

/// Attached to the sockets of the host and to none of its interfaces.
fn plane(node: &Host) -> (Lists, u32) {
    let mut lists = Lists::new("routers");
    let mut routers = Entries::default();
    for address in [IpAddr::from(LISTED), LISTED6.into()] {
        routers.push(address);
    }
    routers.settle();
    access::replace(lists.maps(), 0, &routers).unwrap();
    let wanted = Wanted {
        vip: VIP6.into(),
        protocol: TCP,
        port: 443,
        list: Some(0),
    };
    let index = lists.plane.set_services(&[wanted]).unwrap()[0];
    lists.plane.set_switches(&Switches {
        routers: Some(0),
        bgp_here: [PORTS[1]].into(),
        bgp_there: [THERE].into(),
        ..Switches::default()
    });
    node.run(|| lists.plane.attach(&[])).unwrap().unwrap();
    (lists, index)
}

/// Does a connection from this address and port come about? The kernel refuses what the socket lookup denies.
fn connects(host: &Host, from: impl Into<IpAddr>, port: u16, to: SocketAddr) -> bool {
    let from = SocketAddr::new(from.into(), port);
    let connected = host.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&from.into())?;
        socket.connect(&to.into())
    });
    match connected.unwrap() {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => false,
        Err(error) => panic!("from {from} to {to}: {error}"),
    }
}

#[test]
fn only_listed_routers_may_speak_bgp_on_any_interface() {
    let lab = Lab::new("routers").unwrap();
    let [node, peer] = hosts(&lab);
    let (lists, _) = plane(&node);
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let listen = |port| node.run(|| TcpListener::bind(SocketAddr::new(any, port)));
    let _listeners = PORTS.map(|port| listen(port).unwrap().unwrap());
    let families: [[IpAddr; 3]; 2] = [
        [NODE.into(), LISTED.into(), STRANGER.into()],
        [NODE6.into(), LISTED6.into(), STRANGER6.into()],
    ];
    for [own, listed, stranger] in families {
        for port in PORTS {
            let to = SocketAddr::new(own, port);
            assert!(connects(&peer, listed, 0, to), "{listed} to {to}");
            let routing = port != 2222;
            assert_eq!(
                connects(&peer, stranger, 0, to),
                !routing,
                "{stranger} to {to}"
            );
            assert_eq!(
                connects(&node, own, 0, to),
                !routing,
                "{own} to itself, {to}"
            );
        }
        let to = SocketAddr::new(own, 2222);
        for from in [179, THERE] {
            assert!(
                !connects(&peer, stranger, from, to),
                "{stranger} from port {from}"
            );
            assert!(
                connects(&peer, listed, from, to),
                "{listed} from port {from}"
            );
        }
    }
    // Without a list of routers every peer may connect.
    lists.plane.set_switches(&Switches::default());
    let to = SocketAddr::new(NODE.into(), PORTS[0]);
    assert!(connects(&peer, STRANGER, 0, to));
}

#[test]
fn the_mapped_form_of_a_listed_address_is_denied_at_the_sockets_too() {
    let lab = Lab::new("mapped").unwrap();
    let [node, peer] = hosts(&lab);
    let (lists, index) = plane(&node);
    let wire = peer.run(|| Wire::new("out0")).unwrap().unwrap();
    let send = |from: Ipv6Addr| {
        let mut segment = tcp(40_000, 443, b"");
        let length = segment.bytes.len().to_be_bytes();
        let pseudo = [
            &from.octets()[..],
            &VIP6.octets(),
            &length[4..],
            &[0, 0, 0, TCP],
        ]
        .concat();
        let checksum = checksum(&[&pseudo[..], &segment.bytes].concat());
        segment.bytes[16..18].copy_from_slice(&checksum);
        let mut bytes = frame(&[], ip(from.into(), VIP6.into(), TCP, segment)).bytes;
        seal(&mut bytes);
        wire.send(&bytes);
    };
    let lookups = |index: u32| {
        let counts = lists.plane.maps.lookups.get(&index, 0).unwrap();
        let sum = |of: fn(&ober_common::abi::Lookups) -> u64| {
            counts.iter().map(|it| of(&it.0)).sum::<u64>()
        };
        [sum(|it| it.denied), sum(|it| it.no_worker)]
    };
    // The address itself is listed, and only a worker is missing.
    send(LISTED6);
    assert!(until(|| lookups(index) == [0, 1]), "{:?}", lookups(index));
    send(LISTED.to_ipv6_mapped());
    assert!(until(|| lookups(0)[0] == 1), "{:?}", lookups(0));
    assert_eq!(lookups(index), [0, 1]);
}

fn until(done: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| {
        let is = done();
        if !is {
            std::thread::sleep(Duration::from_millis(10));
        }
        is
    })
}
