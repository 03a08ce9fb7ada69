//! Bytes that are no messages, and damaged messages: none makes the decoder panic.

use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::{bytes::everything, judged::terms, *};
use crate::protocols::bgp::message::judge;

fn swallow(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(length)) = frame(rest) {
        let Some(whole) = rest.get(..length) else {
            return;
        };
        if let Ok(Received::Update(update)) = decode(whole) {
            for (wide, internal) in [(true, true), (true, false), (false, false)] {
                match judge(&update, terms(wide, internal)) {
                    Ok(judged) => {
                        // A prefix takes at least one byte.
                        assert!(judged.announced.len() + judged.withdrawn.len() <= bytes.len());
                    }
                    Err(refusal) => assert!(refusal.data.len() <= bytes.len() + 8),
                }
            }
        }
        rest = &rest[length..];
    }
}

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/bgp"))
}

/// `UPDATE=1 cargo test` rewrites this node's messages in the corpus; those of other speakers stay.
#[test]
fn the_bgp_decoder_reads_the_corpus_without_a_panic() {
    if std::env::var_os("UPDATE").is_some() {
        for (number, message) in everything().iter().enumerate() {
            let name = format!("ours-{number:02}-{}.bin", message.kind().name());
            fs::write(corpus().join(name), message.encode().unwrap()).unwrap();
        }
    }
    let files = fs::read_dir(corpus()).unwrap();
    let all: Vec<Vec<u8>> = files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(all.len() >= 20);
    for bytes in &all {
        swallow(bytes);
        // The same bytes, cut off at every place.
        (0..bytes.len()).for_each(|length| swallow(&bytes[..length]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_bgp_decoder_does_not_panic_on_arbitrary_bytes(
        kind in 0..7u8,
        body in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        swallow(&body);
        let mut bytes = vec![0xff; 16];
        bytes.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
        bytes.push(kind);
        bytes.extend(body);
        swallow(&bytes);
    }

    #[test]
    fn the_bgp_decoder_does_not_panic_on_a_changed_message(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let all = everything();
        let mut bytes = all[which.index(all.len())].encode().unwrap().to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            // The header stays valid, so that the bytes behind it are read.
            if at >= 19 {
                bytes[at] = value;
            }
        }
        swallow(&bytes);
    }
}
