//! Random packets for a [`Target`], weighted so that most of them concern one of its services.

mod flows;
mod messages;

use std::net::IpAddr;

use super::{Packet, QINQ, Rng, Shape, Target, VLAN, ethernet, frame, mutate, udp};

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
pub fn case(target: &Target, seed: u64) -> Case {
    let mut dice = Dice {
        target,
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

/// The generator, the stage it makes packets for, and the shapes that came up.
struct Dice<'a> {
    target: &'a Target,
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
