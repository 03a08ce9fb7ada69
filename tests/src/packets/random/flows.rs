//! Packets of flows, their ends, and the IP headers that carry everything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Dice, Ends};
use crate::packets::{
    Extension, Ipv4, Ipv6, Packet, Piece, Shape, TCP, UDP, segment, transport, widen,
};

impl Dice<'_> {
    /// A packet of a flow, whole or the first fragment.
    pub(super) fn flow(&mut self) -> Packet {
        let (ends, protocol, port) = self.target();
        self.saw(if protocol == TCP {
            Shape::Tcp
        } else {
            Shape::Udp
        });
        let payload = segment(protocol, self.rng.half(), port);
        let piece = self.rng.percent(10).then_some(Piece {
            offset: 0,
            more: true,
        });
        self.carry(ends.client, ends.vip, protocol, piece, payload)
    }

    pub(super) fn later_fragment(&mut self) -> Packet {
        let (ends, protocol, port) = self.target();
        let piece = Piece {
            offset: self.rng.one_of(&[1, 2, 0x100, 0x1000, 0x1fff]),
            more: self.rng.percent(50),
        };
        self.carry(
            ends.client,
            ends.vip,
            protocol,
            Some(piece),
            transport(protocol, 1, port),
        )
    }

    /// Mostly a service of the target; sometimes its VIP with something else, sometimes an address of no service.
    pub(super) fn target(&mut self) -> (Ends, u8, u16) {
        let pick = self.rng.below(self.target.node.services.len());
        let (mut vip, mut protocol, mut port) = self.target.place(pick);
        match self.rng.below(20) {
            0 => port = self.rng.one_of(&[22, 0, 179, port ^ 1, port.swap_bytes()]),
            1 => protocol = if protocol == TCP { UDP } else { TCP },
            2 => vip = self.stranger(vip.is_ipv4()),
            _ => {}
        }
        (
            Ends {
                client: self.client(vip.is_ipv4()),
                vip,
            },
            protocol,
            port,
        )
    }

    /// Mostly a client that the stage knows, sometimes an address one bit away, one of the crowd, or any address.
    pub(super) fn client(&mut self, v4: bool) -> IpAddr {
        let known: Vec<IpAddr> = self
            .target
            .clients
            .iter()
            .copied()
            .filter(|address| address.is_ipv4() == v4)
            .collect();
        let client = self.rng.one_of(&known);
        match (self.rng.below(10), client) {
            (0, _) => self.stranger(v4),
            (2..=3, IpAddr::V6(_)) => self.rng.one_of(&self.target.crowd).into(),
            (1, IpAddr::V4(address)) => {
                Ipv4Addr::from_bits(address.to_bits() ^ 1 << self.rng.below(32)).into()
            }
            (1, IpAddr::V6(address)) => {
                Ipv6Addr::from_bits(address.to_bits() ^ 1 << self.rng.below(128)).into()
            }
            _ => client,
        }
    }

    pub(super) fn stranger(&mut self, v4: bool) -> IpAddr {
        let (first, second) = (self.rng.word(), self.rng.word());
        let any = Ipv6Addr::from_bits(u128::from(first) << 64 | u128::from(second));
        if v4 {
            let [a, b, c, d, ..] = first.to_le_bytes();
            let any = Ipv4Addr::new(a, b, c, d);
            self.rng
                .one_of(&[
                    any,
                    any,
                    Ipv4Addr::UNSPECIFIED,
                    Ipv4Addr::new(224, 0, 0, 18),
                ])
                .into()
        } else {
            let mapped = Ipv4Addr::new(10, 77, 0, 1).to_ipv6_mapped();
            self.rng
                .one_of(&[any, any, Ipv6Addr::UNSPECIFIED, mapped, Ipv6Addr::LOCALHOST])
                .into()
        }
    }

    /// An IP packet of the VIP's family, with options or extension headers now and then.
    pub(super) fn carry(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        protocol: u8,
        piece: Option<Piece>,
        payload: Packet,
    ) -> Packet {
        let (from, to) = self.odd(from, to);
        if let Some(piece) = piece {
            self.saw(if piece.offset == 0 {
                Shape::FirstFragment
            } else {
                Shape::LaterFragment
            });
        }
        match (from, to) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.saw(Shape::V4);
                let options = self.options();
                if options > 0 {
                    self.saw(Shape::V4Options);
                }
                Ipv4 {
                    source,
                    destination,
                    protocol,
                    options,
                    piece: piece.unwrap_or_default(),
                }
                .carry(payload)
            }
            (from, to) => {
                self.saw(Shape::V6);
                let extensions = self.extensions(piece);
                let kinds: Vec<u8> = extensions
                    .iter()
                    .map(|extension| extension.kind())
                    .collect();
                self.shapes
                    .extend(kinds.iter().map(|kind| Shape::of_extension(*kind)));
                match extensions.len() {
                    6 => self.saw(Shape::SixExtensions),
                    7.. => self.saw(Shape::SevenExtensions),
                    _ => {}
                }
                let [source, destination] = [from, to].map(widen);
                Ipv6 {
                    source,
                    destination,
                    extensions,
                    protocol,
                }
                .carry(payload)
            }
        }
    }

    /// Now and then one of the addresses is of loopback, or an IPv4 address in an IPv6 header, which a VIP or a listed
    /// client may have.
    fn odd(&mut self, from: IpAddr, to: IpAddr) -> (IpAddr, IpAddr) {
        if !self.rng.percent(3) {
            return (from, to);
        }
        self.saw(Shape::OddAddress);
        let mapped = |last| Ipv4Addr::from_bits(last).to_ipv6_mapped().into();
        let odd = match to {
            IpAddr::V4(_) => self.rng.one_of(&[
                Ipv4Addr::LOCALHOST.into(),
                Ipv4Addr::new(127, 255, 255, 254).into(),
            ]),
            IpAddr::V6(_) => self.rng.one_of(&[
                Ipv6Addr::LOCALHOST.into(),
                mapped(0x0a4d_0001),
                mapped(0x0a63_0001),
                mapped(0x7f00_0001),
            ]),
        };
        if self.rng.percent(50) {
            (odd, to)
        } else {
            (from, odd)
        }
    }

    pub(super) fn options(&mut self) -> u8 {
        if self.rng.percent(25) {
            self.rng.one_of(&[1, 2, 3, 5, 9, 10])
        } else {
            0
        }
    }

    /// A chain of up to eight, with the fragment header anywhere in it.
    pub(super) fn extensions(&mut self, piece: Option<Piece>) -> Vec<Extension> {
        let count = match self.rng.below(20) {
            0..=10 => 0,
            11..=16 => 1 + self.rng.below(3),
            17 => 5,
            18 => 6,
            _ => 7 + self.rng.below(2),
        };
        let mut chain: Vec<Extension> = (0..count).map(|_| self.extension()).collect();
        if let Some(piece) = piece {
            chain.insert(self.rng.below(chain.len() + 1), Extension::Fragment(piece));
        }
        chain
    }

    pub(super) fn extension(&mut self) -> Extension {
        let small = u8::try_from(self.rng.below(3)).unwrap_or(0);
        match self.rng.one_of(&[0u8, 43, 44, 51, 60, 135, 139, 140]) {
            // RFC 8200 section 4.5 knows a fragment that is the whole packet.
            44 => Extension::Fragment(Piece::default()),
            51 => Extension::Authentication { words: small },
            kind => Extension::Units { kind, units: small },
        }
    }
}
