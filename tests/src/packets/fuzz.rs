//! How many cases, from which seed, and how one that fails is shown.

use std::fmt::Write as _;

use super::{Case, Rng};

/// Cases of the ordinary run.
const ORDINARY: usize = 5_000;
/// Where the ordinary run begins; any number does, a fixed one fails the same way twice.
const FIRST_SEED: u64 = 0x0b3e;

/// `OBER_FUZZ_CASES`, or the ordinary number.
pub fn cases() -> usize {
    std::env::var("OBER_FUZZ_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ORDINARY)
}

/// The seeds of a run: `OBER_FUZZ_SEED` begins another one. A case's own seed, given there, makes it the first.
pub fn seeds() -> impl Iterator<Item = u64> {
    let first = std::env::var("OBER_FUZZ_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(FIRST_SEED);
    std::iter::successors(Some(first), |seed| Some(Rng::new(*seed).word()))
}

/// The case cut as short as it still fails, never below `least` bytes.
pub fn shortest(case: &Case, least: usize, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut shortest = case.clone();
    while shortest.bytes.len() > least {
        let mut shorter = shortest.clone();
        shorter.bytes.pop();
        shorter.first_buffer = shorter
            .first_buffer
            .filter(|first| *first < shorter.bytes.len());
        if !fails(&shorter) {
            break;
        }
        shortest = shorter;
    }
    shortest
}

impl Case {
    /// A frame that was not made at random.
    pub fn fixed(bytes: Vec<u8>) -> Self {
        Self {
            seed: 0,
            bytes,
            first_buffer: None,
            shapes: Vec::new(),
        }
    }

    /// What the program may read directly.
    pub fn readable(&self) -> &[u8] {
        &self.bytes[..self.first_buffer.unwrap_or(self.bytes.len())]
    }

    /// Everything needed to see it again.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "OBER_FUZZ_SEED={} {} bytes, first buffer {:?}, {:?}\n",
            self.seed,
            self.bytes.len(),
            self.first_buffer,
            self.shapes
        );
        for (line, bytes) in self.bytes.chunks(32).enumerate() {
            write!(text, "  {:4} ", line * 32).unwrap_or_default();
            for (place, byte) in bytes.iter().enumerate() {
                let gap = if place % 2 == 0 { " " } else { "" };
                write!(text, "{gap}{byte:02x}").unwrap_or_default();
            }
            text.push('\n');
        }
        text
    }
}
