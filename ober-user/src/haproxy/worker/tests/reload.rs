//! One process after another: reloads, changes by commands, replacements.

use super::*;

#[test]
fn a_reload_never_leaves_the_ring_and_the_old_process_retires_only_when_the_new_one_answers() {
    let mut bench = Bench::running();
    assert_eq!(bench.want(B), [Action::Spawn { generation: B }]);
    assert_eq!(bench.spawned(B, TWO), [Action::Probe { pid: TWO }]);
    assert_eq!(
        bench.ready(TWO),
        [settled(B, Outcome::Serving), Action::Retire { pid: ONE }]
    );
    assert_eq!(bench.worker.finishing(), [ONE]);
    let kill = Action::Kill {
        pid: ONE,
        why: Why::DrainOver,
    };
    assert_eq!(bench.due(), (ms(30_000), vec![kill]));
    assert_eq!(bench.exited(ONE), []);
    assert_eq!(bench.worker.finishing(), []);
    assert_eq!(
        bench.worker.restarts(),
        0,
        "an end that was asked for is no restart"
    );
}

#[test]
fn a_reload_to_the_generation_that_already_serves_replaces_no_process() {
    let mut bench = Bench::running();
    assert_eq!(bench.want(A), [settled(A, Outcome::Serving)]);
    bench.want(B);
    bench.spawned(B, TWO);
    let kill = Action::Kill {
        pid: TWO,
        why: Why::Unwanted,
    };
    assert_eq!(bench.want(A), [kill, settled(A, Outcome::Serving)]);
}

#[test]
fn if_the_new_process_fails_the_old_one_stays_and_its_generation_restarts_after_a_crash() {
    type Fail = fn(&mut Bench) -> Vec<Action>;
    let fail: [(Fail, Vec<Action>); 2] = [
        (
            |bench| bench.exited(TWO),
            vec![settled(B, Outcome::Ended(CRASH))],
        ),
        (
            |bench| bench.due().1,
            vec![
                Action::Kill {
                    pid: TWO,
                    why: Why::NeverReady,
                },
                settled(B, Outcome::NeverReady),
            ],
        ),
    ];
    for (fail, actions) in fail {
        let mut bench = Bench::replacing();
        assert_eq!(fail(&mut bench), actions);
        assert!(bench.worker.in_ring());
        assert_eq!(bench.exited(ONE), [Action::SetInRing(false)]);
        assert_eq!(
            bench.due(),
            (ms(100), vec![Action::Spawn { generation: A }])
        );
    }
}

#[test]
fn when_the_old_process_crashes_during_a_reload_the_ring_is_left_until_the_new_one_answers() {
    let mut bench = Bench::replacing();
    assert_eq!(bench.exited(ONE), [Action::SetInRing(false)]);
    assert_eq!(
        bench.ready(TWO),
        [Action::SetInRing(true), settled(B, Outcome::Serving)]
    );
    assert_eq!(bench.worker.restarts(), 1);
}

#[test]
fn the_number_of_finishing_processes_is_limited_and_the_oldest_is_ended_first() {
    let mut bench = Bench::running();
    bench.reload(B, Pid(2));
    bench.reload(C, Pid(3));
    assert_eq!(
        bench.reload(A, Pid(4)),
        [
            settled(A, Outcome::Serving),
            Action::Retire { pid: Pid(3) },
            Action::Kill {
                pid: Pid(1),
                why: Why::TooManyFinishing
            },
        ]
    );
    assert_eq!(bench.worker.finishing(), [Pid(1), Pid(2), Pid(3)]);
}

#[test]
fn a_process_changed_live_and_its_successors_have_the_new_generation() {
    let mut bench = Bench::running();
    let changed_live = Event::ChangedLive {
        generation: B,
        pid: ONE,
    };
    assert_eq!(bench.on(changed_live), [settled(B, Outcome::Serving)]);
    assert_eq!(
        bench.worker.generations(),
        [B, B],
        "the one before is not needed"
    );
    assert_eq!(bench.want(B), [settled(B, Outcome::Serving)]);
    assert_eq!(bench.exited(ONE), [Action::SetInRing(false)]);
    let (_, actions) = bench.due();
    assert_eq!(actions, [Action::Spawn { generation: B }]);
}

#[test]
fn a_process_that_ends_before_its_live_change_is_confirmed_is_followed_by_the_new_generation() {
    let changed_live = Event::ChangedLive {
        generation: B,
        pid: ONE,
    };
    assert_eq!(
        backoff().on(changed_live.clone()),
        [Action::Spawn { generation: B }]
    );
    let mut bench = Bench::running();
    bench.exited(ONE);
    bench.due();
    bench.spawned(A, TWO);
    bench.ready(TWO);
    assert_eq!(
        bench.on(changed_live),
        [Action::Spawn { generation: B }],
        "it is another process"
    );
}

#[test]
fn renewing_a_worker_starts_a_process_of_the_same_generation() {
    let mut bench = Bench::running();
    assert_eq!(bench.on(Event::Renew), [Action::Spawn { generation: A }]);
    assert_eq!(bench.on(Event::Renew), [], "one at a time");
    bench.spawned(A, TWO);
    assert!(bench.ready(TWO).contains(&settled(A, Outcome::Serving)));
    assert_eq!(Bench::new().on(Event::Renew), []);
}
