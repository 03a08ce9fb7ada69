//! Random packets for a [`Stage`], weighted so that most of them concern one of its services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Extension, ICMP, ICMPV6, Ipv4, Ipv6, NO_NEXT_HEADER, Packet, Part, QINQ, Rng, Shape, Stage,
    TCP, UDP, VLAN, VRRP, ethernet, frame, icmp, mutate, tcp, transport, udp, vrrp,
};

/// A frame, how it came to be, and the seed that makes it again.
#[derive(Clone, Debug)]
pub struct Case {
    pub seed: u64,
    pub bytes: Vec<u8>,
    /// How much of it lies in the first buffer, when that is less than all.
    pub first_buffer: Option<usize>,
    pub shapes: Vec<Shape>,
}

/// The case of a seed.
pub fn case(stage: &Stage, seed: u64) -> Case {
    let mut dice = Dice {
        stage,
        rng: Rng::new(seed),
        shapes: Vec::new(),
    };
    let mut packet = dice.frame();
    if dice.rng.percent(55) {
        dice.shapes.push(Shape::Intact);
    } else {
        dice.mutate(&mut packet);
    }
    let mut bytes = packet.bytes;
    let mut first_buffer = None;
    if dice.rng.percent(5) {
        let floor = dice.rng.one_of(&[14, 14, 34, 54]);
        first_buffer =
            Some(floor + dice.rng.below(bytes.len())).filter(|first| *first < bytes.len());
        dice.shapes
            .extend(first_buffer.map(|_| Shape::ShortFirstBuffer));
    } else if dice.rng.percent(1) {
        // Longer than a page: the kernel puts the rest into further buffers.
        bytes.resize(4096 + dice.rng.below(5000), 0xa5);
        first_buffer = Some(2048);
        dice.shapes.push(Shape::Jumbo);
    }
    Case {
        seed,
        bytes,
        first_buffer,
        shapes: dice.shapes,
    }
}

/// What rolls, what for, and what came up.
struct Dice<'a> {
    stage: &'a Stage,
    rng: Rng,
    shapes: Vec<Shape>,
}

/// Both ends of a packet. The client is of the VIP's family.
#[derive(Clone, Copy)]
struct Ends {
    client: IpAddr,
    vip: IpAddr,
}

impl Dice<'_> {
    fn saw(&mut self, shape: Shape) {
        self.shapes.push(shape);
    }

    fn frame(&mut self) -> Packet {
        let tags = self.tags();
        if self.rng.percent(2) {
            self.saw(Shape::OtherEthertype);
            let kind = self
                .rng
                .one_of(&[0x0806, 0x88cc, 0x0000, 0x05ff, 0x9100, 0x0801, 0x8864]);
            return ethernet(&tags, kind, udp(1, 2, b"not ip at all"));
        }
        let packet = self.packet();
        let mut framed = frame(&tags, packet);
        if self.rng.percent(10) {
            self.saw(Shape::LinkPadding);
            framed
                .bytes
                .resize(framed.bytes.len() + 1 + self.rng.below(12), 0);
        }
        framed
    }

    fn tags(&mut self) -> Vec<u16> {
        let (count, shape) = match self.rng.below(40) {
            0..=27 => (0, Shape::Untagged),
            28..=33 => (1, Shape::OneTag),
            34..=38 => (2, Shape::TwoTags),
            _ => (3, Shape::ThreeTags),
        };
        self.saw(shape);
        (0..count).map(|_| self.rng.one_of(&[VLAN, QINQ])).collect()
    }

    fn packet(&mut self) -> Packet {
        match self.rng.below(20) {
            0..=9 => self.flow(),
            10..=13 => self.icmp_error(),
            14..=15 => self.routing(),
            16..=17 => self.later_fragment(),
            18 => self.icmp_query(),
            _ => self.other_protocol(),
        }
    }

    /// A packet of a flow, whole or the first fragment.
    fn flow(&mut self) -> Packet {
        let (ends, protocol, port) = self.target();
        self.saw(if protocol == TCP {
            Shape::Tcp
        } else {
            Shape::Udp
        });
        let payload = transport(protocol, self.rng.half(), port);
        let part = self.rng.percent(10).then_some(Part {
            offset: 0,
            more: true,
        });
        self.carry(ends.client, ends.vip, protocol, part, payload)
    }

    fn later_fragment(&mut self) -> Packet {
        let (ends, protocol, port) = self.target();
        let part = Part {
            offset: self.rng.one_of(&[1, 2, 0x100, 0x1000, 0x1fff]),
            more: self.rng.percent(50),
        };
        self.carry(
            ends.client,
            ends.vip,
            protocol,
            Some(part),
            transport(protocol, 1, port),
        )
    }

    /// Mostly a service of the stage; sometimes its VIP with something else, sometimes nobody.
    fn target(&mut self) -> (Ends, u8, u16) {
        let pick = self.rng.below(self.stage.node.services.len());
        let (mut vip, mut protocol, mut port) = self.stage.place(pick);
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

    /// Mostly somebody the stage knows, sometimes the address beside, one of the crowd, or anybody.
    fn client(&mut self, v4: bool) -> IpAddr {
        let known: Vec<IpAddr> = self
            .stage
            .clients
            .iter()
            .copied()
            .filter(|address| address.is_ipv4() == v4)
            .collect();
        let client = self.rng.one_of(&known);
        match (self.rng.below(10), client) {
            (0, _) => self.stranger(v4),
            (2..=3, IpAddr::V6(_)) => self.rng.one_of(&self.stage.crowd).into(),
            (1, IpAddr::V4(address)) => {
                Ipv4Addr::from_bits(address.to_bits() ^ 1 << self.rng.below(32)).into()
            }
            (1, IpAddr::V6(address)) => {
                Ipv6Addr::from_bits(address.to_bits() ^ 1 << self.rng.below(128)).into()
            }
            _ => client,
        }
    }

    fn stranger(&mut self, v4: bool) -> IpAddr {
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
    fn carry(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        protocol: u8,
        part: Option<Part>,
        payload: Packet,
    ) -> Packet {
        if let Some(part) = part {
            self.saw(if part.offset == 0 {
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
                    part: part.unwrap_or_default(),
                }
                .carry(payload)
            }
            (from, to) => {
                self.saw(Shape::V6);
                let extensions = self.extensions(part);
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
                let [source, destination] = [from, to].map(super::widen);
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

    fn options(&mut self) -> u8 {
        if self.rng.percent(25) {
            self.rng.one_of(&[1, 2, 3, 5, 9, 10])
        } else {
            0
        }
    }

    /// A chain of up to eight, with the fragment header anywhere in it.
    fn extensions(&mut self, part: Option<Part>) -> Vec<Extension> {
        let count = match self.rng.below(20) {
            0..=10 => 0,
            11..=16 => 1 + self.rng.below(3),
            17 => 5,
            18 => 6,
            _ => 7 + self.rng.below(2),
        };
        let mut chain: Vec<Extension> = (0..count).map(|_| self.extension()).collect();
        if let Some(part) = part {
            chain.insert(self.rng.below(chain.len() + 1), Extension::Fragment(part));
        }
        chain
    }

    fn extension(&mut self) -> Extension {
        let small = u8::try_from(self.rng.below(3)).unwrap_or(0);
        match self.rng.one_of(&[0u8, 43, 44, 51, 60, 135, 139, 140]) {
            // RFC 8200 section 4.5 knows a fragment that is the whole packet.
            44 => Extension::Fragment(Part::default()),
            51 => Extension::Authentication { words: small },
            kind => Extension::Units { kind, units: small },
        }
    }

    /// BGP, BFD or VRRP, from a router or from somebody else.
    fn routing(&mut self) -> Packet {
        let pick = self.rng.below(self.stage.node.services.len());
        let (vip, ..) = self.stage.place(pick);
        let v4 = vip.is_ipv4();
        let vip = if self.rng.percent(50) {
            vip
        } else {
            self.stranger(v4)
        };
        let routers: Vec<IpAddr> = self
            .stage
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
        let part = self.rng.percent(5).then_some(Part {
            offset: 0,
            more: true,
        });
        match self.rng.below(3) {
            0 => {
                self.saw(Shape::Bgp);
                let port = self.rng.one_of(&[179, 179, 179, 178]);
                let payload = tcp(self.rng.half(), port, &[0xff; 19]);
                self.carry(from, vip, TCP, part, payload)
            }
            1 => {
                self.saw(Shape::Bfd);
                let port = self.rng.one_of(&[3784, 4784, 3784, 4784, 3785]);
                let payload = udp(49152, port, &[0x20; 24]);
                self.carry(from, vip, UDP, part, payload)
            }
            _ => {
                let before = self.shapes.len();
                let packet = self.carry(from, vip, VRRP, part, vrrp());
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
    fn icmp_error(&mut self) -> Packet {
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

    fn quoted(&mut self, client: IpAddr, vip: IpAddr, protocol: u8, port: u16) -> Packet {
        let mut protocol = protocol;
        if self.rng.percent(6) {
            self.saw(Shape::QuoteOther);
            protocol = self.rng.one_of(&[ICMP, ICMPV6, 132, VRRP, NO_NEXT_HEADER]);
        }
        let part = self.rng.percent(8).then_some(Part {
            offset: u16::from(self.rng.percent(50)),
            more: true,
        });
        let payload = transport(protocol, port, self.rng.half());
        // The shapes of the quoted packet's headers are told apart from those of the outer packet.
        let before = self.shapes.len();
        let packet = self.carry(vip, client, protocol, part, payload);
        let headers = self.shapes.split_off(before);
        self.shapes.extend(part.map(|_| Shape::QuoteFragment));
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

    fn icmp_query(&mut self) -> Packet {
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

    fn other_protocol(&mut self) -> Packet {
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

    fn mutate(&mut self, packet: &mut Packet) {
        for _ in 0..=self.rng.below(2) {
            let done = match self.rng.below(8) {
                0..=1 => mutate::flip(&mut self.rng, packet),
                2..=3 => mutate::cut(&mut self.rng, packet),
                4..=6 => mutate::lie(&mut self.rng, packet),
                _ => {
                    let before = self.shapes.len();
                    let other = self.frame();
                    self.shapes.truncate(before);
                    mutate::splice(&mut self.rng, packet, &other)
                }
            };
            self.saw(done);
        }
    }
}
