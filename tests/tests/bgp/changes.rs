//! What a reload does to sessions: only a change of what the session was opened with ends it, and what belongs to a neighbour
//! goes with it.

use std::time::Duration;

use crate::{
    rogue::{Rogue, keepalive, listener, meet, message, open, rogue_topology},
    topology::{Speaker, Topology, VIP4},
};

/// The neighbours of these tests are rogues that keep the protocol.
const FIRST: &str = "10.9.0.100";
const SECOND: &str = "10.9.0.101";

fn neighbour(address: &str, more: &str) -> String {
    let retry = if more.contains("connect_retry") {
        ""
    } else {
        "connect_retry = '1s'"
    };
    format!("[[bgp.neighbours]]\naddress = '{address}'\nas = 65077\nport = 1790\n{retry}\n{more}\n")
}

/// `[bgp]` with both, and more keys of the section and of the first.
fn both(section: &str, first: &str) -> String {
    format!(
        "[bgp]\nas = 65001\n{section}\n{}{}",
        neighbour(FIRST, first),
        neighbour(SECOND, "")
    )
}

/// Both sessions up; the VIPs advertised.
fn up(name: &str) -> (Topology, Speaker, [Rogue; 2]) {
    let topology = rogue_topology(name, 2);
    let listeners = [listener(&topology, 0), listener(&topology, 1)];
    let speaker = topology.speak(&both("", ""));
    let rogues = listeners.each_ref().map(|listener| {
        let mut rogue = meet(listener);
        rogue.say(&open(4, 65077, 90));
        rogue.say(&keepalive());
        rogue
    });
    for address in [FIRST, SECOND] {
        speaker.established(address);
    }
    (topology, speaker, rogues)
}

/// The kinds of the messages that come within a moment; a NOTIFICATION is 3.
fn heard(rogue: &mut Rogue) -> Vec<(u8, Vec<u8>)> {
    rogue
        .0
        .set_read_timeout(Some(Duration::from_millis(700)))
        .expect("a limit");
    let mut all = Vec::new();
    while let Some(message) = rogue.hear() {
        all.push(message);
    }
    all
}

#[test]
fn other_settings_change_without_a_reset() {
    let (_stage, speaker, mut rogues) = up("bgp-beside");
    for rogue in &mut rogues {
        heard(rogue);
    }
    for (section, first) in [
        ("settle = '20s'", ""),
        ("", "connect_retry = '9s'"),
        ("", "keepalive = '5s'"),
        ("", "max_prefixes = 7"),
        ("", "max_prefixes = 5"),
        ("", "next_hops = ['10.9.0.7']"),
        ("", "bfd = 'default'"),
        ("", "bfd = 'default'\nbfd_mode = 'multi-hop'"),
        ("", "bfd = 'default'\nstrict = true"),
        ("", "delay_open = '1s'"),
        ("", "mss = 1000"),
        ("listen = ['0.0.0.0:179']", "passive = true"),
        ("", ""),
    ] {
        for rogue in &mut rogues {
            // Without this the hold time would end a session that is to stay.
            rogue.say(&keepalive());
        }
        speaker.configure(&both(section, first));
        for (rogue, address) in rogues.iter_mut().zip([FIRST, SECOND]) {
            let said = heard(rogue);
            assert!(
                said.iter().all(|(kind, _)| *kind != 3),
                "{section}{first}: {address} was told {said:?}"
            );
            let neighbour = speaker.neighbour(address);
            assert_eq!(
                (neighbour.state.name(), neighbour.flaps),
                ("established", 0),
                "{section}{first}: {address}"
            );
        }
    }
}

#[test]
fn a_changed_open_setting_ends_that_session_alone() {
    for first in [
        "hold_time = '30s'",
        "local_as = 65009",
        "families = ['ipv4']",
    ] {
        let (_stage, speaker, mut rogues) = up("bgp-made-of");
        for rogue in &mut rogues {
            heard(rogue);
        }
        speaker.configure(&both("", first));
        let [first_said, second_said] = rogues.each_mut().map(heard);
        let ends = first_said.iter().find(|(kind, _)| *kind == 3);
        assert!(
            ends.is_some_and(|(_, body)| body[..2] == [6, 6]),
            "{first}: {first_said:?}"
        );
        assert!(second_said.iter().all(|(kind, _)| *kind != 3), "{first}");
        assert_eq!(speaker.neighbour(SECOND).flaps, 0, "{first}");
    }
}

#[test]
fn new_next_hops_are_sent_in_updates_and_a_new_limit_counts_at_once() {
    let (_stage, speaker, mut rogues) = up("bgp-follow");
    for rogue in &mut rogues {
        heard(rogue);
    }
    speaker.configure(&both("", "next_hops = ['10.9.0.7']\nmax_prefixes = 1"));
    let [first, second] = rogues.each_mut().map(heard);
    let carries = |(kind, body): &(u8, Vec<u8>)| {
        *kind == 2
            && body
                .windows(7)
                .any(|bytes| bytes == [0x40, 3, 4, 10, 9, 0, 7])
    };
    assert!(first.iter().any(carries), "{first:?}");
    assert!(!second.iter().any(|(kind, _)| *kind == 2), "{second:?}");
    let announced = speaker.neighbour(FIRST).announced;
    let route = announced
        .iter()
        .find(|it| it.prefix.starts_with(VIP4))
        .expect("announced");
    assert_eq!(route.next_hop.to_string(), "10.9.0.7");
    // ORIGIN, AS_PATH of two octets each, NEXT_HOP; 11.0.0.0/8 and 12.0.0.0/8.
    let routes = [
        0, 0, 0, 18, 0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0xfe, 0x35, 0x40, 3, 4, 10, 9, 0, 100, 8, 11,
        8, 12,
    ];
    rogues[0].say(&message(2, &routes));
    assert_eq!(rogues[0].end(), Some((6, 1)));
}

#[test]
fn a_neighbour_of_either_family_leaves_by_a_reload_wherever_this_node_listens() {
    let topology = Topology::new("bgp-leaves");
    let four = neighbour("10.9.2.98", "");
    let six = neighbour("fd09::98", "");
    let signed = |address: &str| neighbour(address, "password = 'hush'");
    for listen in [
        "['0.0.0.0:179', '[::]:179']",
        "['0.0.0.0:179']",
        "['[::]:179']",
        "[]",
    ] {
        let with = |neighbours: &[&str]| {
            format!(
                "[bgp]\nas = 65001\nlisten = {listen}\n{four}{six}{}",
                neighbours.concat()
            )
        };
        let speaker = topology.listen(&with(&[&neighbour("10.9.2.99", ""), &signed("fd09::99")]));
        // Each goes, and another comes in its place, signed or not.
        for neighbours in [
            vec![neighbour("10.9.2.99", "")],
            vec![signed("10.9.2.99"), neighbour("fd09::99", "")],
            vec![signed("fd09::99")],
            vec![],
            vec![neighbour("fd09::99", ""), neighbour("10.9.2.99", "")],
            vec![],
        ] {
            let neighbours: Vec<&str> = neighbours.iter().map(String::as_str).collect();
            speaker.configure(&with(&neighbours));
            let mut there = speaker.neighbours();
            there.retain(|it| it.address.to_string().ends_with("99"));
            assert_eq!(there.len(), neighbours.len(), "{listen}: {there:?}");
        }
    }
}

#[test]
fn a_bgp_change_that_cannot_be_prepared_or_is_dropped_has_no_effect() {
    let (topology, speaker, mut rogues) = up("bgp-prepare");
    for rogue in &mut rogues {
        heard(rogue);
    }
    let taken = topology
        .node
        .run(|| std::net::TcpListener::bind("10.9.0.1:1179"))
        .expect("enter the node")
        .expect("take a port");
    let listens = "listen = ['10.9.0.1:1178', '10.9.0.1:1179']";
    // The first neighbour would end, the second change.
    let next = format!(
        "[bgp]\nas = 65001\n{listens}\n{}",
        neighbour(SECOND, "hold_time = '30s'")
    );
    let refusal = speaker.try_prepare(&next).expect_err("the port is taken");
    assert!(refusal.contains("10.9.0.1:1179"), "{refusal}");
    drop(taken);
    speaker.try_prepare(&next).expect("the port is free");
    for (rogue, address) in rogues.iter_mut().zip([FIRST, SECOND]) {
        assert!(heard(rogue).iter().all(|(kind, _)| *kind != 3));
        assert_eq!(speaker.neighbour(address).flaps, 0);
    }
    let free = || std::net::TcpListener::bind("10.9.0.1:1178").map(drop);
    topology
        .node
        .run(free)
        .expect("enter the node")
        .expect("the port is free again");
}
