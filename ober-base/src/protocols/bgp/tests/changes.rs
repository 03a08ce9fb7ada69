//! Changes that do not end a session.

use super::*;
use crate::protocols::bgp::{event::Path, message::Update};

fn changed(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

fn configure(rig: &mut Rig, change: impl FnOnce(&mut Settings)) -> Vec<Action> {
    rig.on(Event::Configure(Box::new(changed(change))))
}

/// An UPDATE of the neighbour with these prefixes of one octet.
fn announces(prefixes: &[u8]) -> Event {
    let mut bytes = vec![
        0, 0, 0, 20, 0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea,
    ];
    bytes.extend([0x40, 3, 4, 10, 0, 0, 2]);
    bytes.extend(prefixes.iter().flat_map(|prefix| [8, *prefix]));
    Event::Received(Side::Ours, Received::Update(update(&bytes)))
}

#[test]
fn a_shorter_keepalive_interval_applies_at_once() {
    let mut rig = Rig::upto(settings(), State::Established);
    assert_eq!(
        configure(&mut rig, |it| it.keepalive = Some(Duration::from_secs(1))),
        []
    );
    let actions = rig.pass(Duration::from_secs(1));
    assert_eq!(sent(&actions), [&Message::Keepalive]);
    assert_eq!(rig.state(), State::Established);
}

#[test]
fn a_new_prefix_limit_requests_a_refresh_and_applies_from_then_on() {
    let mut rig = Rig::upto(settings(), State::Established);
    rig.on(announces(&[11, 12, 13]));
    let asked = configure(&mut rig, |it| it.max_prefixes = Some(3));
    let ask = |family| Message::Refresh(family, crate::protocols::bgp::message::Refresh::Request);
    assert_eq!(sent(&asked), [&ask(Family::Ipv4), &ask(Family::Ipv6)]);
    assert_eq!(rig.on(announces(&[11, 12, 13])), []);
    // A higher limit, or the same one, sends nothing.
    assert_eq!(configure(&mut rig, |it| it.max_prefixes = Some(4)), []);
    // A limit that is exceeded already ends the session.
    let ended = configure(&mut rig, |it| it.max_prefixes = Some(2));
    assert_eq!(notified(&ended), Some((6, 1)));

    let mut rig = Rig::upto(changed(|it| it.max_prefixes = Some(2)), State::Established);
    rig.on(announces(&[11, 12]));
    assert_eq!(configure(&mut rig, |it| it.max_prefixes = None), []);
    assert_eq!(rig.on(announces(&[13, 14, 15])), []);
    assert_eq!(rig.peering.report().heard, 0);
    assert_eq!(rig.state(), State::Established);
}

#[test]
fn a_changed_setting_ends_the_pause_after_a_failure_and_an_equal_one_does_not() {
    let mut rig = Rig::upto(changed(|it| it.max_prefixes = Some(2)), State::Established);
    let ended = rig.on(announces(&[11, 12, 13]));
    assert_eq!(notified(&ended), Some((6, 1)));
    assert_eq!(configure(&mut rig, |it| it.max_prefixes = Some(2)), []);
    assert_eq!(rig.state(), State::Idle);
    assert_eq!(
        configure(&mut rig, |it| it.max_prefixes = Some(3)),
        [Action::Dial]
    );
    assert_eq!(rig.state(), State::Connect);
}

#[test]
fn changed_next_hops_are_sent_once_and_only_for_changed_routes() {
    let mut rig = Rig::upto(settings(), State::Established);
    rig.on(Event::Settled);
    rig.on(Event::Routes(routes(&[
        "192.0.2.10/32",
        "2001:db8::10/128",
    ])));
    let same = rig.on(Event::NextHops(Side::Ours, hops()));
    assert_eq!(same, []);
    let other = NextHops {
        v4: Some(THEIRS),
        ..hops()
    };
    let actions = rig.on(Event::NextHops(Side::Ours, other));
    let [
        Message::Update(Update::Announce {
            attributes,
            prefixes,
        }),
    ] = sent(&actions)[..]
    else {
        panic!("{actions:?}");
    };
    assert_eq!(prefixes[..], ["192.0.2.10/32".parse().unwrap()]);
    assert_eq!(
        attributes.next_hop,
        crate::protocols::bgp::message::NextHop::V4(THEIRS)
    );
    // Routes of a family without an address are withdrawn.
    let actions = rig.on(Event::NextHops(Side::Ours, NextHops { v4: None, ..hops() }));
    assert!(
        matches!(
            sent(&actions)[..],
            [Message::Update(Update::Withdraw { .. })]
        ),
        "{actions:?}"
    );
    assert_eq!(rig.state(), State::Established);
}

#[test]
fn a_changed_settle_time_counts_from_the_start_while_it_is_pending() {
    let mut rig = Rig::upto(settings(), State::Established);
    rig.pass(Duration::from_secs(5));
    assert_eq!(
        configure(&mut rig, |it| it.settle = Duration::from_secs(8)),
        []
    );
    let actions = rig.pass(Duration::from_millis(3001));
    let ends = sent(&actions)
        .into_iter()
        .filter(|it| matches!(it, Message::Update(Update::EndOfRib(_))));
    assert_eq!(ends.count(), 2, "{actions:?}");
    // Later it has no effect.
    assert_eq!(
        configure(&mut rig, |it| it.settle = Duration::from_secs(1)),
        []
    );
    assert_eq!(rig.state(), State::Established);
}

#[test]
fn a_neighbour_becomes_passive_and_active_without_the_loss_of_its_session() {
    let mut rig = Rig::upto(settings(), State::Established);
    assert_eq!(configure(&mut rig, |it| it.passive = true), []);
    assert_eq!(configure(&mut rig, |_| ()), []);
    assert_eq!(rig.state(), State::Established);
    // Without a session, an attempt to connect is cancelled, and made again afterwards.
    let mut rig = Rig::upto(settings(), State::Connect);
    assert_eq!(
        configure(&mut rig, |it| it.passive = true),
        [Action::HangUp]
    );
    assert_eq!(rig.state(), State::Active);
    assert_eq!(rig.pass(Duration::from_mins(10)), []);
    assert_eq!(configure(&mut rig, |_| ()), [Action::Dial]);
}

#[test]
fn bfd_may_be_added_and_removed_during_a_session_and_one_waiting_for_it_then_proceeds() {
    let mut rig = Rig::upto(settings(), State::Established);
    assert_eq!(configure(&mut rig, |it| it.strict = true), []);
    assert_eq!(rig.on(Event::Bfd(Path::Up)), []);
    assert_eq!(notified(&rig.on(Event::Bfd(Path::Down))), Some((6, 10)));

    let mut rig = Rig::upto(changed(|it| it.strict = true), State::OpenConfirm);
    assert_eq!(
        configure(&mut rig, |_| ()),
        [Action::Send(Side::Ours, Message::Keepalive)]
    );
    assert_eq!(rig.on(Event::Unwatched), []);
    rig.hear(Side::Ours, &Message::Keepalive);
    assert_eq!(rig.state(), State::Established);
    // BFD's last state is forgotten with it.
    rig.on(Event::Bfd(Path::Up));
    rig.on(Event::Unwatched);
    assert_eq!(rig.peering.report().path, None);
}

#[test]
fn a_neighbour_that_rejects_a_connection_causes_no_failure_pause() {
    let rejected = Message::Notification(Notification::REJECTED);
    let mut rig = Rig::upto(settings(), State::OpenSent);
    let actions = rig.hear(Side::Ours, &rejected);
    assert!(
        matches!(actions[..], [Action::Close(Side::Ours), Action::Failed(_)]),
        "{actions:?}"
    );
    assert_eq!(rig.state(), State::Active, "not Idle: it may come in");
    let report = rig.peering.report();
    assert!(
        report
            .last_got
            .is_some_and(|(_, it)| it == Notification::REJECTED)
    );
    // Beside an existing connection it is not even reported.
    let mut rig = Rig::upto(settings(), State::OpenSent);
    rig.on(Event::Accepted(hops()));
    rig.hear(Side::Theirs, &Message::Open(their_open()));
    let actions = rig.hear(Side::Ours, &rejected);
    assert_eq!(actions, [Action::Close(Side::Ours)]);
    assert_eq!(rig.peering.report().last_failure, None);
    // After the neighbour's OPEN, it is the end of a session like any other.
    let mut rig = Rig::upto(settings(), State::Established);
    rig.hear(Side::Ours, &rejected);
    assert_eq!(rig.state(), State::Idle);
}
