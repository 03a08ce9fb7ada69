//! What clients of a session get, RFC 5882 section 3.

use super::*;

fn bench(hold_down: Duration) -> Bench {
    let mut bench = Bench::new(&Settings {
        hold_down,
        ..settings(timers(50, 50, 3))
    });
    bench.tick();
    bench
}

/// What clients get while the peer sends these states one after another, 100 ms apart.
fn hears(bench: &mut Bench, states: &[State]) -> Vec<State> {
    let said = states.iter().flat_map(|state| {
        let mut actions = bench.hear(says(*state));
        actions.extend(bench.silence(100 * MILLISECOND));
        notified(&actions)
    });
    said.collect()
}

#[test]
fn a_peers_shutdown_and_return_are_reported_as_no_failure() {
    use State::{AdminDown, Down, Init, Up};
    let mut bench = bench(Duration::ZERO);
    assert_eq!(
        hears(
            &mut bench,
            &[Down, Init, Up, AdminDown, AdminDown, Down, Init, Up, Down]
        ),
        [Up, AdminDown, Up, Down]
    );
    assert_eq!(bench.session.counters.failures, 1);
}

#[test]
fn a_peer_that_is_admin_down_from_the_start_is_reported_once() {
    let mut bench = bench(Duration::ZERO);
    assert_eq!(
        hears(&mut bench, &[State::AdminDown, State::AdminDown]),
        [State::AdminDown]
    );
}

#[test]
fn after_a_failure_up_is_reported_only_if_it_lasts_and_every_failure_is_reported() {
    use State::{Down, Init, Up};
    let mut bench = bench(450 * MILLISECOND);
    // No failure before, so `Up` comes at once.
    assert_eq!(hears(&mut bench, &[Down, Init, Up, Down]), [Up, Down]);
    // 200 ms of Up are too short.
    assert_eq!(hears(&mut bench, &[Down, Init, Up, Down]), [Down]);
    assert_eq!(hears(&mut bench, &[Down, Init, Up, Up, Up]), []);
    assert_eq!(hears(&mut bench, &[Up, Up]), [Up]);
}
