use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use proptest::{prelude::*, sample::Index};

use super::*;

/// A packet for a socket filter: its bytes, and where the network header and the socket's own data begin.
struct Packet {
    bytes: Vec<u8>,
    network: usize,
    own: usize,
}

impl Packet {
    fn byte(&self, at: usize) -> Option<u32> {
        self.bytes.get(at).map(|byte| u32::from(*byte))
    }

    fn place(&self, value: u32, behind: u32) -> usize {
        let (base, offset) = match value.checked_sub(NETWORK) {
            Some(offset) => (self.network, offset),
            None => (self.own, value),
        };
        base + offset as usize + behind as usize
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().unwrap()))
    }

    /// Is it taken? Interprets classic BPF as the kernel does (`Documentation/networking/filter.rst`): a load outside the
    /// packet drops it.
    fn passes(&self, block: &Block) -> bool {
        let (mut a, mut x, mut cells, mut at) = (0, 0, [0; 16], 0);
        loop {
            let (code, yes, no, value) = block.0[at];
            at += 1;
            let loaded = match code {
                LOAD_WORD => self.word(self.place(value, 0)),
                LOAD_BYTE => self.byte(self.place(value, 0)),
                LOAD_BYTE_BEHIND => self.byte(self.place(value, x)),
                LOAD_KEPT => Some(cells[value as usize]),
                LOAD_HEADER_LENGTH => {
                    let Some(byte) = self.byte(self.place(value, 0)) else {
                        return false;
                    };
                    x = 4 * (byte & 0xf);
                    continue;
                }
                KEEP => {
                    cells[value as usize] = a;
                    continue;
                }
                AND => Some(a & value),
                JUMP => {
                    at += value as usize;
                    continue;
                }
                JUMP_IF_EQUAL | JUMP_IF_AT_LEAST => {
                    let holds = if code == JUMP_IF_EQUAL {
                        a == value
                    } else {
                        a >= value
                    };
                    at += usize::from(if holds { yes } else { no });
                    continue;
                }
                RETURN => return value != 0,
                other => panic!("{other:#x}"),
            };
            match loaded {
                Some(value) => a = value,
                None => return false,
            }
        }
    }
}

/// A UDP datagram, or one of a raw IPv6 socket: its own data begins behind the IP header.
fn packet(from: IpAddr, ttl: u8, payload: &[u8]) -> Packet {
    let mut bytes = vec![0xaa; 3];
    let network = bytes.len();
    match from {
        IpAddr::V4(from) => {
            // With an option, so that the header is longer than usual.
            bytes.extend([0x46, 0, 0, 0, 0, 0, 0, 0, ttl, 112, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend([224, 0, 0, 18, 1, 1, 1, 0]);
        }
        IpAddr::V6(from) => {
            bytes.extend([0x60, 0, 0, 0, 0, 0, 112, ttl]);
            bytes.extend(from.octets());
            bytes.extend([0xff; 16]);
        }
    }
    let own = bytes.len();
    bytes.extend(payload);
    Packet {
        bytes,
        network,
        own,
    }
}

fn takes(program: &Block, from: IpAddr, ttl: u8) -> bool {
    packet(from, ttl, &[]).passes(program)
}

/// Addresses of one family, some close to one another and some far apart.
fn some_address(six: bool) -> BoxedStrategy<IpAddr> {
    if six {
        let high = prop_oneof![Just(0xfd00_u128 << 112), Just(0xfe80_u128 << 112), Just(0)];
        let middle = prop_oneof![
            Just(0_u128),
            Just(1 << 64),
            Just(1 << 40),
            Just(u128::MAX >> 64)
        ];
        (high, middle, 0..6_u128)
            .prop_map(|(high, middle, low)| Ipv6Addr::from_bits(high ^ middle ^ low).into())
            .boxed()
    } else {
        let high = prop_oneof![
            Just(10_u32 << 24),
            Just(192 << 24),
            Just(0),
            Just(255 << 24)
        ];
        (high, 0..6_u32, 0..3_u32)
            .prop_map(|(high, low, middle)| Ipv4Addr::from_bits(high | middle << 12 | low).into())
            .boxed()
    }
}

proptest! {
    #[test]
    fn the_filter_accepts_packets_of_listed_senders_within_their_hop_limit(
        six: bool,
        pool in (some_address(false), some_address(true), any::<u8>()).prop_flat_map(|_| {
            let of = |six| prop::collection::vec((some_address(six), prop_oneof![Just(255_u8), Just(250), Just(1)]), 0..40);
            (of(false), of(true))
        }),
        other in (some_address(false), some_address(true)),
        which: Index,
        ttl in prop_oneof![Just(255_u8), Just(254), Just(250), Just(1), Just(0)],
    ) {
        let known: BTreeMap<IpAddr, u8> = if six { pool.1 } else { pool.0 }.into_iter().collect();
        let program = &senders(six, &known)[0];
        let strangers = &program.clone().inverted();
        let mut senders: Vec<IpAddr> = known.keys().copied().collect();
        senders.push(if six { other.1 } else { other.0 });
        let from = senders[which.index(senders.len())];
        let wanted = known.get(&from).is_some_and(|least| ttl >= *least);
        prop_assert_eq!(takes(program, from, ttl), wanted);
        prop_assert_eq!(takes(strangers, from, ttl), !wanted);
    }

    #[test]
    fn the_filter_accepts_exactly_the_addresses_of_its_networks(
        six: bool,
        nets in prop::collection::vec((some_address(false), some_address(true), 0..=128_u8), 0..6),
        other in (some_address(false), some_address(true)),
    ) {
        let nets: Vec<IpNet> = nets.into_iter().map(|(four, six_, length)| {
            let (address, length) = if six { (six_, length) } else { (four, length.min(32)) };
            IpNet::new(address, length).unwrap().trunc()
        }).collect();
        let from = if six { other.1 } else { other.0 };
        let program = networks(six, &nets);
        prop_assert_eq!(takes(&program, from, 1), nets.iter().any(|net| net.contains(&from)));
    }
}

#[test]
fn combined_filters_accept_by_and_or_and_negation_of_their_parts() {
    let from = IpAddr::from([10, 0, 0, 1]);
    let (near, ours) = (least_ttl(false, 255), one_of(false, source(false), &[from]));
    let vrid = payload_byte(false, 1, &(0..=254).collect::<Vec<u8>>());
    for (address, ttl, number) in [
        (from, 255, 7),
        (from, 254, 7),
        (from, 255, 255),
        (IpAddr::from([10, 0, 0, 2]), 255, 7),
        (IpAddr::from([10, 0, 0, 2]), 254, 255),
    ] {
        let packet = packet(address, ttl, &[0x31, number]);
        let [a, b, c] = [&near, &ours, &vrid].map(|program| packet.passes(program));
        let all = near.clone().and(ours.clone()).and(vrid.clone());
        assert_eq!(packet.passes(&all), a && b && c);
        let any = near.clone().or(ours.clone()).or(vrid.clone());
        assert_eq!(packet.passes(&any), a || b || c);
        assert_eq!(packet.passes(&all.inverted()), !(a && b && c));
    }
    assert!(packet(from, 1, &[]).passes(&Block::take()));
}

#[test]
fn the_filter_finds_a_payload_byte_behind_a_header_of_any_length() {
    for (six, from) in [
        (false, IpAddr::from([10, 0, 0, 1])),
        (true, Ipv6Addr::LOCALHOST.into()),
    ] {
        let program = payload_byte(six, 1, &[51, 52, 200]);
        for (vrid, taken) in [(51, true), (52, true), (200, true), (53, false), (0, false)] {
            let packet = packet(from, 255, &[0x31, vrid]);
            assert_eq!(packet.passes(&program), taken, "{six} {vrid}");
        }
        assert!(!packet(from, 255, &[0x31]).passes(&program), "too short");
    }
}

/// As many senders as a large network has, each in a network of its own or all in one.
fn crowd(six: bool, scattered: bool, count: u32) -> BTreeMap<IpAddr, u8> {
    let spread = if scattered { 0x0101_0101 } else { 1 };
    let address = |number: u32| -> IpAddr {
        let low = number.wrapping_mul(spread);
        if six {
            let high = if scattered { u128::from(low) << 80 } else { 0 };
            Ipv6Addr::from_bits(0xfd << 120 | high | u128::from(low)).into()
        } else {
            Ipv4Addr::from_bits(10 << 24 | low & 0xff_ffff).into()
        }
    };
    (1..=count).map(|number| (address(number), 254)).collect()
}

#[test]
fn the_kernel_accepts_a_filter_of_many_senders_repeatedly() {
    for (six, scattered) in [(false, false), (false, true), (true, false), (true, true)] {
        for count in [1, 200, 500, 5000] {
            let any = if six { "[::1]:0" } else { "127.0.0.1:0" };
            let socket = UdpSocket::bind(any).unwrap();
            let many = crowd(six, scattered, count);
            let programs = senders(six, &many);
            // A second time, in place of itself.
            let taken = attach(&socket, &programs).and_then(|()| attach(&socket, &programs));
            assert!(taken.is_ok(), "{six} {scattered} {count}: {taken:?}");
            assert!(programs.len() == 3 || count > 200);
            for (program, known) in programs.iter().zip(many.keys().cycle()) {
                assert!(takes(program, *known, 255));
                assert!(!takes(program, *known, 253));
            }
        }
    }
}

#[test]
fn the_kernel_delivers_only_packets_that_pass_the_filter() {
    let ear = UdpSocket::bind("127.0.0.1:0").unwrap();
    ear.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let known = BTreeMap::from([
        (IpAddr::from([127, 0, 9, 1]), 255),
        (IpAddr::from([127, 0, 9, 2]), 64),
    ]);
    attach(&ear, &senders(false, &known)).unwrap();
    let to = ear.local_addr().unwrap();
    let heard = |from: [u8; 4], ttl: u32| {
        let socket = UdpSocket::bind(SocketAddr::from((from, 0))).unwrap();
        socket.set_ttl(ttl).unwrap();
        socket.send_to(b"?", to).unwrap();
        ear.recv(&mut [0; 8]).is_ok()
    };
    for (from, ttl, wanted) in [
        ([127, 0, 9, 1], 255, true),
        ([127, 0, 9, 1], 254, false),
        ([127, 0, 9, 2], 64, true),
        ([127, 0, 9, 2], 63, false),
        ([127, 0, 9, 3], 255, false),
    ] {
        assert_eq!(heard(from, ttl), wanted, "{from:?} {ttl}");
    }
}

#[test]
fn a_socket_keeps_an_unchanged_filter_and_gets_it_again_after_a_failure() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let attached = Attached::default();
    let (one, other) = ([Block::take()], [Block::discard()]);
    assert!(attached.attach(&socket, &one).unwrap());
    assert!(!attached.attach(&socket, &one).unwrap());
    assert!(attached.attach(&socket, &other).unwrap());
    assert!(attached.attach(&socket, &one).unwrap());
    // Longer than the kernel accepts.
    let long = [Block(vec![DROP; LONGEST + 1])];
    attached.attach(&socket, &long).unwrap_err();
    assert!(attached.attach(&socket, &one).unwrap());
}
