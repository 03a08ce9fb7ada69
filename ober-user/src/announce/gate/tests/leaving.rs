//! A gate before a planned stop.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn serve(bench: &mut Bench, time: Duration) {
    let end = bench.now + time;
    while bench.now < end {
        bench.rounds(1, true);
    }
}

#[test]
fn before_a_stop_a_vip_is_given_up_for_as_long_as_the_stop_may_take_and_no_order_is_undone() {
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

fn depreferenced(settings: Settings) -> Bench {
    let mut bench = Bench::up(Settings {
        down: Down::Depreference,
        ..settings
    });
    bench.rounds(10, false);
    bench
}

#[test]
fn a_vip_that_is_down_gets_its_standing_back_when_the_stop_does_not_come() {
    let mut bench = depreferenced(settings());
    assert_eq!(bench.gate.standing(), Standing::Depreferenced);
    bench.on(Event::Leave(Some(SECOND * 2)));
    assert_eq!(bench.gate.standing(), Standing::GracefulShutdown);
    // Also after the time that the stop was to take.
    for rounds in [1, 200] {
        bench.rounds(rounds, false);
        bench.on(Event::Leave(None));
        assert_eq!(bench.gate.standing(), Standing::Depreferenced, "{rounds}");
        bench.rounds(200, false);
        assert_eq!(bench.gate.standing(), Standing::Depreferenced, "{rounds}");
        bench.on(Event::Leave(Some(SECOND * 2)));
    }
    // One that goes down meanwhile is as if there had been no stop; a hard fact withdraws it for good.
    let mut bench = Bench::up(Settings {
        down: Down::Depreference,
        ..settings()
    });
    bench.on(Event::Leave(Some(SECOND * 60)));
    bench.rounds(10, false);
    assert_eq!(bench.gate.standing(), Standing::GracefulShutdown);
    bench.on(Event::Leave(None));
    assert_eq!(bench.gate.standing(), Standing::Depreferenced);
    bench.on(Event::Leave(Some(SECOND * 60)));
    bench.order(Order::Disable);
    bench.on(Event::Leave(None));
    bench.order(Order::Enable);
    assert_eq!(bench.gate.standing(), Standing::Withdrawn);
}

#[test]
fn a_stop_that_comes_to_be_longer_keeps_the_route_for_as_long() {
    let mut bench = Bench::up(settings());
    bench.on(Event::Leave(Some(SECOND * 10)));
    bench.on(Event::Leave(Some(SECOND * 300)));
    serve(&mut bench, SECOND * 200);
    assert_eq!(bench.gate.standing(), Standing::GracefulShutdown);
    bench.on(Event::Leave(Some(SECOND * 5)));
    serve(&mut bench, SECOND * 6);
    assert_eq!(bench.gate.standing(), Standing::Withdrawn);
}
