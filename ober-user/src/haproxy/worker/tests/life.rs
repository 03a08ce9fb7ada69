//! One process from its start to its end, without a replacement.

use super::*;

#[test]
fn a_worker_enters_the_ring_when_it_answers_and_not_before() {
    let mut bench = Bench::new();
    assert_eq!(bench.want(A), [Action::Spawn { generation: A }]);
    assert_eq!(bench.spawned(A, ONE), [Action::Probe { pid: ONE }]);
    assert_eq!(bench.on(Event::NotReady { pid: ONE }), []);
    assert_eq!(bench.due(), (ms(10), vec![Action::Probe { pid: ONE }]));
    assert!(!bench.worker.in_ring());
    assert_eq!(
        bench.ready(ONE),
        [Action::SetInRing(true), settled(A, Outcome::Serving)]
    );
    assert!(bench.worker.in_ring());
    assert_eq!(bench.worker.deadline(), None);
}

#[test]
fn a_crashed_worker_leaves_the_ring_at_once_and_its_restart_pauses_double_up_to_a_limit() {
    let mut bench = Bench::running();
    for pause in [100, 200, 400, 800, 1000, 1000] {
        assert_eq!(bench.exited(ONE), [Action::SetInRing(false)]);
        assert_eq!(
            bench.due(),
            (ms(pause), vec![Action::Spawn { generation: A }])
        );
        bench.spawned(A, ONE);
        bench.ready(ONE);
    }
    assert_eq!(
        (bench.worker.restarts(), bench.worker.last_exit()),
        (6, Some(CRASH))
    );
    bench.now += ms(5000);
    bench.exited(ONE);
    assert_eq!(
        bench.due().0,
        ms(100),
        "it ran long enough to be trusted again"
    );
}

#[test]
fn a_worker_that_cannot_be_started_or_ends_at_once_or_never_answers_is_tried_again_later() {
    let mut bench = Bench::new();
    bench.want(A);
    assert_eq!(
        bench.on(Event::SpawnFailed { generation: A }),
        [settled(A, Outcome::NotSpawned)]
    );
    assert_eq!(
        bench.due(),
        (ms(100), vec![Action::Spawn { generation: A }])
    );
    bench.spawned(A, ONE);
    assert_eq!(bench.exited(ONE), [settled(A, Outcome::Ended(CRASH))]);
    assert_eq!(
        bench.due(),
        (ms(200), vec![Action::Spawn { generation: A }])
    );
    bench.spawned(A, TWO);
    let kill = Action::Kill {
        pid: TWO,
        why: Why::NeverReady,
    };
    assert_eq!(
        bench.due(),
        (ms(2000), vec![kill, settled(A, Outcome::NeverReady)])
    );
    assert_eq!(
        bench.worker.finishing(),
        [TWO],
        "watched until it has ended"
    );
    assert_eq!(bench.exited(TWO), []);
    assert_eq!(
        bench.due(),
        (ms(400), vec![Action::Spawn { generation: A }])
    );
}

#[test]
fn an_adopted_worker_is_in_the_ring_at_once_and_finishing_ones_are_retired_again() {
    let mut bench = Bench::new();
    let adopt = Event::Adopt {
        pid: ONE,
        generation: A,
        finishing: vec![TWO],
    };
    assert_eq!(
        bench.on(adopt),
        [Action::SetInRing(true), Action::Retire { pid: TWO }]
    );
    assert_eq!(bench.want(A), [settled(A, Outcome::Serving)]);
    assert_eq!(bench.exited(ONE), [Action::SetInRing(false)]);
    assert_eq!(
        bench.due(),
        (ms(100), vec![Action::Spawn { generation: A }])
    );
}

#[test]
fn stopping_leaves_the_ring_first_and_then_lets_connections_finish() {
    let mut bench = Bench::running();
    assert_eq!(
        bench.on(Event::Stop { drain: ms(500) }),
        [Action::SetInRing(false)]
    );
    assert_eq!(bench.due(), (ms(50), vec![Action::Retire { pid: ONE }]));
    assert_eq!(
        bench.due(),
        (
            ms(500),
            vec![Action::Kill {
                pid: ONE,
                why: Why::DrainOver
            }]
        )
    );
    assert_eq!(bench.exited(ONE), []);
    assert_eq!(
        (bench.worker.state(), bench.worker.deadline()),
        (State::Stopped, None)
    );
}

#[test]
fn a_process_of_a_superseded_generation_is_killed() {
    let mut bench = Bench::new();
    bench.want(A);
    bench.want(B);
    assert_eq!(
        bench.spawned(A, ONE),
        [Action::Kill {
            pid: ONE,
            why: Why::Unwanted
        }]
    );
    assert_eq!(bench.spawned(B, TWO), [Action::Probe { pid: TWO }]);
    bench.on(Event::Stop { drain: ms(0) });
    assert_eq!(bench.worker.finishing(), [ONE, TWO]);
}

#[test]
fn new_timeouts_apply_at_once() {
    let mut bench = Bench::running();
    assert_eq!(
        bench.on(Event::Configure(Policy {
            backoff: ms(7),
            ..policy()
        })),
        []
    );
    bench.exited(ONE);
    assert_eq!(bench.due().0, ms(7));
}
