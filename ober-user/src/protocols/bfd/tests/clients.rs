//! What clients of a session get, RFC 5882 section 3.

use super::*;

fn desk(hold_down: Duration) -> Desk {
    let mut desk = Desk::new(&Settings {
        hold_down,
        ..settings(timers(50, 50, 3))
    });
    desk.tick();
    desk
}

/// What clients get while the peer sends these states one after another, 100 ms apart.
fn hears(desk: &mut Desk, states: &[State]) -> Vec<State> {
    let said = states.iter().flat_map(|state| {
        let mut actions = desk.hear(says(*state));
        actions.extend(desk.silence(100 * MILLISECOND));
        notified(&actions)
    });
    said.collect()
}

#[test]
fn a_peers_shutdown_is_no_failure_and_neither_is_its_way_back() {
    use State::{AdminDown, Down, Init, Up};
    let mut desk = desk(Duration::ZERO);
    assert_eq!(
        hears(
            &mut desk,
            &[Down, Init, Up, AdminDown, AdminDown, Down, Init, Up, Down]
        ),
        [Up, AdminDown, Up, Down]
    );
    assert_eq!(desk.session.account.failures, 1);
}

#[test]
fn a_peer_that_is_administratively_down_from_the_first_is_told_as_such_once() {
    let mut desk = desk(Duration::ZERO);
    assert_eq!(
        hears(&mut desk, &[State::AdminDown, State::AdminDown]),
        [State::AdminDown]
    );
}

#[test]
fn after_a_failure_up_is_told_only_when_it_lasts_but_every_failure_is_told() {
    use State::{Down, Init, Up};
    let mut desk = desk(450 * MILLISECOND);
    // No failure before, so `Up` comes at once.
    assert_eq!(hears(&mut desk, &[Down, Init, Up, Down]), [Up, Down]);
    // 200 ms of Up are too short.
    assert_eq!(hears(&mut desk, &[Down, Init, Up, Down]), [Down]);
    assert_eq!(hears(&mut desk, &[Down, Init, Up, Up, Up]), []);
    assert_eq!(hears(&mut desk, &[Up, Up]), [Up]);
}
