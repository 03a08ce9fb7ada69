//! A row a symptom.

use std::num::NonZeroU8;

use super::*;
use crate::{
    bfd::{Mode, Timers},
    finding::Verdict,
    observe::sample,
};

fn settings() -> Settings {
    let fast = Duration::from_millis(50).into();
    Settings {
        peer: [192, 0, 2, 1].into(),
        local: None,
        interface: None,
        mode: Mode::Auto,
        timers: Timers {
            transmit: fast,
            receive: fast,
            multiplier: NonZeroU8::new(3).unwrap(),
        },
        passive: false,
        hold_down: Duration::ZERO,
    }
}

fn session() -> Session {
    Session {
        hops: "single-hop".into(),
        drops: [].into(),
        ..sample::bfd().sessions.remove(0)
    }
}

fn down() -> Session {
    Session {
        state: State::Down,
        remote_state: State::Down,
        remote_discriminator: None,
        ..session()
    }
}

#[test]
fn every_way_a_session_can_stand_has_its_verdict_and_its_advice() {
    for (realtime, session, verdict, reason, advice) in [
        (
            true,
            session(),
            Verdict::Ok,
            "up over single-hop, sends every 50ms, detects in 150ms",
            "",
        ),
        (
            true,
            Session {
                hops: "multi-hop".into(),
                ..session()
            },
            Verdict::Ok,
            "up over multi-hop, sends every 50ms, detects in 150ms",
            "neighbour runs multihop BFD, as FRR does with ttl-security",
        ),
        (
            false,
            Session {
                transmit_microseconds: Some(300_000),
                ..session()
            },
            Verdict::Warning,
            "up over single-hop, sends every 300ms, detects in 150ms; 50ms needs SCHED_FIFO",
            "CAP_SYS_NICE",
        ),
        (
            true,
            down(),
            Verdict::Failed,
            "not heard",
            "ports 3784 and 4784",
        ),
        (
            true,
            Session {
                send_error: Some("Network is unreachable".into()),
                ..down()
            },
            Verdict::Failed,
            "not heard; sending fails: Network is unreachable",
            "ports 3784 and 4784",
        ),
        (
            true,
            Session {
                mode: "single-hop".into(),
                ..down()
            },
            Verdict::Failed,
            "not heard",
            "mode = \"auto\"",
        ),
        (
            true,
            Session {
                drops: [("ttl".to_owned(), 2)].into(),
                ..down()
            },
            Verdict::Failed,
            "its packets come through a router",
            "multi-hop",
        ),
        (
            true,
            Session {
                remote_discriminator: Some(9),
                ..down()
            },
            Verdict::Failed,
            "it is heard and says down, but hears nothing of this node",
            "one way",
        ),
        (
            true,
            Session {
                remote_discriminator: Some(9),
                remote_state: State::AdminDown,
                ..down()
            },
            Verdict::Failed,
            "it is taken down there on purpose",
            "no shutdown",
        ),
    ] {
        let bfd = Bfd {
            realtime,
            sessions: vec![session],
            drops: [].into(),
        };
        let finding = judge(&settings(), &bfd);
        assert_eq!(
            (finding.verdict, finding.reason.as_str()),
            (verdict, reason)
        );
        let said = finding.advice.unwrap_or_default();
        assert!(said.contains(advice), "{said}");
        assert_eq!(said.is_empty(), advice.is_empty());
    }
    let finding = judge(&settings(), &Bfd::default());
    assert_eq!(
        (finding.verdict, finding.reason.as_str()),
        (Verdict::Failed, "there is no session with it")
    );
}
