//! Neighbours that break the protocol, beside one that keeps it.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use ober_tests::peers::Frr;
use ober_user::announce::gate::Standing;

use crate::{
    router::{Router, Setup},
    topology::{ROUTER4, Topology, VIP4},
};

const PORT: u16 = 1790;

/// The end of a rogue's connection with the node.
pub(crate) struct Rogue(pub(crate) TcpStream);

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("short");
    let mut bytes = vec![0xff; 16];
    bytes.extend(length.to_be_bytes());
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

/// Version, AS, hold time, identifier, no parameters.
pub(crate) fn open(version: u8, asn: u16, hold_time: u16) -> Vec<u8> {
    let [a, b] = asn.to_be_bytes();
    let [c, d] = hold_time.to_be_bytes();
    message(1, &[version, a, b, c, d, 10, 9, 0, 77, 0])
}

pub(crate) fn keepalive() -> Vec<u8> {
    message(4, &[])
}

impl Rogue {
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        // The node may have closed already: that is its answer.
        self.0.write_all(bytes).unwrap_or_default();
    }

    /// The next message of the node: its type and body.
    pub(crate) fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 19];
        self.0.read_exact(&mut header).ok()?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let mut body = vec![0; length - 19];
        self.0.read_exact(&mut body).ok()?;
        Some((header[18], body))
    }

    /// Code and subcode of the NOTIFICATION that ends the session.
    pub(crate) fn end(&mut self) -> Option<(u8, u8)> {
        while let Some((kind, body)) = self.hear() {
            if kind == 3 {
                return Some((body[0], body[1]));
            }
        }
        None
    }

    fn establish(&mut self) {
        self.say(&open(4, 65077, 90));
        self.say(&keepalive());
        while self.hear().is_some_and(|(kind, _)| kind != 2) {}
    }
}

/// Code and subcode of a NOTIFICATION.
type Answer = Option<(u8, u8)>;
type Script = fn(&mut Rogue) -> Answer;

/// What each does after the node's OPEN, how the node must answer, and a word of what it must report.
const ROGUES: [(Script, Answer, &str); 16] = [
    (
        |it| {
            it.say(b"GET / HTTP/1.1\r\n\r\n");
            it.end()
        },
        Some((1, 1)),
        "Not Synchronized",
    ),
    (
        |it| {
            it.say(&[0xff; 16]);
            it.say(&[0xff, 0xff, 2]);
            it.end()
        },
        Some((1, 2)),
        "Length",
    ),
    (
        |it| {
            it.say(&message(9, &[]));
            it.end()
        },
        Some((1, 3)),
        "Message Type",
    ),
    (
        |it| {
            it.say(&open(4, 65078, 90));
            it.end()
        },
        Some((2, 2)),
        "Bad Peer AS",
    ),
    (
        |it| {
            it.say(&open(3, 65077, 90));
            it.end()
        },
        Some((2, 1)),
        "Version",
    ),
    (
        |it| {
            it.say(&open(4, 65077, 2));
            it.end()
        },
        Some((2, 6)),
        "Hold Time",
    ),
    (
        |it| {
            it.say(&keepalive());
            it.end()
        },
        Some((5, 1)),
        "(5/1)",
    ),
    (
        |it| {
            it.establish();
            it.say(&open(4, 65077, 90));
            it.end()
        },
        Some((5, 3)),
        "(5/3)",
    ),
    (
        |it| {
            it.establish();
            it.say(&message(2, &[255, 255, 0, 0]));
            it.end()
        },
        Some((3, 1)),
        "Malformed Attribute",
    ),
    // RFC 7313 section 5, of a message that is longer than what a NOTIFICATION can quote.
    (
        |it| {
            it.establish();
            it.say(&message(5, &[&[0, 1, 0, 1][..], &[0x78; 4053]].concat()));
            it.end()
        },
        Some((7, 1)),
        "(7/1)",
    ),
    // RFC 4271 section 6.3: a well-known attribute that no standard names.
    (
        |it| {
            it.establish();
            let attributes = [
                0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0xfe, 0x35, 0x40, 3, 4, 10, 9, 0, 100, 0x40, 0xc8,
                3, 0, 1, 2,
            ];
            it.say(&message(
                2,
                &[&[0, 0, 0, 24][..], &attributes, &[8, 11]].concat(),
            ));
            it.end()
        },
        Some((3, 2)),
        "(3/2)",
    ),
    // RFC 7606 section 5.2: an UPDATE with a fault and without a reachable route.
    (
        |it| {
            it.establish();
            it.say(&message(2, &[0, 0, 0, 4, 0x40, 1, 1, 7]));
            it.end()
        },
        Some((3, 6)),
        "(3/6)",
    ),
    // Half a message, then the end of the connection.
    (
        |it| {
            it.say(&open(4, 65077, 90)[..25]);
            it.leave()
        },
        None,
        "in the middle of a message",
    ),
    // The connection ends in every state.
    (|it| it.leave(), None, "the connection ended in open-sent"),
    (
        |it| {
            it.say(&open(4, 65077, 90));
            while it.hear().is_some_and(|(kind, _)| kind != 4) {}
            it.leave()
        },
        None,
        "the connection ended in open-confirm",
    ),
    (
        |it| {
            it.establish();
            it.leave()
        },
        None,
        "the connection ended in established",
    ),
];

impl Rogue {
    fn leave(&mut self) -> Option<(u8, u8)> {
        self.0.shutdown(Shutdown::Both).expect("leave");
        None
    }
}

fn address(number: usize) -> String {
    format!("10.9.0.{}", 100 + number)
}

/// `[bgp]` with a good neighbour and this many bad ones.
fn beside_a_good_one(rogues: usize) -> String {
    let mut config = format!(
        "[bgp]\nas = 65001\nlisten = ['0.0.0.0:179']\n[[bgp.neighbours]]\naddress = '{ROUTER4}'\nas = 65002\n"
    );
    for number in 0..rogues {
        let address = address(number);
        config += &[
            "[[bgp.neighbours]]\naddress = \'",
            &address,
            "\'\nas = 65077\nconnect_retry = \'1s\'\nport = 1790\n",
        ]
        .concat();
    }
    config
}

pub(crate) fn rogue_topology(name: &str, rogues: usize) -> Topology {
    let topology = Topology::new(name);
    let lines: Vec<String> = (0..rogues)
        .map(|number| format!("addr add {}/24 dev r0", address(number)))
        .collect();
    topology.router.ip(&lines).expect("addresses of the rogues");
    topology
}

pub(crate) fn listener(topology: &Topology, number: usize) -> TcpListener {
    let at: SocketAddr = format!("{}:{PORT}", address(number))
        .parse()
        .expect("an address");
    topology
        .router
        .run(|| TcpListener::bind(at))
        .expect("enter the router")
        .expect("listen")
}

pub(crate) fn meet(listener: &TcpListener) -> Rogue {
    let (stream, _) = listener.accept().expect("the node connects");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a limit");
    stream.set_nodelay(true).expect("no delay");
    let mut rogue = Rogue(stream);
    assert_eq!(rogue.hear().expect("an OPEN").0, 1);
    rogue
}

#[test]
fn a_misbehaving_neighbour_is_answered_as_the_standard_says_and_disturbs_no_other_session() {
    let topology = rogue_topology("bgp-rogue", ROGUES.len());
    let frr = <Frr as Router>::start(&topology, &Setup::default());
    let listeners: Vec<TcpListener> = (0..ROGUES.len())
        .map(|number| listener(&topology, number))
        .collect();
    let speaker = topology.speak(&beside_a_good_one(ROGUES.len()));
    speaker.established(ROUTER4);
    std::thread::scope(|scope| {
        for (number, (script, answer, expected)) in ROGUES.iter().enumerate() {
            let (listener, speaker) = (&listeners[number], &speaker);
            scope.spawn(move || {
                let mut rogue = meet(listener);
                assert_eq!(script(&mut rogue), *answer, "rogue {number}");
                speaker.until(&address(number), expected, |it| {
                    it.last_failure
                        .as_ref()
                        .is_some_and(|failure| failure.contains(expected))
                });
            });
        }
    });
    let good = speaker.neighbour(ROUTER4);
    assert_eq!((good.state.name(), good.flaps), ("established", 0));
    speaker.stand(VIP4, Standing::Depreferenced);
    speaker.flush();
    assert!(frr.route("192.0.2.10/32").is_some());
}

#[test]
fn a_flood_of_messages_does_not_hold_up_a_withdraw() {
    let topology = rogue_topology("bgp-floods", 2);
    let listeners = [listener(&topology, 0), listener(&topology, 1)];
    let speaker = topology.speak(&beside_a_good_one(2));
    let mut flood = meet(&listeners[0]);
    flood.establish();
    let mut quiet = meet(&listeners[1]);
    quiet.establish();
    let mut writer = flood.0.try_clone().expect("a second handle");
    let many = keepalive().repeat(3000);
    let flooding = std::thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) && writer.write_all(&many).is_ok() {}
    });
    let mut took = Vec::new();
    for round in 0..40 {
        std::thread::sleep(Duration::from_millis(20));
        let standing = if round % 2 == 0 {
            Standing::Withdrawn
        } else {
            Standing::Announced
        };
        let began = Instant::now();
        speaker.stand(VIP4, standing);
        while quiet.hear().expect("an UPDATE").0 != 2 {}
        took.push(began.elapsed());
    }
    flooding.join().expect("the flood");
    took.sort();
    println!(
        "under a flood, decision to bytes at the neighbour: median {:?}, worst {:?}",
        took[20], took[39]
    );
    assert!(took[20] < Duration::from_millis(200), "{took:?}");
    let heard = speaker.neighbour(&address(0)).messages["keepalive"].received;
    println!("keepalives of the flood that were heard: {heard}");
    assert!(heard > 10_000, "{heard}");
    assert_eq!(speaker.neighbour(&address(0)).flaps, 0);
}

#[test]
fn a_withdrawal_reaches_the_neighbour_at_once() {
    let topology = rogue_topology("bgp-fast", 1);
    let listener = listener(&topology, 0);
    let speaker = topology.speak(&beside_a_good_one(1));
    let mut rogue = meet(&listener);
    rogue.establish();
    let mut took = Vec::new();
    for round in 0..100 {
        std::thread::sleep(Duration::from_millis(5));
        let standing = if round % 2 == 0 {
            Standing::Withdrawn
        } else {
            Standing::Announced
        };
        let began = Instant::now();
        speaker.stand(VIP4, standing);
        while rogue.hear().expect("an UPDATE").0 != 2 {}
        took.push(began.elapsed());
    }
    took.sort();
    println!(
        "decision to bytes at the neighbour: median {:?}, worst {:?}",
        took[50], took[99]
    );
    assert!(took[50] < Duration::from_millis(50), "{took:?}");
}

#[test]
fn a_connection_from_an_unknown_address_is_closed_and_counted() {
    let topology = rogue_topology("bgp-stranger", 1);
    let speaker = topology.speak(&beside_a_good_one(0));
    let strange = || {
        let socket = socket2_from("10.9.0.100:0");
        socket
            .connect(
                &"10.9.0.1:179"
                    .parse::<SocketAddr>()
                    .expect("an address")
                    .into(),
            )
            .map(|()| TcpStream::from(socket))
    };
    let stream = topology
        .router
        .run(strange)
        .expect("enter the router")
        .expect("the port is open");
    let mut stranger = Rogue(stream);
    // The stranger sends first, as a router would, and still receives the reason of the refusal.
    stranger.say(&open(4, 65077, 90));
    assert_eq!(stranger.end(), Some((6, 5)));
    assert!(speaker.handle.strangers() >= 1);
}

/// RFC 4486 section 4: a known neighbour that connects a second time, or too soon.
#[test]
fn an_unwanted_connection_is_refused_with_a_notification() {
    let topology = rogue_topology("bgp-refused", 1);
    let listener = listener(&topology, 0);
    let speaker = topology.speak(&beside_a_good_one(1));
    let mut rogue = meet(&listener);
    rogue.establish();
    let connect = || {
        let stream = topology
            .router
            .run(|| {
                let socket = socket2_from("10.9.0.100:0");
                let to: SocketAddr = "10.9.0.1:179".parse().expect("an address");
                socket.connect(&to.into()).expect("the port is open");
                TcpStream::from(socket)
            })
            .expect("enter the router");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a limit");
        Rogue(stream)
    };
    // While the session is up our own connection is the one that stays: theirs is closed once its OPEN is there.
    let mut second = connect();
    second.say(&open(4, 65077, 90));
    assert!(matches!(second.end(), Some((6, 5 | 7))));
    assert_eq!(speaker.neighbour(&address(0)).flaps, 0);
    // In the pause after a session that the neighbour ended itself.
    rogue.say(&message(3, &[6, 2]));
    speaker.until(&address(0), "idle", |it| it.state.name() == "idle");
    let mut early = connect();
    early.say(&open(4, 65077, 90));
    assert_eq!(early.end(), Some((6, 5)));
}

#[test]
fn a_notification_sent_before_the_connection_broke_is_read() {
    let reason = b"gone till six";
    let gone = [&[6, 2, 13][..], reason].concat();
    for (words, code, text) in [
        (&gone[..], (6, 2), Some("gone till six")),
        (&[2, 2], (2, 2), None),
    ] {
        let topology = rogue_topology("bgp-last-words", 8);
        let listeners: Vec<TcpListener> =
            (0..8).map(|number| listener(&topology, number)).collect();
        let speaker = topology.speak(&beside_a_good_one(8));
        for listener in &listeners {
            let (mut stream, _) = listener.accept().expect("the node connects");
            let both = [open(4, 65077, 90), message(3, words)].concat();
            stream.write_all(&both).expect("say it");
            // Closed with the node's OPEN unread: the next write of the node fails.
        }
        for number in 0..8 {
            speaker.until(&address(number), "told why", |it| {
                let said = it.last_received.as_ref();
                said.is_some_and(|said| {
                    (said.code, said.subcode) == code && said.text.as_deref() == text
                })
            });
        }
    }
}

fn socket2_from(source: &str) -> socket2::Socket {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket
        .bind(&source.parse::<SocketAddr>().expect("an address").into())
        .expect("bind");
    socket
}
