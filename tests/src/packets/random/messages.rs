//! Everything that is not a flow of its own: routing protocols, ICMP, other protocols.

use std::net::IpAddr;

use super::{Dice, Ends};
use crate::packets::{
    ICMP, ICMPV6, NO_NEXT_HEADER, Packet, Piece, Shape, TCP, UDP, VRRP, icmp, tcp, transport, udp,
    vrrp,
};

impl Dice<'_> {
    /// BGP, BFD or VRRP, from a router or from another host.
    pub(super) fn routing(&mut self) -> Packet {
        let pick = self.rng.below(self.target.node.services.len());
        let (vip, ..) = self.target.place(pick);
        let v4 = vip.is_ipv4();
        let vip = if self.rng.percent(50) {
            vip
        } else {
            self.stranger(v4)
        };
        let routers: Vec<IpAddr> = self
            .target
            .routers
            .iter()
            .copied()
            .filter(|router| router.is_ipv4() == v4)
            .collect();
        let from = if self.rng.percent(50) {
            self.rng.one_of(&routers)
        } else {
            self.client(v4)
        };
        let piece = self.rng.percent(5).then_some(Piece {
            offset: 0,
            more: true,
        });
        match self.rng.below(4) {
            0 => {
                self.saw(Shape::Bgp);
                let port = self.rng.one_of(&[179, 179, 1790, 178]);
                let payload = tcp(self.rng.half(), port, &[0xff; 19]);
                self.carry(from, vip, TCP, piece, payload)
            }
            1 => {
                self.saw(Shape::BgpAnswer);
                let port = self.rng.one_of(&[179, 179, 1791, 180]);
                let payload = tcp(port, 40_000, &[0xff; 19]);
                self.carry(from, vip, TCP, piece, payload)
            }
            2 => {
                self.saw(Shape::Bfd);
                let port = self.rng.one_of(&[3784, 4784, 3784, 4784, 3785]);
                let payload = udp(49152, port, &[0x20; 24]);
                self.carry(from, vip, UDP, piece, payload)
            }
            _ => {
                let before = self.shapes.len();
                let packet = self.carry(from, vip, VRRP, piece, vrrp());
                let headers = self.shapes.split_off(before);
                let plain = headers
                    .iter()
                    .all(|shape| matches!(shape, Shape::V4 | Shape::V6));
                self.shapes.extend(headers);
                self.saw(if plain {
                    Shape::Vrrp
                } else {
                    Shape::VrrpBehindExtensions
                });
                packet
            }
        }
    }

    /// An error about a packet that we sent to a client.
    pub(super) fn icmp_error(&mut self) -> Packet {
        let (Ends { client, vip }, protocol, port) = self.target();
        let v4 = vip.is_ipv4();
        let quoted = self.quoted(client, vip, protocol, port);
        self.saw(if v4 {
            Shape::IcmpError
        } else {
            Shape::Icmpv6Error
        });
        let router = self.client(v4);
        let towards = if self.rng.percent(90) {
            vip
        } else {
            self.stranger(v4)
        };
        let (number, kind) = if v4 {
            (ICMP, self.rng.one_of(&[3, 11, 12]))
        } else {
            (ICMPV6, self.rng.one_of(&[1, 2, 3, 4]))
        };
        self.carry(router, towards, number, None, icmp(kind, 0, quoted))
    }

    pub(super) fn quoted(
        &mut self,
        client: IpAddr,
        vip: IpAddr,
        protocol: u8,
        port: u16,
    ) -> Packet {
        let mut protocol = protocol;
        if self.rng.percent(6) {
            self.saw(Shape::QuoteOther);
            protocol = self.rng.one_of(&[ICMP, ICMPV6, 132, VRRP, NO_NEXT_HEADER]);
        }
        let piece = self.rng.percent(8).then_some(Piece {
            offset: u16::from(self.rng.percent(50)),
            more: true,
        });
        let payload = transport(protocol, port, self.rng.half());
        // The shapes of the quoted packet's headers are told apart from those of the outer packet.
        let before = self.shapes.len();
        let packet = self.carry(vip, client, protocol, piece, payload);
        let headers = self.shapes.split_off(before);
        self.shapes.extend(piece.map(|_| Shape::QuoteFragment));
        if headers.contains(&Shape::V4Options) {
            self.saw(Shape::QuoteOptions);
        } else if headers
            .iter()
            .any(|shape| !matches!(shape, Shape::V4 | Shape::V6))
        {
            self.saw(Shape::QuoteExtensions);
        }
        if self.rng.percent(30) {
            self.saw(Shape::QuoteCutShort);
            let shortest = if vip.is_ipv4() { 20 } else { 40 };
            return packet.cut(shortest + self.rng.below(16));
        }
        packet
    }

    pub(super) fn icmp_query(&mut self) -> Packet {
        self.saw(Shape::IcmpQuery);
        let (Ends { client, vip }, ..) = self.target();
        let (number, kind) = if vip.is_ipv4() {
            (ICMP, self.rng.one_of(&[0, 8, 5, 4, 13]))
        } else {
            (ICMPV6, self.rng.one_of(&[128, 129, 133, 135, 136, 0, 5]))
        };
        self.carry(
            client,
            vip,
            number,
            None,
            icmp(kind, 0, Packet::data(b"echo")),
        )
    }

    pub(super) fn other_protocol(&mut self) -> Packet {
        self.saw(Shape::OtherProtocol);
        let (Ends { client, vip }, _, port) = self.target();
        // SCTP, GRE, ESP, nothing, and the ICMP of the other family. In IPv4 also what IPv6 calls extensions.
        let mut choice = vec![
            132,
            47,
            50,
            NO_NEXT_HEADER,
            253,
            if vip.is_ipv4() { ICMPV6 } else { ICMP },
        ];
        if vip.is_ipv4() {
            choice.extend([0, 43, 44, 51, 60]);
        }
        let protocol = self.rng.one_of(&choice);
        self.carry(client, vip, protocol, None, transport(protocol, 9, port))
    }
}
