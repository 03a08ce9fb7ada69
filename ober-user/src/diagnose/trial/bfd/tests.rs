//! A row a symptom.

use std::num::NonZeroU8;

use super::*;
use crate::{
    api::sample,
    diagnose::finding::Verdict,
    protocols::bfd::{Mode, Timers},
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

fn found(realtime: bool, session: Session) -> Finding {
    let bfd = Bfd {
        realtime,
        sessions: vec![session],
        drops: [].into(),
    };
    judge(&settings(), &bfd)
}

#[track_caller]
fn says(finding: &Finding, verdict: Verdict, reason: &str, advice: &str) {
    assert_eq!(
        (finding.verdict, finding.reason.as_str()),
        (verdict, reason)
    );
    let said = finding.advice.as_deref().unwrap_or_default();
    assert!(said.contains(advice), "{said}");
    assert_eq!(said.is_empty(), advice.is_empty());
}

#[test]
fn a_bfd_session_that_is_up_is_good_and_its_oddities_are_reported() {
    let single = "up over single-hop, sends every 50ms, detects in 150ms";
    says(&found(true, session()), Verdict::Ok, single, "");
    let multi = Session {
        hops: "multi-hop".into(),
        ..session()
    };
    says(
        &found(true, multi),
        Verdict::Ok,
        "up over multi-hop, sends every 50ms, detects in 150ms",
        "neighbour runs multihop BFD, as FRR does with ttl-security",
    );
    let slow = Session {
        transmit_microseconds: Some(300_000),
        ..session()
    };
    says(
        &found(false, slow),
        Verdict::Warning,
        "up over single-hop, sends every 300ms, detects in 150ms; 50ms needs SCHED_FIFO",
        "CAP_SYS_NICE",
    );
}

#[test]
fn a_session_that_is_not_up_is_a_failure_with_its_cause() {
    let failing = Session {
        send_error: Some("Network is unreachable".into()),
        ..down()
    };
    let single = Session {
        mode: "single-hop".into(),
        ..down()
    };
    let routed = Session {
        drops: [("ttl".to_owned(), 2)].into(),
        ..down()
    };
    let one_way = Session {
        remote_discriminator: Some(9),
        ..down()
    };
    let meant = Session {
        remote_state: State::AdminDown,
        ..one_way.clone()
    };
    let unreachable = "not heard; sending fails: Network is unreachable";
    let deaf = "it is heard and says down, but receives nothing from this node";
    for (session, reason, advice) in [
        (down(), "not heard", "ports 3784 and 4784"),
        (failing, unreachable, "ports 3784 and 4784"),
        (single, "not heard", "mode = \"auto\""),
        (routed, "its packets come through a router", "multi-hop"),
        (one_way, deaf, "one way"),
        (meant, "it is taken down there on purpose", "no shutdown"),
    ] {
        says(&found(true, session), Verdict::Failed, reason, advice);
    }
    let none = judge(&settings(), &Bfd::default());
    says(
        &none,
        Verdict::Failed,
        "there is no session with it",
        "reload",
    );
}
