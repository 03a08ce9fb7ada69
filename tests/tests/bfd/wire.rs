//! What is on the wire, and packets from it that must not count: the other end is a plain socket.

use std::{
    io::IoSliceMut,
    net::UdpSocket,
    os::fd::AsRawFd as _,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt,
        sockopt::Ipv4RecvTtl,
    },
};
use ober_tests::{lab::until, peers::Frr};
use ober_user::{
    api::status::bfd::Session,
    names::entries::Entries,
    protocols::{
        bfd::{Control, Diagnostic, Discriminator, Micros, Mode, Settings, State},
        routers::Routers,
    },
};

use crate::link::{Link, OURS4, PATIENCE, THEIRS4, every, settings};

/// A plain socket at the other end.
fn socket(link: &Link, port: u16, ttl: u32) -> UdpSocket {
    let socket = link
        .theirs
        .run(|| UdpSocket::bind((THEIRS4, port)))
        .expect("enter the host")
        .expect("bind");
    socket.set_ttl(ttl).expect("set the TTL");
    socket
}

/// The packet that the other end of this session would send.
fn forged(session: &Session, state: State) -> Control {
    Control {
        diagnostic: Diagnostic::None,
        state,
        poll: false,
        fin: false,
        independent: false,
        demand: false,
        multiplier: 3.try_into().expect("three"),
        mine: Discriminator::new(session.remote_discriminator.unwrap_or(7)).expect("not zero"),
        yours: Discriminator::new(session.discriminator),
        min_tx: Micros(100_000),
        min_rx: Micros(100_000),
        min_echo_rx: Micros(0),
    }
}

fn frr(link: &Link) -> Frr {
    let config = format!(
        "bfd\n peer {OURS4}\n receive-interval 100\n transmit-interval 100\n detect-multiplier 3\n"
    );
    Frr::start(&link.lab, &link.theirs, &config).expect("FRR starts")
}

#[test]
fn every_packet_of_a_session_leaves_with_ttl_255_as_network_control_from_one_high_port() {
    let link = Link::new("bfd-wire");
    let there = socket(&link, 3784, 255);
    setsockopt(&there, Ipv4RecvTtl, &true).expect("ask for the TTL");
    setsockopt(&there, sockopt::IpRecvTos, &true).expect("ask for the class");
    there.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let bfd = link.bfd(&[settings(THEIRS4)]);
    let mut ports = Vec::new();
    for _ in 0..3 {
        let mut room = [0; 64];
        let mut ancillary = cmsg_space!(i32, i32);
        let mut slices = [IoSliceMut::new(&mut room)];
        let message = recvmsg::<SockaddrIn>(
            there.as_raw_fd(),
            &mut slices,
            Some(&mut ancillary),
            MsgFlags::empty(),
        )
        .expect("a packet");
        let messages: Vec<_> = message.cmsgs().expect("whole").collect();
        assert!(
            messages.contains(&ControlMessageOwned::Ipv4Ttl(255)),
            "{messages:?}"
        );
        assert!(
            messages.contains(&ControlMessageOwned::Ipv4Tos(0xc0)),
            "{messages:?}"
        );
        ports.push(message.address.expect("an address").port());
        let length = message.bytes;
        let control = Control::decode(&room[..length]).expect("BFD");
        assert_eq!((control.state, control.yours), (State::Down, None));
        assert_eq!(control.mine.get(), bfd.session(THEIRS4).discriminator);
    }
    assert!(
        ports[0] >= 49152 && ports.iter().all(|port| *port == ports[0]),
        "{ports:?}"
    );
}

#[test]
fn a_host_behind_a_router_cannot_take_a_session_down_even_if_it_knows_the_discriminators() {
    let link = Link::new("bfd-forged");
    let _frr = frr(&link);
    // In mode `auto` the session listens on both ports.
    let both = Settings {
        mode: Mode::Auto,
        ..settings(THEIRS4)
    };
    let bfd = link.bfd(&[both]);
    let session = bfd.comes(THEIRS4, State::Up);
    assert_eq!(bfd.change().1.state, State::Up);
    let down = forged(&session, State::Down).encode();
    for ttl in [1, 64, 254] {
        let far = socket(&link, 0, ttl);
        far.send_to(&down, (OURS4, 3784)).expect("send");
        far.send_to(&down, (OURS4, 4784)).expect("send");
    }
    let counted = || Ok((bfd.status().drops.get("kernel") == Some(&6)).then_some(()));
    until("they are counted", PATIENCE, counted).expect("they are");
    assert_eq!(bfd.session(THEIRS4).failures, 0);
    // The same packet from the link itself counts, so the test has tried the right thing.
    let near = socket(&link, 0, 255);
    near.send_to(&down, (OURS4, 3784)).expect("send");
    assert_eq!(bfd.change().1.state, State::Down);
}

/// Packets of a flood each millisecond. A queue of the kernel's (`net.core.netdev_max_backlog`, 1000) that overflows also loses
/// the router's packets, on any socket, and the session rightly fails.
const BURST: u32 = 100;

#[test]
fn malformed_packets_and_a_flood_of_them_are_counted_by_reason_and_disturb_no_session() {
    let link = Link::new("bfd-flood");
    let _frr = frr(&link);
    let bfd = link.bfd(&[settings(THEIRS4)]);
    let session = bfd.comes(THEIRS4, State::Up);
    let near = socket(&link, 0, 255);
    let good = forged(&session, State::Up).encode();
    let with = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        bytes.to_vec()
    };
    let stranger = Control {
        yours: Discriminator::new(!session.discriminator),
        ..forged(&session, State::Up)
    };
    for (why, bytes) in [
        ("length", good[..23].to_vec()),
        ("length", with(3, 25)),
        ("version", with(0, 0x40)),
        ("multiplier", with(2, 0)),
        ("multipoint", with(1, 0xc1)),
        (
            "authentication",
            [&with(1, 0xc4)[..3], &[26], &good[4..], &[1, 2]].concat(),
        ),
        (
            "state",
            Control {
                yours: None,
                ..forged(&session, State::Up)
            }
            .encode()
            .to_vec(),
        ),
        ("your_discriminator", stranger.encode().to_vec()),
    ] {
        let count = || {
            let status = bfd.status();
            let of = |drops: &std::collections::BTreeMap<String, u64>| {
                drops.get(why).copied().unwrap_or_default()
            };
            of(&status.sessions[0].drops) + of(&status.drops)
        };
        let before = count();
        near.send_to(&bytes, (OURS4, 3784)).expect("send");
        until(&format!("{why} is counted"), PATIENCE, || {
            Ok((count() == before + 1).then_some(()))
        })
        .expect("it is");
    }
    let until_then = Instant::now() + Duration::from_secs(2);
    let mut flood = 0_u32;
    let garbage = with(0, 0x40);
    while Instant::now() < until_then && flood < 400_000 {
        for _ in 0..BURST {
            near.send_to(&garbage, (OURS4, 3784)).unwrap_or_default();
        }
        flood += BURST;
        sleep(Duration::from_millis(1));
    }
    sleep(Duration::from_millis(500));
    let session = bfd.session(THEIRS4);
    println!(
        "{flood} packets of garbage in two seconds, late packets: {}",
        session.late
    );
    assert_eq!((session.state, session.failures), (State::Up, 0));
    let lost = bfd.status().drops.get("kernel").copied();
    assert_eq!(lost, None, "none was pushed out of our socket");
}

#[test]
fn a_port_that_is_taken_is_named_and_no_session_begins() {
    let link = Link::new("bfd-taken");
    let take = |port| {
        let bind = || UdpSocket::bind(("0.0.0.0", port));
        link.ours.run(bind).expect("enter").expect("bind")
    };
    let far = Settings {
        mode: Mode::MultiHop { min_ttl: 250 },
        ..settings(THEIRS4)
    };
    for (port, wanted, other) in [
        (3784, settings(THEIRS4), far.clone()),
        (4784, far.clone(), settings(THEIRS4)),
    ] {
        let taken = take(port);
        let bfd = link.bfd(&[]);
        let named = format!("UDP port {port} for BFD over IPv4");
        let refusals = [
            bfd.prepare(std::slice::from_ref(&wanted)),
            bfd.try_set(std::slice::from_ref(&wanted)),
        ];
        for refusal in refusals {
            let error = refusal.expect_err("the port is taken").to_string();
            assert!(error.contains(&named), "{error}");
        }
        assert!(bfd.status().sessions.is_empty());
        // A session that listens on the other port does not need this one; the other family has its own.
        bfd.set(&[other, settings("fd00::2")]);
        drop(taken);
        bfd.set(&[wanted]);
        // Ports that no session needs any more are free again once the sessions have sent AdminDown to their peers.
        bfd.set(&[]);
        until("the ports are free", PATIENCE, || {
            let bind = |port| {
                link.ours
                    .run(move || UdpSocket::bind(("0.0.0.0", port)).is_ok())
            };
            Ok((bind(3784)? && bind(4784)?).then_some(()))
        })
        .expect("they are");
        bfd.prepare(&[far.clone(), settings(THEIRS4)])
            .expect("they are free");
        bfd.prepare(&[]).expect("nothing is asked for");
        drop([take(3784), take(4784)]);
    }
}

/// Packets of the flood: at 3 microseconds each, as they once cost, 90 ms.
const FLOOD: u32 = 30_000;

#[test]
fn a_flood_from_unknown_senders_costs_the_real_time_thread_no_time_at_either_port() {
    let link = Link::new("bfd-strangers");
    let frr = frr(&link);
    link.theirs
        .ip(&["addr add 10.0.0.77/24 dev eth1"])
        .expect("a stranger's address");
    let near = settings(THEIRS4);
    let far = Settings {
        mode: Mode::MultiHop { min_ttl: 250 },
        ..settings("10.0.0.9")
    };
    let bfd = link.bfd(&[near, far]);
    let session = bfd.comes(THEIRS4, State::Up);
    let stranger = link
        .theirs
        .run(|| UdpSocket::bind(("10.0.0.77", 0)))
        .expect("enter")
        .expect("bind");
    stranger.set_ttl(255).expect("set the TTL");
    let down = forged(&session, State::Down).encode();
    for port in [3784, 4784] {
        let before = bfd.cpu();
        let began = Instant::now();
        for number in 0..FLOOD {
            stranger.send_to(&down, (OURS4, port)).expect("send");
            if number % BURST == 0 {
                sleep(Duration::from_micros(500));
            }
        }
        sleep(Duration::from_millis(200));
        let (spent, took) = (bfd.cpu().saturating_sub(before), began.elapsed());
        // What the session costs by itself.
        let idle = bfd.cpu();
        sleep(took);
        let idle = bfd.cpu().saturating_sub(idle);
        println!("{FLOOD} packets of a stranger at port {port}: {spent:?}, and {idle:?} without");
        assert!(
            spent.saturating_sub(idle) < Duration::from_millis(9),
            "{spent:?} {idle:?}"
        );
    }
    let session = bfd.session(THEIRS4);
    assert_eq!((session.state, session.failures), (State::Up, 0));
    assert!(
        bfd.status().drops["kernel"] >= u64::from(FLOOD),
        "{:?}",
        bfd.status().drops
    );
    drop(frr);
}

#[test]
fn packets_of_a_peer_are_accepted_as_soon_as_it_is_configured_even_among_200_peers() {
    let link = Link::new("bfd-peers");
    let _frr = frr(&link);
    let peer = |number: u32| settings(&format!("10.1.{}.{}", number / 200, 1 + number % 200));
    let many: Vec<Settings> = (0..200)
        .map(|number| Settings {
            passive: true,
            ..peer(number)
        })
        .collect();
    let bfd = link.bfd(&many);
    assert_eq!(bfd.status().sessions.len(), 200);
    bfd.set(&[&many[..], &[settings(THEIRS4)]].concat());
    bfd.comes(THEIRS4, State::Up);
    bfd.set(&many);
    bfd.set(&[&many[..100], &[settings(THEIRS4)]].concat());
    bfd.comes(THEIRS4, State::Up);
}

#[test]
fn packets_of_a_peer_off_the_list_of_routers_are_ignored_and_the_list_changes_live() {
    let link = Link::new("bfd-routers");
    let _frr = frr(&link);
    let list = |lines: &[&str]| {
        let mut entries = Entries::default();
        for line in lines {
            entries.push_prefix(line.parse().expect("a prefix"));
        }
        Routers::listed(entries)
    };
    let bfd = link.bfd(&[]);
    bfd.routers(list(&["10.0.0.99/32", "fd00::/64"]));
    bfd.set(&[settings(THEIRS4)]);
    sleep(Duration::from_secs(2));
    assert_eq!(bfd.session(THEIRS4).received, 0);
    bfd.routers(list(&["10.0.0.0/24"]));
    bfd.comes(THEIRS4, State::Up);
    assert_eq!(bfd.change().1.state, State::Up);
    bfd.routers(list(&[]));
    assert_eq!(bfd.change().1.state, State::Down);
    bfd.routers(Routers::default());
    bfd.comes(THEIRS4, State::Up);
}

#[test]
fn a_source_address_and_an_interface_may_come_after_their_session() {
    let link = Link::new("bfd-later");
    let frr = frr(&link);
    frr.configure("bfd\n peer 10.0.0.7\n").expect("configure");
    let later = Settings {
        local: Some("10.0.0.7".parse().expect("an address")),
        interface: Some("eth7".to_owned()),
        mode: Mode::Auto,
        timers: every(300),
        ..settings(THEIRS4)
    };
    let bfd = link.bfd(&[later]);
    let failed = || Ok(bfd.session(THEIRS4).send_error);
    let error = until("sending fails", PATIENCE, failed).expect("it does");
    assert!(error.contains("No such device"), "{error}");
    link.ours
        .ip(&[
            "link set eth1 down",
            "link set eth1 name eth7",
            "addr add 10.0.0.7/24 dev eth7",
            "link set eth7 up",
        ])
        .expect("the interface and its address");
    bfd.comes(THEIRS4, State::Up);
}
