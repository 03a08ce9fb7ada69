//! The ordinary run: every input of the corpus, whole, cut and changed.
#![expect(
    clippy::unwrap_used,
    reason = "what the helpers of a test expect is part of the test"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use ober_fuzz::{Counting, Target, targets};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Changed inputs of each target. `cargo xtask fuzz` tries millions.
const CHANGES: u64 = 20_000;
/// Cuts of one input; a longer one is cut at places evenly apart.
const CUTS: usize = 256;

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus"))
}

fn files(directory: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// `SplitMix64`: the same rolls on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit.max(1)).unwrap();
        usize::try_from((word ^ (word >> 31)) % limit).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// One to four changes: a bit, a byte, bytes gone, bytes twice, the tail of another.
fn change(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let length = dice.below(bytes.len() - at + 1).min(64);
        match dice.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 if !bytes.is_empty() => bytes[at] = dice.byte(),
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let twice = bytes[at..at + length].to_vec();
                bytes.splice(at..at, twice);
            }
            4 => {
                let from = dice.below(other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            _ => bytes.insert(at, dice.byte()),
        }
    }
}

#[test]
fn every_decoder_has_a_corpus_and_every_corpus_a_decoder() {
    let names: BTreeSet<String> = targets::ALL.iter().map(|it| it.name.to_owned()).collect();
    let directories = fs::read_dir(corpus())
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap());
    assert_eq!(names, directories.collect());
    for target in targets::ALL {
        assert!(
            files(&corpus().join(target.name)).len() >= 5,
            "{}",
            target.name
        );
    }
}

#[test]
fn no_decoder_panics_or_allocates_beyond_its_limit_on_arbitrary_bytes() {
    for target in targets::ALL {
        let inputs = files(&corpus().join(target.name));
        let mut most = (0, 0);
        let mut run = |bytes: &[u8]| most = most.max((target.run(bytes), bytes.len()));
        for input in &inputs {
            run(input);
            let step = input.len().div_ceil(CUTS).max(1);
            (0..input.len())
                .step_by(step)
                .for_each(|cut| run(&input[..cut]));
        }
        let mut dice = Dice(0x0b3e);
        for _ in 0..CHANGES {
            let mut bytes = inputs[dice.below(inputs.len())].clone();
            let other = &inputs[dice.below(inputs.len())];
            change(&mut dice, &mut bytes, other);
            run(&bytes);
        }
        println!(
            "{}: asked for at most {} bytes, for {} of input",
            target.name, most.0, most.1
        );
    }
}

#[test]
fn the_memory_limit_catches_a_decoder_that_trusts_a_length_field() {
    let believes = Target::new(|bytes| drop(vec![0_u8; usize::from(bytes[0]) << 8]), 4);
    believes.run(&[0]);
    let caught = std::panic::catch_unwind(|| believes.run(&[1]));
    let message = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.contains("1 bytes of input made it ask for 256 bytes"),
        "{message}"
    );
}
