//! Packets, built from the inside out: a transport header, carried by IP, carried by Ethernet. Checksums stay zero:
//! nothing under test looks at them.

pub mod fuzz;
mod mutate;
mod random;
mod rng;
mod shape;
mod tally;
mod target;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use random::{Case, case};
pub use rng::Rng;
pub use shape::Shape;
pub use tally::Tally;
pub use target::{Target, rich_target};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;
pub const VRRP: u8 = 112;
/// RFC 8200 section 4.7: nothing follows.
pub const NO_NEXT_HEADER: u8 = 59;

pub const VLAN: u16 = 0x8100;
pub const QINQ: u16 = 0x88a8;

/// Bytes, and the places of those that state what follows or how long something is: the ones worth falsifying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    pub bytes: Vec<u8>,
    pub telling: Vec<usize>,
}

impl Packet {
    /// Plain bytes.
    pub fn data(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            telling: Vec::new(),
        }
    }

    /// The same packet behind a header.
    fn behind(self, header: &[u8], telling: &[usize]) -> Self {
        let moved = self.telling.iter().map(|at| at + header.len());
        Self {
            telling: telling.iter().copied().chain(moved).collect(),
            bytes: [header, &self.bytes].concat(),
        }
    }

    /// Only the first bytes of it, the way a router quotes a packet.
    #[must_use]
    pub fn cut(mut self, length: usize) -> Self {
        self.bytes.truncate(length);
        let left = self.bytes.len();
        self.telling.retain(|at| *at < left);
        self
    }
}

/// A TCP header without options that asks for a connection.
pub fn tcp(source: u16, destination: u16, data: &[u8]) -> Packet {
    flagged(SYN, source, destination, data)
}

/// Flags of TCP (RFC 9293 section 3.1).
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// A TCP header without options, with these flags.
fn flagged(flags: u8, source: u16, destination: u16, data: &[u8]) -> Packet {
    let mut header = [0; 20];
    header[..2].copy_from_slice(&source.to_be_bytes());
    header[2..4].copy_from_slice(&destination.to_be_bytes());
    header[12] = 5 << 4;
    header[13] = flags;
    Packet::data(data).behind(&header, &[12, 13])
}

/// A UDP header and its data.
pub fn udp(source: u16, destination: u16, data: &[u8]) -> Packet {
    let mut header = [0; 8];
    header[..2].copy_from_slice(&source.to_be_bytes());
    header[2..4].copy_from_slice(&destination.to_be_bytes());
    header[4..6].copy_from_slice(&low_half(8 + data.len()).to_be_bytes());
    Packet::data(data).behind(&header, &[4, 5])
}

/// TCP or UDP by number; any other protocol gets the same eight bytes as UDP.
pub fn transport(protocol: u8, source: u16, destination: u16) -> Packet {
    if protocol == TCP {
        tcp(source, destination, b"GET /")
    } else {
        udp(source, destination, b"data")
    }
}

/// As [`transport`], of a connection at any moment: the flags of TCP follow from the source port.
pub fn segment(protocol: u8, source: u16, destination: u16) -> Packet {
    if protocol != TCP {
        return transport(protocol, source, destination);
    }
    let flags = [SYN, SYN | ACK, ACK, PSH | ACK][usize::from(source % 4)];
    flagged(flags, source, destination, b"GET /")
}

/// An ICMP or `ICMPv6` message: eight bytes and what follows them.
pub fn icmp(kind: u8, code: u8, rest: Packet) -> Packet {
    rest.behind(&[kind, code, 0, 0, 0, 0, 5, 0xdc], &[0])
}

/// VRRP version 3 (RFC 9568 section 5.1), one address.
pub fn vrrp() -> Packet {
    Packet::data(&[0x31, 51, 100, 1, 0, 100, 0, 0, 10, 0, 0, 1])
}

/// The fragment field of IPv4 or of an IPv6 fragment header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// In units of eight bytes.
    pub offset: u16,
    pub more: bool,
}

/// An IPv4 header.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    /// Words of four bytes, at most ten.
    pub options: u8,
    pub piece: Piece,
}

impl Ipv4 {
    /// The packet that carries `payload`.
    pub fn carry(&self, payload: Packet) -> Packet {
        let words = 5 + self.options.min(10);
        // No operation, RFC 791 section 3.1.
        let mut header = vec![1; 4 * usize::from(words)];
        let length = low_half(header.len() + payload.bytes.len());
        let fragment = self.piece.offset & 0x1fff | if self.piece.more { 0x2000 } else { 0 };
        header[0] = 4 << 4 | words;
        header[1] = 0;
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&[0x12, 0x34]);
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[8] = 64;
        header[9] = self.protocol;
        header[10..12].copy_from_slice(&[0, 0]);
        header[12..16].copy_from_slice(&self.source.octets());
        header[16..20].copy_from_slice(&self.destination.octets());
        payload.behind(&header, &[0, 2, 3, 6, 7, 9])
    }
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// One whose length counts units of eight bytes after the first eight.
    Units {
        kind: u8,
        units: u8,
    },
    /// Authentication: its length counts words of four bytes after the first two.
    Authentication {
        words: u8,
    },
    Fragment(Piece),
}

impl Extension {
    /// Its number in the next-header field before it.
    pub fn kind(self) -> u8 {
        match self {
            Self::Units { kind, .. } => kind,
            Self::Authentication { .. } => 51,
            Self::Fragment(_) => 44,
        }
    }

    fn carry(self, next: u8, payload: Packet) -> Packet {
        match self {
            Self::Units { units, .. } => {
                let mut header = vec![0; 8 + 8 * usize::from(units)];
                header[..2].copy_from_slice(&[next, units]);
                // PadN over the rest, RFC 8200 section 4.2; only the first option is well formed, since no reader goes on.
                header[2..4].copy_from_slice(&[1, 4]);
                payload.behind(&header, &[0, 1])
            }
            Self::Authentication { words } => {
                let mut header = vec![0; 8 + 4 * usize::from(words)];
                header[..2].copy_from_slice(&[next, words]);
                payload.behind(&header, &[0, 1])
            }
            Self::Fragment(piece) => {
                let field = piece.offset << 3 | u16::from(piece.more);
                let [high, low] = field.to_be_bytes();
                payload.behind(&[next, 0, high, low, 0, 0, 0x12, 0x34], &[0, 1, 2, 3])
            }
        }
    }
}

/// An IPv6 header and its chain.
#[derive(Clone, Debug)]
pub struct Ipv6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub extensions: Vec<Extension>,
    pub protocol: u8,
}

impl Ipv6 {
    /// The packet that carries `payload`.
    pub fn carry(&self, payload: Packet) -> Packet {
        let (next, chain) = self
            .extensions
            .iter()
            .rev()
            .fold((self.protocol, payload), |(next, inner), extension| {
                (extension.kind(), extension.carry(next, inner))
            });
        let mut header = [0; 40];
        header[0] = 6 << 4;
        header[4..6].copy_from_slice(&low_half(chain.bytes.len()).to_be_bytes());
        header[6] = next;
        header[7] = 64;
        header[8..24].copy_from_slice(&self.source.octets());
        header[24..40].copy_from_slice(&self.destination.octets());
        chain.behind(&header, &[0, 4, 5, 6])
    }
}

/// A plain IP packet of the family of the destination.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: Packet) -> Packet {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Ipv4 {
            source,
            destination,
            protocol,
            options: 0,
            piece: Piece::default(),
        }
        .carry(payload),
        (source, destination) => {
            let [source, destination] = [source, destination].map(widen);
            Ipv6 {
                source,
                destination,
                extensions: Vec::new(),
                protocol,
            }
            .carry(payload)
        }
    }
}

fn widen(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// An Ethernet frame: addresses, tags, type.
pub fn ethernet(tags: &[u16], kind: u16, payload: Packet) -> Packet {
    let mut header = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let mut telling = Vec::new();
    for tag in tags {
        telling.extend([header.len(), header.len() + 1]);
        header.extend(tag.to_be_bytes());
        header.extend([0, 42]);
    }
    telling.extend([header.len(), header.len() + 1]);
    header.extend(kind.to_be_bytes());
    payload.behind(&header, &telling)
}

/// The Ethernet frame of an IP packet, its type taken from the version.
pub fn frame(tags: &[u16], packet: Packet) -> Packet {
    let kind = if packet.bytes.first().is_some_and(|first| first >> 4 == 6) {
        0x86dd
    } else {
        0x0800
    };
    ethernet(tags, kind, packet)
}

/// A length as a header field holds it; ours stay far below the limit.
fn low_half(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_frame_has_the_bytes_of_the_rfcs() {
        let packet = ip(
            "10.0.0.1".parse().unwrap(),
            "10.0.0.2".parse().unwrap(),
            UDP,
            udp(7, 9, b"xy"),
        );
        let frame = frame(&[VLAN], packet);
        let mut expected = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 42, 8, 0];
        expected.extend([
            0x45, 0, 0, 30, 0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        expected.extend([0, 7, 0, 9, 0, 10, 0, 0, b'x', b'y']);
        assert_eq!(frame.bytes, expected);
        assert_eq!(
            frame.telling,
            [12, 13, 16, 17, 18, 20, 21, 24, 25, 27, 42, 43]
        );
    }

    #[test]
    fn each_extension_names_the_next_and_its_own_length() {
        let extensions = vec![
            Extension::Units { kind: 60, units: 1 },
            Extension::Authentication { words: 3 },
            Extension::Fragment(Piece {
                offset: 0,
                more: true,
            }),
        ];
        let header = Ipv6 {
            source: Ipv6Addr::LOCALHOST,
            destination: Ipv6Addr::LOCALHOST,
            extensions,
            protocol: TCP,
        };
        let bytes = header.carry(tcp(1, 2, b"")).bytes;
        assert_eq!(bytes.len(), 40 + 16 + 20 + 8 + 20);
        assert_eq!(bytes[4..7], [0, 64, 60]);
        assert_eq!(bytes[40..42], [51, 1]);
        assert_eq!(bytes[56..58], [44, 3]);
        assert_eq!(bytes[76..80], [6, 0, 0, 1]);
        assert_eq!(bytes[84..88], [0, 1, 0, 2]);
    }
}
