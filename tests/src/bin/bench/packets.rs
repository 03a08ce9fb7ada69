//! The packets under measure: TCP from a client to a VIP, as IPv4 and as IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ober_common::bench::{Run, STAMPS, WORDS};

/// A frame's length: everything the wrapper writes, and a little payload.
pub(crate) const LENGTH: usize = PAYLOAD as usize + 14;
/// The total length that the IPv4 header states.
const PAYLOAD: u8 = 82;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }

    /// The address of one of our services.
    pub(crate) const fn vip(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        }
    }

    /// An address of no service.
    pub(crate) const fn stranger(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99)),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99)),
        }
    }

    /// The address with this number in the network our clients live in.
    pub(crate) const fn client(self, number: u32) -> IpAddr {
        let [a, b, c, d] = (Self::CLIENTS + number).to_be_bytes();
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            Self::Ipv6 => {
                let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 1, high, low))
            }
        }
    }

    const CLIENTS: u32 = u32::from_be_bytes([10, 0, 0, 0]);
}

/// What the clients send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packets {
    pub(crate) family: Family,
    pub(crate) destination: IpAddr,
    pub(crate) port: u16,
    /// Number of the first client.
    pub(crate) client: u32,
    /// Different flows, a power of two.
    pub(crate) flows: u64,
    pub(crate) vary: Vary,
}

/// The field in which one flow differs from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vary {
    Port,
    /// The client's number, in steps of this.
    Client(u32),
}

const FIRST_PORT: u16 = 1024;

impl Packets {
    /// The first packet.
    pub(crate) fn frame(&self) -> [u8; LENGTH] {
        let mut frame = [0; LENGTH];
        let source = self.family.client(self.client);
        let ip = match (source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame[12..14].copy_from_slice(&[0x08, 0x00]);
                frame[14..24].copy_from_slice(&[0x45, 0, 0, PAYLOAD, 0, 0, 0x40, 0, 64, 6]);
                frame[26..30].copy_from_slice(&source.octets());
                frame[30..34].copy_from_slice(&destination.octets());
                34
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame[12..14].copy_from_slice(&[0x86, 0xdd]);
                frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, PAYLOAD - 40, 6, 64]);
                frame[22..38].copy_from_slice(&source.octets());
                frame[38..54].copy_from_slice(&destination.octets());
                54
            }
            // Cannot happen: both addresses are of one family.
            _ => return frame,
        };
        frame[ip..ip + 2].copy_from_slice(&FIRST_PORT.to_be_bytes());
        frame[ip + 2..ip + 4].copy_from_slice(&self.port.to_be_bytes());
        // Data offset five words, flag ACK.
        frame[ip + 12] = 0x50;
        frame[ip + 13] = 0x10;
        frame
    }

    /// What the wrapper needs to make all of them.
    pub(crate) fn run(&self) -> Run {
        let frame = self.frame();
        let mut head = [0; WORDS];
        for (word, bytes) in head.iter_mut().zip(frame.chunks_exact(8)) {
            *word = bytes
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        if cfg!(target_endian = "big") {
            head = head.map(u64::swap_bytes);
        }
        let (source_step, port_step) = match self.vary {
            Vary::Port => (0, 1),
            Vary::Client(step) => (step, 0),
        };
        Run {
            head,
            mask: self.flows - 1,
            source_step,
            port_step,
            source: Family::CLIENTS + self.client,
            port: u32::from(FIRST_PORT),
            wide: u64::from(self.family == Family::Ipv6),
            count: 0,
            stamps: [0; STAMPS],
        }
    }
}
