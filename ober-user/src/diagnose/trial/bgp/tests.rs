//! A row a symptom: the reason, and the advice.

use super::*;
use crate::{
    api::{
        sample,
        status::bgp::{Counts, PathState},
    },
    config::tests::{ConfigDirectory, LEAST},
    diagnose::finding::Verdict,
};

fn settings(lines: &str) -> Neighbour {
    let text = format!(
        "{LEAST}\n[bgp]\nas = 65001\n[[bgp.neighbours]]\naddress = \"192.0.2.254\"\n{lines}"
    );
    let config = ConfigDirectory::new().parse(&text);
    let bgp = config.unwrap_or_else(|error| panic!("{error}")).bgp;
    bgp.unwrap().neighbours.remove(0)
}

const EXTERNAL: &str = "as = 65000\nfamilies = ['ipv4']";

fn up() -> Session {
    let updates = Counts {
        sent: 0,
        received: 3,
    };
    Session {
        flaps: 0,
        messages: [("update".to_owned(), updates)].into(),
        last_received: None,
        ..sample::status().bgp.remove(0)
    }
}

fn down() -> Session {
    Session {
        state: State::Active,
        hold_time: None,
        families: vec![],
        opened: None,
        last_failure: Some("cannot connect: Connection refused (os error 111)".into()),
        last_failure_seconds: Some(0),
        ..up()
    }
}

fn said(code: u8, subcode: u8, name: &str) -> Said {
    Said {
        code,
        subcode,
        name: name.into(),
        text: None,
        seconds: 0,
    }
}

fn verdict(settings: &Neighbour, session: &Session, drops: Drops) -> (Verdict, String, String) {
    let finding = judge(Seen {
        settings,
        session: Some(session),
        unheard: false,
        drops,
    });
    let advice = finding.advice.unwrap_or_default();
    (finding.verdict, finding.reason, advice)
}

#[test]
fn a_session_is_good_and_says_what_was_agreed() {
    let settings = settings(EXTERNAL);
    let finding = judge(Seen {
        settings: &settings,
        session: Some(&up()),
        unheard: false,
        drops: Drops::default(),
    });
    assert_eq!(
        (finding.verdict, finding.reason.as_str(), finding.advice),
        (
            Verdict::Ok,
            "AS 65000, hold time 9 s, ipv4; 4-octet-as",
            None
        )
    );
    for (name, value) in [
        ("as", "65000"),
        ("id", "192.0.2.254"),
        ("hold_time", "9"),
        ("offered_hold_time", "180"),
        ("families", "ipv4"),
        ("capabilities", "ipv4 4-octet-as"),
        ("state", "established"),
    ] {
        assert_eq!(
            finding.details.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
}

#[test]
fn a_bgp_session_without_a_configured_family_or_freshly_restarted_gives_a_warning() {
    let both = settings("as = 65000\nfamilies = ['ipv4', 'ipv6']");
    let (verdict_, reason, advice) = verdict(&both, &up(), Drops::default());
    assert_eq!(verdict_, Verdict::Warning);
    assert!(reason.ends_with("but it does not speak ipv6"), "{reason}");
    assert!(advice.starts_with("activate ipv6 unicast"), "{advice}");

    let fresh = Session {
        flaps: 2,
        seconds: 5,
        ..up()
    };
    let (verdict_, reason, _) = verdict(&settings(EXTERNAL), &fresh, Drops::default());
    assert_eq!(verdict_, Verdict::Warning);
    assert!(reason.contains("for 5 s only, after 2"), "{reason}");
}

#[test]
fn only_an_external_neighbour_without_announcements_gets_the_hint_of_rfc_8212() {
    let quiet = |asn| Session {
        asn: Some(asn),
        messages: [(
            "update".to_owned(),
            Counts {
                sent: 0,
                received: 1,
            },
        )]
        .into(),
        ..up()
    };
    let (good, _, advice) = verdict(&settings(EXTERNAL), &quiet(65000), Drops::default());
    assert!(
        good == Verdict::Ok && advice.contains("RFC 8212"),
        "{advice}"
    );
    let internal = settings("as = 65001\nfamilies = ['ipv4']");
    assert_eq!(
        verdict(&internal, &quiet(65001), Drops::default()).2,
        String::new()
    );
}

#[test]
fn the_notification_of_a_session_names_the_cause_of_its_failure() {
    let asked = crate::api::status::bgp::Opened {
        asn: 65009,
        id: [192, 0, 2, 254].into(),
        hold_time: 180,
        capabilities: vec![],
    };
    let wrong = Session {
        opened: Some(asked),
        last_sent: Some(said(2, 2, "Bad Peer AS")),
        ..down()
    };
    let (failed, reason, advice) = verdict(&settings(EXTERNAL), &wrong, Drops::default());
    assert_eq!(failed, Verdict::Failed);
    assert_eq!(reason, "it is of AS 65009, configured is 65000");
    assert!(advice.starts_with("write `as = 65009`"), "{advice}");
    for (code, subcode, reason, advice) in [
        (
            2,
            2,
            "it refuses: 2/2 x",
            "another AS of this node than 65001",
        ),
        (2, 3, "it refuses: 2/3 x", "router_id"),
        (2, 6, "it refuses: 2/6 x", "hold_time"),
        (2, 7, "it refuses: 2/7 x", "families"),
        (6, 2, "it refuses: 6/2 x", "no shutdown"),
        (6, 5, "it refuses: 6/5 x", "does not know this node"),
        (6, 7, "it refuses: 6/7 x", "another BGP speaker"),
        (6, 10, "it refuses: 6/10 x", "BFD"),
        (3, 1, "it refuses: 3/1 x", "log"),
    ] {
        let session = Session {
            last_received: Some(said(code, subcode, "x")),
            ..down()
        };
        let found = verdict(&settings(EXTERNAL), &session, Drops::default());
        assert_eq!((found.0, found.1.as_str()), (Verdict::Failed, reason));
        assert!(found.2.contains(advice), "{}", found.2);
    }
}

#[test]
fn a_silent_neighbour_is_explained_by_kernel_drops_or_else_by_the_configuration() {
    let none = Drops::default();
    let far = Drops { far: 2, ..none };
    let (unsigned, signed, wrong) = (
        Drops {
            unsigned: 1,
            ..none
        },
        Drops {
            unexpectedly_signed: 1,
            ..none
        },
        Drops {
            wrongly_signed: 1,
            ..none
        },
    );
    let gtsm = "as = 65000\nttl_security = 1";
    let password = "as = 65000\npassword = 'x'";
    let refused = "cannot connect: Connection refused (os error 111)";
    for (lines, drops, reason, advice) in [
        (EXTERNAL, none, refused, "does it want a password"),
        (EXTERNAL, none, refused, "same link"),
        (EXTERNAL, far, refused, "TCP port 179"),
        (password, none, refused, "a wrong one looks like a time-out"),
        (gtsm, none, refused, "has it ttl-security"),
        (
            gtsm,
            far,
            "no session: 2 packets came from further away than `ttl_security` allows",
            "ttl-security on there",
        ),
        (
            password,
            unsigned,
            "no session: packets came without a signature",
            "set the password there",
        ),
        (
            password,
            wrong,
            "no session: packets came signed with another password",
            "same password",
        ),
        (
            EXTERNAL,
            signed,
            "no session: packets came signed, and there is no password here",
            "password_file",
        ),
        ("as = 65000\nmultihop = 3", none, refused, "within the hops"),
    ] {
        let found = verdict(&settings(lines), &down(), drops);
        assert_eq!((found.0, found.1.as_str()), (Verdict::Failed, reason));
        assert!(found.2.contains(advice), "{}", found.2);
    }
}

#[test]
fn a_session_heard_in_one_direction_only_gives_the_hint_of_gtsm() {
    let waits = Session {
        state: State::OpenConfirm,
        opened: up().opened,
        ..down()
    };
    let expired = Session {
        last_sent: Some(said(4, 0, "Hold Timer Expired")),
        opened: up().opened,
        ..down()
    };
    let strict = settings("as = 65000\nbfd = 'fast'\nstrict = true");
    let waiting = Session {
        bfd: Some(PathState::Down),
        ..waits.clone()
    };
    let found = verdict(&strict, &waiting, Drops::default());
    assert!(found.1.contains("waits for BFD"), "{}", found.1);
    let finding = judge(Seen {
        settings: &settings(EXTERNAL),
        session: Some(&up()),
        unheard: true,
        drops: Drops::default(),
    });
    assert_eq!(finding.verdict, Verdict::Failed);
    for session in [waits, expired] {
        let found = verdict(&settings(EXTERNAL), &session, Drops::default());
        assert_eq!(found.0, Verdict::Failed);
        assert!(found.1.starts_with("it answers"), "{}", found.1);
        assert!(found.2.contains("write `ttl_security`"), "{}", found.2);
    }
}

#[test]
fn a_neighbour_the_daemon_does_not_have_is_a_failure() {
    let settings = settings(EXTERNAL);
    let finding = judge(Seen {
        settings: &settings,
        session: None,
        unheard: false,
        drops: Drops::default(),
    });
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(finding.advice.unwrap().contains("ober-user reload"));
}

#[test]
fn a_silent_or_malformed_router_is_distinguished_from_an_absent_one() {
    let settings = settings(EXTERNAL);
    let silent = Session {
        state: State::OpenSent,
        last_failure: None,
        ..down()
    };
    let (_, reason, advice) = verdict(&settings, &silent, Drops::default());
    assert_eq!(reason, "it takes the connection and says nothing");
    assert!(!advice.contains("password"), "{advice}");
    for (code, subcode, name) in [
        (3, 1, "Malformed Attribute List"),
        (1, 3, "Bad Message Type"),
    ] {
        let wrong = Session {
            last_sent: Some(said(code, subcode, name)),
            ..down()
        };
        let (_, reason, advice) = verdict(&settings, &wrong, Drops::default());
        assert!(
            reason.contains(name) && reason.starts_with("this node ended"),
            "{reason}"
        );
        assert!(advice.contains("against the standard"), "{advice}");
        assert!(!advice.contains("password"), "{advice}");
    }
}
