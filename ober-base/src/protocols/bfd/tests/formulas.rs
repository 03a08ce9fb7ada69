//! Inputs that distinguish each formula from its likely mistakes.

use super::*;

fn times(number: u8) -> NonZeroU8 {
    NonZeroU8::new(number).unwrap()
}

#[test]
fn the_detection_time_is_the_peers_multiplier_times_the_slower_of_our_rx_and_its_tx() {
    let detection = |multiplier, ours, theirs| {
        interval::detection(times(multiplier), Micros(ours), Micros(theirs)).as_millis()
    };
    assert_eq!(detection(5, 200_000, 150_000), 1000);
    assert_eq!(detection(5, 100_000, 150_000), 750);
    assert_eq!(detection(255, u32::MAX, 0), 1_095_216_660);
}

#[test]
fn the_detection_time_uses_the_peers_multiplier_and_not_the_sessions_own() {
    let mut bench = Bench::new(&settings(timers(50, 200, 9)));
    bench.hear(Control {
        multiplier: times(2),
        ..says(State::Init)
    });
    assert_eq!(bench.session.detection(), 600 * MILLISECOND);
    bench.hear(Control {
        min_tx: Micros(10_000),
        ..says(State::Up)
    });
    assert_eq!(bench.session.detection(), 600 * MILLISECOND);
}

#[test]
fn a_session_sends_at_the_slower_of_its_own_and_the_peers_interval_or_not_at_all() {
    let transmit = |ours, theirs| interval::transmit(Micros(ours), Micros(theirs));
    assert_eq!(transmit(300, 200), Some(Duration::from_micros(300)));
    assert_eq!(transmit(200, 300), Some(Duration::from_micros(300)));
    assert_eq!(transmit(200, 0), None);
}

#[test]
fn the_desired_min_tx_is_one_second_until_up_or_longer_if_configured() {
    let desired = |up| {
        [50_000, 2_000_000].map(|configured| interval::desired_min_tx(Micros(configured), up).0)
    };
    assert_eq!(desired(false), [1_000_000, 2_000_000]);
    assert_eq!(desired(true), [50_000, 2_000_000]);
}

#[test]
fn jitter_takes_0_to_25_percent_and_10_to_25_with_a_multiplier_of_one() {
    let second = Duration::from_secs(1);
    let longest = Duration::from_micros(u32::MAX.into());
    for (multiplier, least, most) in [(1, 750, 900), (2, 750, 1000), (255, 750, 1000)] {
        let pauses = (0..250_001).map(|dice| interval::jittered(second, times(multiplier), dice));
        let (shortest, longest) = pauses
            .fold((second * 2, Duration::ZERO), |(low, high), pause| {
                (low.min(pause), high.max(pause))
            });
        assert_eq!(
            (shortest, longest),
            (least * MILLISECOND, most * MILLISECOND)
        );
    }
    let pauses = [0, 250_000].map(|dice| interval::jittered(longest, times(3), dice));
    assert_eq!(pauses, [longest * 3 / 4, longest]);
}

#[test]
fn each_interval_gets_fresh_jitter() {
    let mut bench = Bench::up();
    let mut pauses = std::collections::BTreeSet::new();
    let mut before = bench.now;
    while pauses.len() < 5 {
        bench.hear(says(State::Up));
        if !sent(&bench.wait()).is_empty() {
            pauses.insert(bench.now - before);
            before = bench.now;
        }
        assert!(bench.session.counters.sent < 20, "{pauses:?}");
    }
}
