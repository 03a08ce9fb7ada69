//! A gate before a planned stop.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn before_a_stop_a_vip_is_given_up_for_as_long_as_the_stop_may_take_and_no_order_is_undone() {
    fn serve(bench: &mut Bench, time: Duration) {
        let end = bench.now + time;
        while bench.now < end {
            bench.rounds(1, true);
        }
    }
    let mut bench = Bench::up(settings());
    bench.on(Event::Leave(Some(SECOND * 60)));
    let shown = (bench.gate.state(), bench.gate.reason());
    assert_eq!(shown, (State::Draining, Reason::Leaving));
    serve(&mut bench, SECOND * 55);
    let standing = bench.gate.standing();
    assert_eq!(
        standing,
        Standing::GracefulShutdown,
        "not gate.graceful_time"
    );
    serve(&mut bench, SECOND * 6);
    assert_eq!(bench.gate.standing(), Standing::Withdrawn);
    // The stop does not come.
    bench.on(Event::Leave(None));
    let shown = (bench.gate.state(), bench.gate.standing());
    assert_eq!(shown, (State::Up, Standing::Announced));

    bench.order(Order::Drain);
    bench.on(Event::Leave(Some(SECOND * 60)));
    bench.on(Event::Leave(None));
    let shown = (bench.gate.state(), bench.gate.reason());
    assert_eq!(shown, (State::Draining, Reason::Ordered(Order::Drain)));
    serve(&mut bench, SECOND * 11);
    let standing = bench.gate.standing();
    assert_eq!(standing, Standing::Withdrawn, "the order has its own time");
}

#[test]
fn a_vip_that_was_down_and_depreferenced_is_so_again_when_the_stop_does_not_come() {
    let mut bench = Bench::up(Settings {
        down: Down::Depreference,
        ..settings()
    });
    while bench.gate.state() != State::Down {
        bench.rounds(1, false);
    }
    assert_eq!(bench.gate.standing(), Standing::Depreferenced);
    bench.on(Event::Leave(Some(SECOND * 60)));
    assert_eq!(bench.gate.standing(), Standing::GracefulShutdown);
    bench.on(Event::Leave(None));
    assert_eq!(bench.gate.standing(), Standing::Depreferenced);
    let end = bench.now + SECOND * 61;
    while bench.now < end {
        bench.rounds(1, false);
    }
    assert_eq!(bench.gate.standing(), Standing::Depreferenced);
}

#[test]
fn the_time_of_a_vip_that_is_given_up_follows_the_stops_that_are_left() {
    for (first, then, at, standing) in [
        (10, 300, 60, Standing::GracefulShutdown),
        (300, 10, 20, Standing::Withdrawn),
    ] {
        let mut bench = Bench::up(settings());
        bench.on(Event::Leave(Some(SECOND * first)));
        bench.on(Event::Leave(Some(SECOND * then)));
        let end = bench.now + SECOND * at;
        while bench.now < end {
            bench.rounds(1, true);
        }
        assert_eq!(bench.gate.standing(), standing, "{first} s, then {then} s");
    }
}
