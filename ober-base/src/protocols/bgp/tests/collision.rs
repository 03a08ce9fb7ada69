//! RFC 4271 section 6.8 and RFC 6286 section 2.3.

use super::*;

/// Both connections in `OpenSent`; the neighbour has this identifier and AS.
fn two() -> Rig {
    let remote = Remote::External;
    let mut rig = Rig::upto(
        Settings {
            remote,
            ..settings()
        },
        State::OpenSent,
    );
    let actions = rig.on(Event::Accepted(hops()));
    assert_eq!(actions[0], Action::Accept);
    rig
}

#[test]
fn of_two_connections_the_one_opened_by_the_higher_identifier_stays() {
    let open = |id: [u8; 4], asn| {
        Message::Open(Open {
            id: id.into(),
            asn,
            ..their_open()
        })
    };
    for (id, asn, loser) in [
        ([10, 0, 0, 2], 65002, Side::Ours),
        ([10, 0, 0, 0], 65002, Side::Theirs),
        // The same identifier in another AS: the higher AS.
        ([10, 0, 0, 1], 65002, Side::Ours),
        ([10, 0, 0, 1], 65000, Side::Theirs),
    ] {
        for first in [Side::Ours, Side::Theirs] {
            let second = if first == Side::Ours {
                Side::Theirs
            } else {
                Side::Ours
            };
            let mut rig = two();
            assert_eq!(notified(&rig.hear(first, &open(id, asn))), None);
            let actions = rig.hear(second, &open(id, asn));
            let goodbye = Action::Send(loser, Message::Notification(Notification::COLLISION));
            let mut expected = vec![goodbye, Action::Close(loser)];
            if loser != second {
                expected.push(Action::Send(second, Message::Keepalive));
            }
            assert_eq!(actions, expected, "{id:?} {asn} {first:?}");
            assert_eq!(rig.state(), State::OpenConfirm);
        }
    }
}

#[test]
fn an_established_session_is_not_disturbed_by_a_new_connection() {
    let mut rig = Rig::upto(settings(), State::Established);
    rig.on(Event::Accepted(hops()));
    let actions = rig.hear(Side::Theirs, &Message::Open(their_open()));
    assert_eq!(
        actions,
        [
            Action::Send(Side::Theirs, Message::Notification(Notification::COLLISION)),
            Action::Close(Side::Theirs),
        ]
    );
    assert_eq!(
        (rig.state(), rig.peering.report().flaps),
        (State::Established, 0)
    );
}

#[test]
fn a_collision_closed_by_the_neighbour_is_no_failure() {
    let mut rig = two();
    let actions = rig.hear(
        Side::Theirs,
        &Message::Notification(Notification::COLLISION),
    );
    assert_eq!(actions, [Action::Close(Side::Theirs)]);
    assert_eq!(rig.state(), State::OpenSent);
    assert_eq!(rig.peering.report().last_failure, None);
}

#[test]
fn a_neighbours_second_connection_replaces_one_without_an_open() {
    let passive = true;
    let mut rig = Rig::new(Settings {
        passive,
        ..settings()
    });
    rig.on(Event::Start);
    rig.on(Event::Accepted(hops()));
    let actions = rig.on(Event::Accepted(hops()));
    let [
        Action::Send(Side::Theirs, _),
        Action::Close(Side::Theirs),
        Action::Accept,
        Action::Send(Side::Theirs, Message::Open(_)),
    ] = &actions[..]
    else {
        panic!("{actions:?}");
    };
    rig.hear(Side::Theirs, &Message::Open(their_open()));
    assert_eq!(rig.on(Event::Accepted(hops())), [Action::Refuse]);
}
