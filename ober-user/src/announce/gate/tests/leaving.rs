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
