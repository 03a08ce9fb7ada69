//! Packets as bytes.

use std::fs;

use proptest::prelude::*;

use super::{
    super::packet::{LENGTH, Micros},
    *,
};

/// Up, polling, diagnostic 3: every field has a value of its own.
const PACKET: [u8; LENGTH] = [
    0x23, 0xe0, 5, 24, //
    1, 2, 3, 4, //
    5, 6, 7, 8, //
    0, 0x0f, 0x42, 0x40, //
    0, 4, 0x93, 0xe0, //
    0, 0, 0, 9,
];

fn control() -> Control {
    Control {
        diagnostic: Diagnostic::NeighborSignaledDown,
        state: State::Up,
        poll: true,
        fin: false,
        independent: false,
        demand: false,
        multiplier: NonZeroU8::new(5).unwrap(),
        mine: discriminator(0x0102_0304),
        yours: Some(discriminator(0x0506_0708)),
        min_tx: Micros(1_000_000),
        min_rx: Micros(300_000),
        min_echo_rx: Micros(9),
    }
}

#[test]
fn a_bfd_packet_encodes_to_the_expected_bytes_and_decodes_from_them() {
    assert_eq!(control().encode(), PACKET);
    assert_eq!(Control::decode(&PACKET), Ok(control()));
}

#[test]
fn each_bfd_flag_has_its_own_bit() {
    let with = |flags: u8| {
        let mut bytes = PACKET;
        bytes[1] = flags;
        Control::decode(&bytes)
    };
    let plain = Control {
        poll: false,
        ..control()
    };
    assert_eq!(with(0xc0), Ok(plain));
    assert_eq!(with(0xd0), Ok(Control { fin: true, ..plain }));
    assert_eq!(
        with(0xc8),
        Ok(Control {
            independent: true,
            ..plain
        })
    );
    assert_eq!(
        with(0xc2),
        Ok(Control {
            demand: true,
            ..plain
        })
    );
    assert_eq!(with(0xc1), Err(Refusal::Multipoint));
}

/// Each file holds a packet; its name begins with the result: `ok`, or the reason for dropping it.
#[test]
fn bfd_packets_of_the_corpus_are_judged_as_their_file_names_say() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/bfd");
    let mut seen = std::collections::BTreeSet::new();
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        // The fuzzer's own test reads the files that the fuzzer found.
        if name.starts_with("found") {
            continue;
        }
        let expected = name.split('-').next().unwrap().to_owned();
        let judged = Control::decode(&fs::read(&path).unwrap());
        assert_eq!(
            judged.map_or_else(Refusal::name, |_| "ok"),
            expected,
            "{name}"
        );
        seen.insert(expected);
    }
    let words: Vec<_> = seen.iter().map(String::as_str).collect();
    assert_eq!(
        words,
        [
            "authentication",
            "length",
            "multiplier",
            "multipoint",
            "my_discriminator",
            "ok",
            "state",
            "version"
        ]
    );
}

proptest! {
    #[test]
    fn decoding_arbitrary_bytes_never_panics_and_accepted_packets_encode_back_unchanged(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(control) = Control::decode(&bytes) {
            let mut said = control.encode();
            said[3] = bytes[3];
            prop_assert_eq!(&said[..], &bytes[..LENGTH]);
        }
    }

    /// Random bytes are rarely packets, so the test starts from a valid one.
    #[test]
    fn a_damaged_bfd_packet_is_refused_or_decoded_faithfully(at in 0_usize..LENGTH, value: u8, length in 0_usize..=LENGTH) {
        let mut bytes = PACKET;
        bytes[at] = value;
        match Control::decode(&bytes[..length]) {
            Ok(control) => prop_assert_eq!(control.encode(), bytes),
            Err(_) => prop_assert!(length < LENGTH || at < 12),
        }
    }
}
