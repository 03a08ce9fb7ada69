//! Damage to packets: flipped bits, missing ends, false lengths, heads and tails of different packets.

use super::{Packet, Rng, Shape};

/// Values at which a length or a number is likely to be misread.
const EDGES: [u8; 16] = [
    0, 1, 2, 4, 5, 6, 7, 8, 0x0f, 0x40, 0x44, 0x4f, 0x60, 0x7f, 0x80, 0xff,
];

/// Flips one to three bits, mostly among the headers.
pub(super) fn flip(rng: &mut Rng, packet: &mut Packet) -> Shape {
    for _ in 0..=rng.below(3) {
        let reach = packet
            .bytes
            .len()
            .min(if rng.percent(80) { 90 } else { usize::MAX });
        let at = rng.below(reach);
        if let Some(byte) = packet.bytes.get_mut(at) {
            *byte ^= 1 << rng.below(8);
        }
    }
    Shape::Flipped
}

/// Ends the frame anywhere.
pub(super) fn cut(rng: &mut Rng, packet: &mut Packet) -> Shape {
    packet
        .bytes
        .truncate(rng.below(packet.bytes.len().min(160) + 1));
    Shape::Cut
}

/// Changes a byte that says what follows or how long something is.
pub(super) fn lie(rng: &mut Rng, packet: &mut Packet) -> Shape {
    if packet.telling.is_empty() {
        return flip(rng, packet);
    }
    let at = rng.one_of(&packet.telling);
    if let Some(byte) = packet.bytes.get_mut(at) {
        *byte = match rng.below(4) {
            0 => byte.wrapping_add(1),
            1 => byte.wrapping_sub(1),
            2 => rng.one_of(&EDGES),
            _ => rng.byte(),
        };
    }
    Shape::Lied
}

/// The head of one packet and the tail of another.
pub(super) fn splice(rng: &mut Rng, packet: &mut Packet, other: &Packet) -> Shape {
    packet
        .bytes
        .truncate(14 + rng.below(packet.bytes.len().min(120)));
    let from = rng.below(other.bytes.len().min(120));
    packet.bytes.extend(other.bytes.iter().skip(from));
    Shape::Spliced
}
