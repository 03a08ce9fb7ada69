//! BFD sessions to show.

use std::collections::BTreeMap;

use crate::{
    api::status::bfd::{Bfd, Late, Session},
    protocols::bfd::State,
};

pub(crate) fn bfd() -> Bfd {
    let up = Session {
        peer: [192, 0, 2, 1].into(),
        interface: None,
        state: State::Up,
        seconds: 70,
        diagnostic: "none".into(),
        remote_state: State::Up,
        remote_diagnostic: "none".into(),
        mode: "auto".into(),
        hops: "multi-hop".into(),
        passive: false,
        discriminator: 17,
        remote_discriminator: Some(18),
        transmit_microseconds: Some(50_000),
        detection_microseconds: Some(150_000),
        multiplier: 3,
        remote_multiplier: 3,
        ups: 1,
        failures: 0,
        received: 1000,
        sent: 1001,
        send_failures: 0,
        send_error: None,
        late: 1,
        last_late: Some(Late {
            seconds_ago: 40,
            gap_microseconds: 81_000,
        }),
        drops: [("ttl".to_owned(), 2)].into(),
    };
    let down = Session {
        peer: "fe80::1".parse().unwrap(),
        interface: Some("eth1".into()),
        state: State::Down,
        diagnostic: "detection time expired".into(),
        remote_state: State::Down,
        hops: "single-hop".into(),
        remote_discriminator: None,
        transmit_microseconds: Some(1_000_000),
        detection_microseconds: None,
        failures: 1,
        drops: BTreeMap::new(),
        ..up.clone()
    };
    Bfd {
        realtime: true,
        sessions: vec![up, down],
        drops: [("version".to_owned(), 5)].into(),
    }
}
