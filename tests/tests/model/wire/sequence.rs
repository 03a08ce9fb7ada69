//! Sequences of frames: single packets of every shape, and datagrams in fragments, cut anywhere, doubled, overlapping, out
//! of order, spoilt.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ober_tests::{
    lab::wire::seal,
    packets::{
        self, Extension, Ipv4, Ipv6, Packet, Piece, QINQ, Rng, TCP, Target, UDP, VLAN, VRRP, frame,
        transport, vrrp,
    },
};

/// The longest frame that a veth takes.
const LONGEST: usize = 1500 + 14;
/// The shortest frame that the packet socket takes.
const SHORTEST: usize = 14;
const FRAGMENT: u8 = 44;

/// Frames that belong together.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) frames: Vec<Vec<u8>>,
    /// As an honest sender may send it: two tags and six extension headers at most, a first fragment that has all the
    /// headers, nothing spoilt.
    pub(super) honest: bool,
}

impl fmt::Display for Sequence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for frame in &self.frames {
            write!(out, "  ")?;
            for byte in frame {
                write!(out, "{byte:02x}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// The payload of a datagram, and its ends.
struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: Packet,
}

/// The sequence with this number, which names its fragments.
pub(super) fn sequence(target: &Target, rng: &mut Rng, number: usize) -> Sequence {
    let mut sequence = if rng.percent(35) {
        Sequence {
            frames: vec![single(target, rng)],
            honest: false,
        }
    } else {
        datagram(target, rng, number)
    };
    disturb(rng, &mut sequence.frames);
    for bytes in &mut sequence.frames {
        if rng.percent(12) {
            spoil(rng, bytes);
            sequence.honest = false;
        }
        if rng.percent(95) {
            seal(bytes);
        }
    }
    let sound = |frame: &Vec<u8>| (SHORTEST..=LONGEST).contains(&frame.len());
    sequence.frames.retain(sound);
    sequence
}

/// One of the random packets, under tags that every node takes off.
fn single(target: &Target, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = packets::case(target, rng.word()).bytes;
    let mut at = 12;
    while let Some([0x81 | 0x88, 0x00 | 0xa8, high, low]) = bytes.get_mut(at..at + 4) {
        (*high, *low) = (0, 0);
        at += 4;
    }
    bytes
}

fn datagram(target: &Target, rng: &mut Rng, number: usize) -> Sequence {
    let datagram = whole(target, rng);
    let (packets, headed) = match (datagram.source, datagram.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            pieces4(rng, number, &datagram, source, destination)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            pieces6(rng, number, &datagram, source, destination)
        }
        _ => (Vec::new(), false),
    };
    let tags: Vec<u16> = (0..[0, 0, 0, 0, 0, 1, 1, 2, 2, 3][rng.below(10)])
        .map(|_| rng.one_of(&[VLAN, QINQ]))
        .collect();
    let framed = packets.into_iter().map(|packet| {
        let mut bytes = frame(&tags, packet).bytes;
        // Priority tags: every node takes them off.
        for tag in 0..tags.len() {
            bytes[14 + 4 * tag..16 + 4 * tag].fill(0);
        }
        bytes
    });
    Sequence {
        frames: framed.collect(),
        honest: headed && tags.len() <= 2,
    }
}

/// For a service, for BGP or BFD or by VRRP; from listed clients, from routers and from others.
fn whole(target: &Target, rng: &mut Rng) -> Datagram {
    let (vip, protocol, port) = target.place(rng.below(target.node.services.len()));
    let v4 = vip.is_ipv4();
    let known = target.clients.iter().chain(&target.routers).copied();
    // The kernel accepts nothing from these.
    let odd = |address: &IpAddr| address.is_unspecified() || *address == Ipv4Addr::BROADCAST;
    let known: Vec<IpAddr> = known
        .filter(|address| address.is_ipv4() == v4 && !odd(address))
        .collect();
    let source = rng.one_of(&known);
    let own: [IpAddr; 2] = if v4 {
        [
            Ipv4Addr::new(10, 78, 0, 1).into(),
            Ipv4Addr::new(224, 0, 0, 18).into(),
        ]
    } else {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
        [
            Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 1).into(),
            group.into(),
        ]
    };
    let from = 1024 + rng.half() % 60_000;
    let (destination, protocol, mut payload) = match rng.below(8) {
        0 => (own[0], TCP, transport(TCP, from, rng.one_of(&[179, 1790]))),
        1 => (own[0], TCP, transport(TCP, rng.one_of(&[179, 1791]), from)),
        2 => (own[0], UDP, transport(UDP, from, rng.one_of(&[3784, 4784]))),
        3 => (own[rng.below(2)], VRRP, vrrp()),
        4 => (own[0], TCP, transport(TCP, from, 22)),
        _ => (vip, protocol, transport(protocol, from, port)),
    };
    payload
        .bytes
        .resize(payload.bytes.len() + rng.below(60), 0x5a);
    Datagram {
        source,
        destination,
        protocol,
        payload,
    }
}

/// Where a payload of this length is cut.
fn cuts(rng: &mut Rng, length: usize) -> Vec<usize> {
    let mut cuts = vec![0, length];
    for _ in 0..rng.below(4) {
        cuts.push(8 * rng.below(length / 8 + 1));
    }
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// The pieces of a payload: offset in units of eight, whether more follow, and the bytes, which may reach into the next.
fn pieces(rng: &mut Rng, payload: &[u8]) -> Vec<(Piece, Vec<u8>)> {
    let cuts = cuts(rng, payload.len());
    let mut pieces = Vec::new();
    for pair in cuts.windows(2) {
        let more = pair[1] < payload.len();
        let overlap = if more && rng.percent(8) { 8 } else { 0 };
        let end = (pair[1] + overlap).min(payload.len());
        let piece = Piece {
            offset: u16::try_from(pair[0] / 8).unwrap_or(u16::MAX),
            more,
        };
        pieces.push((piece, payload[pair[0]..end].to_vec()));
    }
    pieces
}

fn pieces4(
    rng: &mut Rng,
    number: usize,
    datagram: &Datagram,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> (Vec<Packet>, bool) {
    let options = rng.one_of(&[0, 0, 0, 1, 5, 10]);
    let pieces = pieces(rng, &datagram.payload.bytes);
    let carry = |(piece, bytes): (Piece, Vec<u8>)| {
        let header = Ipv4 {
            source,
            destination,
            protocol: datagram.protocol,
            options,
            piece,
        };
        let mut packet = header.carry(Packet::data(&bytes));
        packet.bytes[4..6].copy_from_slice(&number.to_le_bytes()[..2]);
        packet
    };
    // Eight bytes, the least a first fragment has, hold the ports.
    (pieces.into_iter().map(carry).collect(), true)
}

/// The chain stands before the fragment header, behind it, or on both sides. Also whether all of it is in the first piece
/// and short enough.
fn pieces6(
    rng: &mut Rng,
    number: usize,
    datagram: &Datagram,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> (Vec<Packet>, bool) {
    let header = |extensions, protocol| Ipv6 {
        source,
        destination,
        extensions,
        protocol,
    };
    let most = rng.one_of(&[1, 2, 3, 8]);
    let behind = chain(rng, most);
    let count = behind.len();
    let inner = header(behind, datagram.protocol).carry(datagram.payload.clone());
    if rng.percent(15) {
        return (vec![inner], count <= 6);
    }
    let (next, inner) = (inner.bytes[6], &inner.bytes[40..]);
    let before = chain(rng, 2);
    let pieces = pieces(rng, inner);
    let chained = inner.len() - datagram.payload.bytes.len();
    let first = pieces.first().map_or(0, |(_, bytes)| bytes.len());
    let headed = before.len() + 1 + count <= 6 && first >= chained + 8;
    let carry = |(piece, bytes): (Piece, Vec<u8>)| {
        let field = piece.offset << 3 | u16::from(piece.more);
        let [high, low] = field.to_be_bytes();
        let [a, b, c, d, ..] = number.to_le_bytes();
        let part = [&[next, 0, high, low, a, b, c, d], &bytes[..]].concat();
        header(before.clone(), FRAGMENT).carry(Packet::data(&part))
    };
    (pieces.into_iter().map(carry).collect(), headed)
}

fn chain(rng: &mut Rng, most: usize) -> Vec<Extension> {
    let count = rng.below(most + 1);
    let one = |rng: &mut Rng| match rng.below(12) {
        0 => Extension::Fragment(Piece::default()),
        1 => Extension::Authentication { words: 1 },
        2 => Extension::Units {
            kind: 135,
            units: 0,
        },
        // Linux takes a routing header with nothing left to visit.
        3 => Extension::Units { kind: 43, units: 0 },
        _ => Extension::Units {
            kind: 60,
            units: u8::from(rng.percent(20)),
        },
    };
    (0..count).map(|_| one(rng)).collect()
}

/// Some frames come twice, out of their order, or not at all.
fn disturb(rng: &mut Rng, frames: &mut Vec<Vec<u8>>) {
    if frames.is_empty() {
        return;
    }
    if rng.percent(10) {
        let again = frames[rng.below(frames.len())].clone();
        frames.insert(rng.below(frames.len() + 1), again);
    }
    if rng.percent(25) {
        let (one, other) = (rng.below(frames.len()), rng.below(frames.len()));
        frames.swap(one, other);
    }
    if rng.percent(5) {
        frames.remove(rng.below(frames.len()));
    }
}

/// A byte of the headers is changed, or the end is missing, or foreign bytes follow.
fn spoil(rng: &mut Rng, bytes: &mut Vec<u8>) {
    match rng.below(4) {
        0 => bytes.truncate(bytes.len() - rng.below(bytes.len() / 2 + 1)),
        1 => bytes.extend(vec![rng.byte(); rng.below(40)]),
        _ => {
            let at = rng.below(bytes.len().min(110));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = if rng.percent(50) {
                    rng.byte()
                } else {
                    byte.wrapping_add(1)
                };
            }
        }
    }
}
