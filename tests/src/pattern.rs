//! Bytes that can be made and checked anywhere from a seed and a length, so that an object of any size is verified
//! byte for byte without being kept.

use bytes::Bytes;

/// Bytes made at a time.
const PIECE: usize = 64 * 1024;

/// The content of a test object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub seed: u64,
    pub length: u64,
}

impl Pattern {
    pub const fn new(seed: u64, length: u64) -> Self {
        Self { seed, length }
    }

    /// The bytes from `offset` on, as many as make a piece; empty at the end.
    pub fn piece(&self, offset: u64) -> Bytes {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(PIECE);
        let mut bytes = Vec::with_capacity(left.min(PIECE));
        self.fill(offset, left.min(PIECE), &mut bytes);
        bytes.into()
    }

    /// A walk along the pattern, to send it or to check what arrives.
    pub const fn walk(self) -> Walk {
        Walk {
            pattern: self,
            at: 0,
        }
    }

    fn fill(&self, offset: u64, length: usize, into: &mut Vec<u8>) {
        let mut skip = usize::try_from(offset % 8).unwrap_or_default();
        let mut word = offset / 8;
        while into.len() < length {
            let bytes = mix(self.seed ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes();
            let end = bytes.len().min(skip + length - into.len());
            into.extend_from_slice(&bytes[skip..end]);
            skip = 0;
            word += 1;
        }
    }
}

/// The finaliser of splitmix64: every output bit depends on every input bit.
const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A place in a pattern.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    pattern: Pattern,
    at: u64,
}

impl Walk {
    /// Bytes still to come.
    pub const fn left(&self) -> u64 {
        self.pattern.length - self.at
    }

    /// The next bytes; `None` at the end.
    pub fn step(&mut self) -> Option<Bytes> {
        let piece = self.pattern.piece(self.at);
        self.at += piece.len() as u64;
        (!piece.is_empty()).then_some(piece)
    }

    /// Do these bytes come next? The offset of the first that does not is the error.
    pub fn check(&mut self, mut arrived: &[u8]) -> Result<(), u64> {
        while !arrived.is_empty() {
            let piece = self.pattern.piece(self.at);
            let common = piece.len().min(arrived.len());
            if common == 0 {
                return Err(self.at);
            }
            let (now, later) = arrived.split_at(common);
            if let Some(place) = now
                .iter()
                .zip(piece.iter())
                .position(|(got, want)| got != want)
            {
                return Err(self.at + place as u64);
            }
            self.at += common as u64;
            arrived = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pattern: Pattern) -> Vec<u8> {
        let mut walk = pattern.walk();
        std::iter::from_fn(|| walk.step()).flatten().collect()
    }

    #[test]
    fn a_pattern_is_the_same_from_any_offset_and_another_with_another_seed() {
        let pattern = Pattern::new(7, 200_003);
        let bytes = whole(pattern);
        assert_eq!(bytes.len(), 200_003);
        for offset in [0, 1, 7, 8, 65_536, 131_071, 200_000] {
            let piece = pattern.piece(offset as u64);
            assert_eq!(piece, bytes[offset..offset + piece.len()]);
        }
        assert_ne!(whole(Pattern::new(8, 200_003)), bytes);
    }

    #[test]
    fn a_wrong_or_surplus_byte_is_found_at_its_offset_for_any_division_into_chunks() {
        let mut bytes = whole(Pattern::new(1, 100_000));
        let mut walk = Pattern::new(1, 100_000).walk();
        assert!(bytes.chunks(977).all(|cut| walk.check(cut).is_ok()));
        assert_eq!((walk.left(), walk.check(b"x")), (0, Err(100_000)));
        bytes[70_001] ^= 1;
        let mut walk = Pattern::new(1, 100_000).walk();
        assert_eq!(
            bytes.chunks(977).find_map(|cut| walk.check(cut).err()),
            Some(70_001)
        );
    }
}
