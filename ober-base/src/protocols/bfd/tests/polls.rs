//! Changes of timers, RFC 5880 sections 6.5 and 6.8.3.

use super::*;

fn configure(timers: Timers) -> Event {
    Event::Configure {
        mode: Mode::SingleHop,
        timers,
        passive: false,
        hold_down: Duration::ZERO,
    }
}

/// Up at 50 ms in both directions with a peer of the same speed, and no Poll Sequence under way.
fn settled() -> Bench {
    let mut bench = Bench::up();
    bench.hear(Control {
        fin: true,
        ..fast()
    });
    bench
}

fn fast() -> Control {
    Control {
        min_tx: Micros(10_000),
        min_rx: Micros(10_000),
        ..says(State::Up)
    }
}

fn answer() -> Control {
    Control {
        fin: true,
        ..fast()
    }
}

/// This end's interval and the detection time, in milliseconds.
fn in_force(bench: &Bench) -> (u128, u128) {
    let session = &bench.session;
    (
        session.pace().unwrap().as_millis(),
        session.detection().as_millis(),
    )
}

#[test]
fn a_longer_transmit_interval_waits_for_the_final_packet_and_a_shorter_one_does_not() {
    let mut bench = settled();
    let [poll] = sent(&bench.on(configure(timers(400, 50, 3))))[..] else {
        panic!("a Poll Sequence begins at once");
    };
    assert_eq!((poll.poll, poll.min_tx), (true, Micros(400_000)));
    assert_eq!(in_force(&bench), (50, 150));
    bench.hear(answer());
    assert_eq!(in_force(&bench), (400, 150));
    bench.on(configure(timers(20, 50, 3)));
    assert_eq!(in_force(&bench), (20, 150));
}

#[test]
fn a_shorter_detection_time_waits_for_the_final_packet_and_a_longer_one_does_not() {
    let mut bench = settled();
    bench.on(configure(timers(50, 20, 3)));
    assert_eq!(in_force(&bench), (50, 150));
    bench.hear(answer());
    assert_eq!(in_force(&bench), (50, 60));
    bench.on(configure(timers(50, 400, 3)));
    assert_eq!(in_force(&bench), (50, 1200));
}

#[test]
fn a_poll_is_repeated_until_it_is_answered() {
    let mut bench = settled();
    bench.on(configure(timers(40, 50, 3)));
    for _ in 0..3 {
        bench.hear(fast());
        let again = sent(&bench.wait());
        assert!(again.iter().all(|control| control.poll), "{again:?}");
    }
    bench.hear(answer());
    let after = sent(&bench.wait());
    assert!(
        !after.is_empty() && after.iter().all(|control| !control.poll),
        "{after:?}"
    );
}

#[test]
fn values_that_change_during_a_poll_are_polled_again() {
    let mut bench = settled();
    bench.on(configure(timers(400, 50, 3)));
    bench.on(configure(timers(600, 50, 3)));
    bench.hear(answer());
    // The answer may be to the 400.
    assert_eq!(in_force(&bench).0, 50);
    assert!(bench.session.poll.is_some());
    bench.hear(answer());
    assert_eq!(in_force(&bench).0, 600);
    assert!(bench.session.poll.is_none());
}

#[test]
fn no_poll_is_sent_if_no_value_changed() {
    let mut bench = settled();
    assert_eq!(bench.on(configure(timers(50, 50, 3))), []);
    assert_eq!(sent(&bench.on(configure(timers(50, 50, 4)))).len(), 1);
    assert!(bench.session.poll.is_none());
}

#[test]
fn a_final_packet_without_a_poll_changes_nothing() {
    let mut bench = settled();
    let before = bench.session.snapshot();
    assert_eq!(bench.hear(answer()), []);
    let after = bench.session.snapshot();
    assert_eq!(
        Snapshot {
            counters: before.counters,
            ..after
        },
        before
    );
}

#[test]
fn a_shorter_interval_counts_from_the_previous_packet() {
    let mut bench = Bench::up();
    bench.hear(Control {
        fin: true,
        ..says(State::Up)
    });
    bench.silence(200 * MILLISECOND);
    // The 50 ms are long over.
    assert_eq!(sent(&bench.hear(fast())).len(), 1);
}
