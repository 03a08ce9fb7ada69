//! RFC 4271 section 8.2.2 and RFC 6608 as a table: the effect of each message in each state.

use super::*;
use crate::protocols::bgp::message::Refresh;

/// The state afterwards, and code and subcode of the NOTIFICATION.
type Row = (State, Option<(u8, u8)>);

fn after(state: State, event: Event) -> Row {
    let mut rig = Rig::upto(settings(), state);
    let actions = rig.on(event);
    (rig.state(), notified(&actions))
}

fn expire(state: State) -> Row {
    let mut rig = Rig::upto(settings(), state);
    // Keepalives come first; skip them.
    for _ in 0..100 {
        let actions = rig.next();
        if notified(&actions).is_some() {
            return (rig.state(), notified(&actions));
        }
    }
    (rig.state(), None)
}

#[test]
fn every_bgp_message_in_every_state_has_the_effect_of_the_standards() {
    use State::{Active, Established, Idle, OpenConfirm, OpenSent};
    let ours = |message: Message| Event::Received(Side::Ours, received(&message));
    let open = || ours(Message::Open(their_open()));
    let keepalive = || ours(Message::Keepalive);
    let empty = || Event::Received(Side::Ours, Received::Update(update(&[0, 0, 0, 0])));
    let refresh = || ours(Message::Refresh(Family::Ipv4, Refresh::Request));
    let notification = || ours(Message::Notification(Notification::bare(6, 4)));
    let garbage = || Event::Garbage(Side::Ours, Notification::NOT_SYNCHRONIZED);
    let closed = || Event::Closed(Side::Ours, "reset".into());
    for (state, row) in [
        //             OPEN, KEEPALIVE, UPDATE, ROUTE-REFRESH, NOTIFICATION, garbage, closed, Stop
        (
            OpenSent,
            [
                (OpenConfirm, None),
                (Idle, Some((5, 1))),
                (Idle, Some((5, 1))),
                (Idle, Some((5, 1))),
                (Idle, None),
                (Idle, Some((1, 1))),
                (Active, None),
                (Idle, Some((6, 2))),
            ],
        ),
        (
            OpenConfirm,
            [
                (Idle, Some((5, 2))),
                (Established, None),
                (Idle, Some((5, 2))),
                (Idle, Some((5, 2))),
                (Idle, None),
                (Idle, Some((1, 1))),
                (Idle, None),
                (Idle, Some((6, 2))),
            ],
        ),
        (
            Established,
            [
                (Idle, Some((5, 3))),
                (Established, None),
                (Established, None),
                (Established, None),
                (Idle, None),
                (Idle, Some((1, 1))),
                (Idle, None),
                (Idle, Some((6, 2))),
            ],
        ),
    ] {
        let stop = Event::Stop(Notification::shutdown("bye"));
        let events = [
            open(),
            keepalive(),
            empty(),
            refresh(),
            notification(),
            garbage(),
            closed(),
            stop,
        ];
        assert_eq!(events.map(|event| after(state, event)), row, "{state:?}");
        assert_eq!(expire(state), (Idle, Some((4, 0))), "{state:?}");
    }
}

#[test]
fn an_unacceptable_open_is_refused_with_the_standards_error() {
    let with = |change: fn(&mut Open)| {
        let mut open = their_open();
        change(&mut open);
        open
    };
    let families: fn(&mut Open) = |it| it.capabilities.families = [].into();
    let seconds = |it: &mut Open, seconds| it.hold_time = Duration::from_secs(seconds);
    assert_eq!(seconds(&mut their_open(), 1), ());
    for (remote, open, refusal) in [
        (Remote::Number(65002), with(|_| {}), None),
        (Remote::External, with(|_| {}), None),
        (Remote::Internal, with(|it| it.asn = 65001), None),
        (Remote::Number(65003), with(|_| {}), Some((2, 2))),
        (Remote::Internal, with(|_| {}), Some((2, 2))),
        (Remote::External, with(|it| it.asn = 65001), Some((2, 2))),
        (Remote::External, with(|it| it.asn = 0), Some((2, 2))),
        (Remote::Auto, with(|_| {}), None),
        (Remote::Auto, with(|it| it.asn = 65001), None),
        (Remote::Auto, with(|it| it.asn = 0), Some((2, 2))),
        (
            Remote::External,
            with(|it| it.id = Ipv4Addr::UNSPECIFIED),
            Some((2, 3)),
        ),
        // RFC 6286: an equal identifier is wrong within an AS only.
        (Remote::External, with(|it| it.id = OURS), None),
        (
            Remote::Internal,
            with(|it| (it.asn, it.id) = (65001, OURS)),
            Some((2, 3)),
        ),
        (
            Remote::External,
            with(|it| it.hold_time = Duration::from_secs(1)),
            Some((2, 6)),
        ),
        (
            Remote::External,
            with(|it| it.hold_time = Duration::from_secs(2)),
            Some((2, 6)),
        ),
        (
            Remote::External,
            with(|it| it.hold_time = Duration::from_secs(3)),
            None,
        ),
        (
            Remote::External,
            with(|it| it.hold_time = Duration::ZERO),
            None,
        ),
        (Remote::External, with(families), Some((2, 7))),
    ] {
        let mut rig = Rig::upto(
            Settings {
                remote,
                ..settings()
            },
            State::OpenSent,
        );
        let event = Event::Received(Side::Ours, Received::Open(open.clone()));
        assert_eq!(notified(&rig.on(event)), refusal, "{remote:?} {open:?}");
    }
}

#[test]
fn the_smaller_hold_time_is_used_and_zero_means_none() {
    for (ours, theirs, agreed, keepalive) in [
        (9, 90, Some(9), Some(3)),
        (90, 9, Some(9), Some(3)),
        (3, 3, Some(3), Some(1)),
        (0, 9, None, None),
        (9, 0, None, None),
    ] {
        let hold_time = Duration::from_secs(ours);
        let mut rig = Rig::upto(
            Settings {
                hold_time,
                ..settings()
            },
            State::OpenSent,
        );
        let open = Open {
            hold_time: Duration::from_secs(theirs),
            ..their_open()
        };
        rig.hear(Side::Ours, &Message::Open(open));
        let confirmed = rig.now;
        rig.hear(Side::Ours, &Message::Keepalive);
        rig.on(Event::Settled);
        let report = rig.peering.report();
        assert_eq!(
            report.agreed.unwrap().hold_time,
            agreed.map(Duration::from_secs)
        );
        let due = rig.peering.deadline().map(|at| at - confirmed);
        match keepalive.map(Duration::from_secs) {
            None => assert_eq!(due, None),
            // With the jitter of RFC 4271 section 10.
            Some(third) => {
                let due = due.unwrap();
                assert!(
                    third.mul_f64(0.75) <= due && due <= third,
                    "{due:?} of {third:?}"
                );
            }
        }
    }
}
