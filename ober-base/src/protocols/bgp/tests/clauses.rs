//! Single laws, each with the whole list of actions.

use super::*;
use crate::protocols::bgp::{
    event::{Failure, Path},
    message::{Refresh, Update},
};

fn expect_open(settings: &Settings) -> Message {
    Message::Open(Open {
        asn: settings.local_as,
        hold_time: settings.hold_time,
        id: settings.id,
        capabilities: Capabilities {
            families: settings.families.clone(),
            four_octet_as: true,
            refresh: true,
            enhanced_refresh: true,
            extended_next_hop: settings.extended_next_hop,
        },
    })
}

fn end_of_rib() -> [Action; 2] {
    [Family::Ipv4, Family::Ipv6]
        .map(|family| Action::Send(Side::Ours, Message::Update(Update::EndOfRib(family))))
}

#[test]
fn a_session_comes_up_step_by_step_and_advertises_its_routes() {
    let mut rig = Rig::new(settings());
    rig.on(Event::Routes(routes(&["192.0.2.10/32"])));
    rig.on(Event::Settled);
    assert_eq!(rig.on(Event::Start), [Action::Dial]);
    assert_eq!(rig.state(), State::Connect);
    let open = Action::Send(Side::Ours, expect_open(&settings()));
    assert_eq!(rig.on(Event::Dialed(hops())), [open]);
    let keepalive = Action::Send(Side::Ours, Message::Keepalive);
    assert_eq!(
        rig.hear(Side::Ours, &Message::Open(their_open())),
        [keepalive]
    );
    let actions = rig.hear(Side::Ours, &Message::Keepalive);
    let [
        Action::Send(
            Side::Ours,
            Message::Update(Update::Announce {
                attributes,
                prefixes,
            }),
        ),
        rest @ ..,
    ] = &actions[..]
    else {
        panic!("{actions:?}");
    };
    assert_eq!(attributes.path, [65001]);
    assert_eq!(prefixes[..], ["192.0.2.10/32".parse().unwrap()]);
    assert_eq!(rest, end_of_rib());
}

#[test]
fn end_of_rib_waits_for_the_first_verdicts_or_for_the_deadline() {
    let mut rig = Rig::upto(settings(), State::Established);
    let news = rig.on(Event::Routes(routes(&["192.0.2.10/32"])));
    assert_eq!(news.len(), 1);
    assert_eq!(rig.on(Event::Settled), end_of_rib());
    assert_eq!(rig.on(Event::Settled), []);

    let hold_time = Duration::ZERO;
    let mut rig = Rig::upto(
        Settings {
            hold_time,
            ..settings()
        },
        State::Established,
    );
    assert_eq!(rig.next(), end_of_rib());
    assert_eq!(rig.peering.deadline(), None);
}

#[test]
fn an_unchanged_route_is_not_sent_again_and_attributes_change_without_a_reset() {
    let mut rig = Rig::upto(settings(), State::Established);
    rig.on(Event::Settled);
    assert_eq!(
        rig.on(Event::Routes(routes(&[
            "192.0.2.10/32",
            "2001:db8::10/128"
        ])))
        .len(),
        2
    );
    assert_eq!(
        rig.on(Event::Routes(routes(&[
            "192.0.2.10/32",
            "2001:db8::10/128"
        ]))),
        []
    );
    let mut changed = (*routes(&["192.0.2.10/32", "2001:db8::10/128"])).clone();
    changed
        .get_mut(&"192.0.2.10/32".parse().unwrap())
        .unwrap()
        .med = Some(7);
    let actions = rig.on(Event::Routes(Arc::new(changed)));
    let [
        Action::Send(
            _,
            Message::Update(Update::Announce {
                attributes,
                prefixes,
            }),
        ),
    ] = &actions[..]
    else {
        panic!("{actions:?}");
    };
    assert_eq!((attributes.med, prefixes.len()), (Some(7), 1));
    assert_eq!(rig.state(), State::Established);
}

#[test]
fn bfd_down_ends_the_session_at_once_and_admin_down_does_not() {
    for (paths, ends) in [
        (&[Path::Up, Path::Down][..], true),
        (&[Path::Up, Path::AdminDown], false),
        // BFD has not reported the path as up before.
        (&[Path::Down], false),
        (&[Path::Up, Path::AdminDown, Path::Down], false),
    ] {
        let mut rig = Rig::upto(settings(), State::Established);
        let actions: Vec<Action> = paths
            .iter()
            .flat_map(|path| rig.on(Event::Bfd(*path)))
            .collect();
        if ends {
            let down = Notification::BFD_DOWN;
            assert_eq!(
                actions,
                [
                    Action::Send(Side::Ours, Message::Notification(down.clone())),
                    Action::Close(Side::Ours),
                    Action::Failed(Failure::Sent(down)),
                ]
            );
        } else {
            assert_eq!(actions, []);
        }
    }
}

#[test]
fn a_session_that_bfd_ends_repeatedly_returns_each_time_after_the_first_pause() {
    let mut rig = Rig::upto(settings(), State::Established);
    for round in 0..5 {
        rig.on(Event::Bfd(Path::Up));
        let began = rig.now;
        rig.on(Event::Bfd(Path::Down));
        while rig.state() == State::Idle {
            rig.next();
        }
        let pause = rig.now - began;
        assert!(pause <= Duration::from_secs(1), "{round}: {pause:?}");
        rig.on(Event::Dialed(hops()));
        rig.hear(Side::Ours, &Message::Open(their_open()));
        rig.hear(Side::Ours, &Message::Keepalive);
        assert_eq!(rig.state(), State::Established, "{round}");
    }
}

#[test]
fn a_strict_session_waits_for_bfd_and_ends_if_bfd_does_not_come_up() {
    let strict = Settings {
        strict: true,
        ..settings()
    };
    for path in [Path::Up, Path::AdminDown] {
        let mut rig = Rig::upto(strict.clone(), State::OpenSent);
        assert_eq!(rig.hear(Side::Ours, &Message::Open(their_open())), []);
        assert_eq!(rig.on(Event::Bfd(Path::Down)), []);
        assert_eq!(rig.hear(Side::Ours, &Message::Keepalive), []);
        assert_eq!(rig.state(), State::OpenConfirm);
        let keepalive = Action::Send(Side::Ours, Message::Keepalive);
        assert_eq!(rig.on(Event::Bfd(path)), [keepalive]);
        assert_eq!(rig.state(), State::Established);
    }
    let mut rig = Rig::upto(strict, State::OpenSent);
    rig.hear(Side::Ours, &Message::Open(their_open()));
    assert_eq!(notified(&rig.next()), Some((6, 10)));
}

#[test]
fn a_refresh_is_answered_with_all_routes_of_the_family_between_markers_if_negotiated() {
    for enhanced_refresh in [false, true] {
        let mut rig = Rig::upto(settings(), State::OpenSent);
        let mut open = their_open();
        open.capabilities.enhanced_refresh = enhanced_refresh;
        rig.hear(Side::Ours, &Message::Open(open));
        rig.hear(Side::Ours, &Message::Keepalive);
        let first = rig.on(Event::Routes(routes(&[
            "192.0.2.10/32",
            "2001:db8::10/128",
        ])));
        let v4 = first[0].clone();
        let mark = |which| Action::Send(Side::Ours, Message::Refresh(Family::Ipv4, which));
        let expected = if enhanced_refresh {
            vec![mark(Refresh::Begin), v4, mark(Refresh::End)]
        } else {
            vec![v4]
        };
        let request = Message::Refresh(Family::Ipv4, Refresh::Request);
        assert_eq!(rig.hear(Side::Ours, &request), expected);
        let stranger = Event::Received(Side::Ours, Received::Refresh(None, Refresh::Request));
        assert_eq!(rig.on(stranger), []);
    }
}

#[test]
fn a_session_that_exceeds_its_prefix_limit_ends_for_a_long_time() {
    let max_prefixes = Some(2);
    let mut rig = Rig::upto(
        Settings {
            max_prefixes,
            ..settings()
        },
        State::Established,
    );
    rig.on(Event::Settled);
    // ORIGIN, AS_PATH 65002, NEXT_HOP, then prefixes.
    let attributes = [
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea, 0x40, 3, 4, 10, 0, 0, 2,
    ];
    let mut say = |prefixes: &[u8]| {
        let mut bytes = vec![0, 0, 0, u8::try_from(attributes.len()).unwrap()];
        bytes.extend(attributes);
        bytes.extend(prefixes);
        rig.on(Event::Received(
            Side::Ours,
            Received::Update(update(&bytes)),
        ))
    };
    assert_eq!(say(&[8, 11, 8, 12]), []);
    // Prefixes announced again do not count twice.
    assert_eq!(say(&[8, 11, 8, 12]), []);
    let actions = say(&[8, 13]);
    // RFC 4486: the family and the limit.
    let refusal = Notification::with(6, 1, [0, 1, 1, 0, 0, 0, 2]);
    assert_eq!(sent(&actions), [&Message::Notification(refusal)]);
    assert!(rig.peering.deadline().unwrap() - rig.now > Duration::from_secs(44));
}

#[test]
fn pauses_after_failures_and_between_attempts_grow_to_a_minute() {
    let mut rig = Rig::new(settings());
    rig.on(Event::Start);
    let mut before = Duration::ZERO;
    for round in 0..10 {
        let began = rig.now;
        rig.on(Event::NotDialed("refused".into()));
        assert_eq!(rig.state(), State::Active);
        while rig.state() != State::Connect {
            rig.next();
        }
        let pause = rig.now - began;
        let full = Duration::from_secs(5 << round.min(5)).min(Duration::from_mins(1));
        assert!(
            full.mul_f64(0.75) <= pause && pause <= full,
            "{round}: {pause:?}"
        );
        assert!(
            pause > before || full == Duration::from_mins(1),
            "{round}: {pause:?}"
        );
        before = pause;
    }
    let mut rig = Rig::upto(settings(), State::OpenSent);
    for round in 0..10 {
        rig.hear(Side::Ours, &Message::Open(their_open()));
        let began = rig.now;
        rig.on(Event::Closed(Side::Ours, "reset".into()));
        assert_eq!(rig.state(), State::Idle);
        assert_eq!(rig.on(Event::Accepted(hops())), [Action::Refuse]);
        while rig.state() == State::Idle {
            rig.next();
        }
        let pause = rig.now - began;
        let full = Duration::from_secs(1 << round.min(10)).min(Duration::from_mins(1));
        assert!(
            full.mul_f64(0.75) <= pause && pause <= full,
            "{round}: {pause:?}"
        );
        rig.on(Event::Dialed(hops()));
    }
}

#[test]
fn a_connection_attempt_without_an_answer_times_out_and_is_reported() {
    let mut rig = Rig::upto(settings(), State::Connect);
    let actions = rig.next();
    let [
        Action::Failed(Failure::Connect(_)),
        Action::HangUp,
        Action::Dial,
    ] = &actions[..]
    else {
        panic!("{actions:?}");
    };
}

#[test]
fn a_passive_neighbour_is_never_dialed_and_its_connection_is_accepted() {
    let mut rig = Rig::new(Settings {
        passive: true,
        ..settings()
    });
    assert_eq!(rig.on(Event::Start), []);
    assert_eq!(rig.state(), State::Active);
    assert_eq!(rig.pass(Duration::from_mins(2)), []);
    let open = Action::Send(Side::Theirs, expect_open(&settings()));
    assert_eq!(rig.on(Event::Accepted(hops())), [Action::Accept, open]);
}

#[test]
fn a_delayed_open_waits_for_the_neighbours_open_for_a_limited_time() {
    let delay_open = Duration::from_secs(2);
    let delayed = || {
        let mut rig = Rig::new(Settings {
            delay_open,
            ..settings()
        });
        rig.on(Event::Start);
        assert_eq!(rig.on(Event::Dialed(hops())), []);
        assert_eq!(rig.state(), State::Connect);
        rig
    };
    let mut rig = delayed();
    assert_eq!(sent(&rig.next()).len(), 1);
    assert_eq!(rig.state(), State::OpenSent);
    let mut rig = delayed();
    let actions = rig.hear(Side::Ours, &Message::Open(their_open()));
    assert_eq!(
        sent(&actions),
        [&expect_open(&settings()), &Message::Keepalive]
    );
    assert_eq!(rig.state(), State::OpenConfirm);
    // Nothing is sent before the OPEN.
    let mut rig = delayed();
    let garbage = Event::Garbage(Side::Ours, Notification::NOT_SYNCHRONIZED);
    assert_eq!(sent(&rig.on(garbage)), Vec::<&Message>::new());
}

#[test]
fn a_stopped_session_sends_its_reason_and_does_nothing_until_the_next_start() {
    let mut rig = Rig::upto(settings(), State::Established);
    let goodbye = Notification::shutdown("maintenance until noon");
    assert_eq!(
        rig.on(Event::Stop(goodbye.clone())),
        [
            Action::Send(Side::Ours, Message::Notification(goodbye.clone())),
            Action::Close(Side::Ours),
        ]
    );
    assert_eq!(
        goodbye.to_string(),
        "Administrative Shutdown (6/2): maintenance until noon"
    );
    assert_eq!(rig.on(Event::Settled), []);
    assert_eq!(rig.peering.deadline(), None);
    assert_eq!(rig.on(Event::Accepted(hops())), [Action::Refuse]);
    assert_eq!(rig.on(Event::Start), [Action::Dial]);
    let report = rig.peering.report();
    assert_eq!((report.flaps, report.last_sent.unwrap().1), (1, goodbye));
}

#[test]
fn the_neighbours_shutdown_text_is_stored_and_shown() {
    let mut rig = Rig::upto(settings(), State::Established);
    let goodbye = Notification::shutdown("schönen Gruß");
    rig.hear(Side::Ours, &Message::Notification(goodbye));
    let (_, said) = rig.peering.report().last_got.unwrap();
    assert_eq!(said.text().as_deref(), Some("schönen Gruß"));
}

#[test]
fn keepalives_keep_a_session_established() {
    let mut rig = Rig::upto(settings(), State::Established);
    for _ in 0..100 {
        let actions = rig.pass(Duration::from_secs(3));
        assert_eq!(notified(&actions), None);
        rig.hear(Side::Ours, &Message::Keepalive);
    }
    assert_eq!(rig.state(), State::Established);
    let actions = rig.pass(Duration::from_secs(9));
    assert_eq!(notified(&actions), Some((4, 0)));
}
