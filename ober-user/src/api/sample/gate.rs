//! A gate to show.

use crate::{
    announce::gate::{Standing, State},
    api::status::gate::{Gate, Transition},
};

pub(super) fn gate() -> Gate {
    Gate {
        vip: [192, 0, 2, 10].into(),
        state: State::Up,
        seconds: 61,
        reason: "2 workers answer".into(),
        lost: false,
        standing: Standing::Announced,
        serving: 2,
        servers: Some(3),
        transitions: [("served".to_owned(), 2)].into(),
        history: vec![
            Transition {
                at: 1_700_000_000,
                from: State::Init,
                to: State::Rising,
                reason: "2 workers answer".into(),
            },
            Transition {
                at: 1_700_000_001,
                from: State::Rising,
                to: State::Up,
                reason: "2 workers answer".into(),
            },
        ],
        unkept: None,
    }
}
