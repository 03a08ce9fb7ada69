//! `backend-setup` between two machines on one wire: the kernel of the one asks by ARP and by neighbour solicitations, that of the
//! other answers, or leaves it.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread::sleep,
    time::{Duration, Instant},
};

use ober_programs::{CAT, IP, MKDIR, SETPRIV, SH};

use crate::{Ran, living::Machine, ober};

const VIPS: [&str; 2] = ["10.9.0.100", "fd09::100"];
const PORT: u16 = 7480;
const LIMIT: Duration = Duration::from_secs(10);

/// A balancer and a storage server on one wire.
struct Wire {
    balancer: Machine,
    server: Machine,
    /// The address of the server's card.
    card: String,
}

fn ip(machine: &Machine, words: &str) -> String {
    machine.run(&IP.args(words.split(' ')))
}

fn set(machine: &Machine, key: &str, value: &str) {
    let path = format!("/proc/sys/net/{key}");
    machine.within(|| std::fs::write(path, value).unwrap());
}

impl Wire {
    fn new() -> Self {
        let (balancer, server) = (Machine::new(), Machine::new());
        let pair = format!(
            "link add s0 type veth peer name b0 netns {}",
            balancer.pid()
        );
        ip(&server, &pair);
        for (machine, name, number) in [(&balancer, "b0", 1), (&server, "s0", 2)] {
            ip(
                machine,
                &format!("address add 10.9.0.{number}/24 dev {name}"),
            );
            ip(
                machine,
                &format!("-6 address add fd09::{number}/64 dev {name} nodad"),
            );
            ip(machine, &format!("link set {name} up"));
        }
        for family in ["ipv4", "ipv6"] {
            // Silence is certain sooner.
            set(
                &balancer,
                &format!("{family}/neigh/b0/retrans_time_ms"),
                "100",
            );
        }
        let shown = ip(&server, "-json link show s0");
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let card = shown[0]["address"].as_str().unwrap().to_owned();
        Self {
            balancer,
            server,
            card,
        }
    }

    /// Does the server answer when the balancer asks who has this address?
    fn is_answered(&self, vip: &str) -> bool {
        ip(&self.balancer, "neigh flush dev b0");
        let all = if vip.contains(':') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let to = SocketAddr::new(vip.parse().unwrap(), 9);
        let send = || UdpSocket::bind(all).unwrap().send_to(b"x", to);
        self.balancer.within(send).unwrap();
        let since = Instant::now();
        while since.elapsed() < LIMIT {
            let shown = ip(&self.balancer, &format!("-json neigh show {vip} dev b0"));
            let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
            let neighbour = &shown[0];
            if neighbour["lladdr"] == self.card.as_str() {
                return true;
            }
            if neighbour["state"][0] == "FAILED" {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("the kernel asks on for {vip}");
    }

    /// Frames to the server's card with the VIP as their destination reach a listener there, which sees the VIP as its own
    /// address, and what it answers comes from the VIP: the client takes it.
    fn serves(&self, vip: &str) {
        let at = SocketAddr::new(vip.parse().unwrap(), PORT);
        let card = &self.card;
        ip(
            &self.balancer,
            &format!("neigh replace {vip} lladdr {card} dev b0 nud permanent"),
        );
        let any: IpAddr = if at.is_ipv4() {
            [0; 4].into()
        } else {
            [0_u16; 8].into()
        };
        let listen = || TcpListener::bind((any, PORT)).unwrap();
        let listener = self.server.within(listen);
        let connect = || TcpStream::connect_timeout(&at, LIMIT).unwrap();
        let mut client = self.balancer.within(connect);
        let (mut accepted, _) = listener.accept().unwrap();
        assert_eq!(accepted.local_addr().unwrap(), at);
        accepted.write_all(b"answer").unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        ip(&self.balancer, &format!("neigh del {vip} dev b0"));
    }

    fn setup(&self, arguments: &[&str]) -> Ran {
        self.server.output(&ober("backend-setup", arguments))
    }

    /// What it may change, apart from files.
    fn state(&self) -> [String; 2] {
        let read = || {
            let keys = ["all", "default", "s0", "lo"].map(|interface| {
                ["arp_ignore", "arp_announce", "rp_filter"].map(|key| {
                    let path = format!("/proc/sys/net/ipv4/conf/{interface}/{key}");
                    std::fs::read_to_string(path).unwrap()
                })
            });
            format!("{keys:?}")
        };
        let addresses = ip(&self.server, "-oneline address show");
        // The kernel makes those of the link itself, and proves them meanwhile.
        let lasting = addresses.lines().filter(|it| !it.contains("scope link"));
        let addresses = lasting.collect::<Vec<_>>().join("\n");
        [self.server.within(read), addresses]
    }

    /// As a storage server must be for a balancer in mode dr.
    fn is_set_up(&self) {
        for vip in VIPS {
            assert!(!self.is_answered(vip), "{vip} is answered for");
            self.serves(vip);
        }
        // Its own address is found as before.
        assert!(self.is_answered("10.9.0.2") && self.is_answered("fd09::2"));
    }
}

const WORDS: [&str; 6] = ["--vip", VIPS[0], VIPS[1], "--interface", "s0", "-y"];

#[test]
fn a_storage_server_takes_packets_for_the_vips_and_leaves_their_neighbours_questions_to_the_balancer()
 {
    let wire = Wire::new();
    let before = wire.state();
    // Without the settings it does answer: for IPv4 also for an address of lo, for IPv6 for one of the card.
    ip(&wire.server, "address add 10.9.0.100/32 dev lo");
    ip(&wire.server, "-6 address add fd09::100/128 dev s0 nodad");
    for vip in VIPS {
        assert!(wire.is_answered(vip), "{vip}");
    }
    ip(&wire.server, "-6 address del fd09::100/128 dev s0");
    ip(&wire.server, "-6 address add fd09::100/128 dev lo nodad");
    assert!(
        !wire.is_answered(VIPS[1]),
        "an address of lo is solicited in vain"
    );
    ip(&wire.server, "-6 address del fd09::100/128 dev lo");
    ip(&wire.server, "address del 10.9.0.100/32 dev lo");
    assert_eq!(wire.state(), before);

    wire.setup(&["--vip", VIPS[0], VIPS[1], "--interface", "s0", "--dry-run"])
        .says(
            4,
            &[
                "arp_ignore: 0 -> 1",
                "VIP 10.9.0.100/32 on lo: absent -> there",
            ],
        );
    assert_eq!(wire.state(), before, "a dry run changes nothing");
    wire.setup(&WORDS).says(0, &["backend: "]);
    wire.is_set_up();
    wire.setup(&WORDS).says(0, &["nothing to do"]);
    wire.setup(&["--undo", "-y"])
        .says(0, &["VIP 10.9.0.100/32 on lo: there -> absent"]);
    assert_eq!(wire.state(), before);
    assert!(wire.server.left().is_empty(), "{:?}", wire.server.left());
}

#[test]
fn the_printed_script_does_the_same_on_a_server_without_this_program() {
    let wire = Wire::new();
    let shown = wire.setup(&[
        "--vip",
        VIPS[0],
        VIPS[1],
        "--interface",
        "s0",
        "--print",
        "sh",
    ]);
    shown.says(0, &["#!/bin/sh"]);
    let script = || SH.script(&shown.out, &[&IP, &MKDIR, &CAT]);
    for _ in 0..2 {
        wire.server.run(&script());
    }
    wire.is_set_up();
    let file = wire.server.seen("/etc/sysctl.d/60-ober-vip.conf");
    let written = std::fs::read_to_string(&file).unwrap();
    let after = wire.state();
    // The command finds all as it would make it, but for a file that it has not written and leaves.
    let ran = wire.setup(&WORDS);
    ran.says(0, &["nothing to do"]);
    assert_eq!(wire.state(), after);
    let other = Wire::new();
    other.setup(&WORDS).says(0, &[]);
    let file = other.server.seen("/etc/sysctl.d/60-ober-vip.conf");
    assert_eq!(std::fs::read_to_string(file).unwrap(), written);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_changed() {
    let wire = Wire::new();
    let before = wire.state();
    wire.setup(&["--vip", "10.9.0.2", "-y"]).says(
        1,
        &["10.9.0.2/32: it is an address of s0", "ip address del"],
    );
    wire.setup(&["--vip", VIPS[0], "--interface", "s9", "-y"])
        .says(1, &["s9: there is no such interface"]);
    for (words, why) in [
        (&["--vip", "10.9.0.0/24"][..], "is a network"),
        (&["--vip", "rgw1"], "an address is wanted"),
        (&["-y"], "--vip"),
        (&["--vip", VIPS[0]], "`-y` makes them without a question"),
    ] {
        wire.setup(words).says(2, &[why]);
    }
    let account = [
        "--reuid",
        "65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ];
    let stranger = SETPRIV.before(account, &ober("backend-setup", &WORDS));
    wire.server
        .output(&stranger)
        .says(1, &["not enough privileges", "CAP_NET_ADMIN"]);
    assert_eq!(wire.state(), before);
    assert!(wire.server.left().is_empty(), "{:?}", wire.server.left());
}
