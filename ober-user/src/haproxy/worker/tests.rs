use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const A: Generation = Generation(0xA);
const B: Generation = Generation(0xB);
const C: Generation = Generation(0xC);
const ONE: Pid = Pid(1);
const TWO: Pid = Pid(2);
const THREE: Pid = Pid(3);
const CRASH: Exit = Exit::Signal(9);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn policy() -> Policy {
    Policy {
        backoff: ms(100),
        backoff_max: ms(1000),
        steady: ms(5000),
        start_limit: ms(2000),
        probe_every: ms(10),
        settle: ms(50),
        drain: ms(30_000),
        finishing: 2,
    }
}

/// A worker on a clock of its own.
struct Bench {
    worker: Worker,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            worker: Worker::new(now, policy()),
            now,
        }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.worker.on(self.now, event)
    }

    /// Advances to the next deadline, says how far that was.
    fn due(&mut self) -> (Duration, Vec<Action>) {
        let at = self
            .worker
            .deadline()
            .expect("something is to fall due")
            .max(self.now);
        let passed = at - self.now;
        self.now = at;
        (passed, self.worker.tick(at))
    }

    fn want(&mut self, generation: Generation) -> Vec<Action> {
        self.on(Event::Want { generation })
    }

    fn spawned(&mut self, generation: Generation, pid: Pid) -> Vec<Action> {
        self.on(Event::Spawned { generation, pid })
    }

    fn ready(&mut self, pid: Pid) -> Vec<Action> {
        self.on(Event::Ready { pid })
    }

    fn exited(&mut self, pid: Pid) -> Vec<Action> {
        self.on(Event::Exited { pid, exit: CRASH })
    }

    fn running() -> Self {
        let mut bench = Self::new();
        bench.want(A);
        bench.spawned(A, ONE);
        bench.ready(ONE);
        bench
    }

    fn replacing() -> Self {
        let mut bench = Self::running();
        bench.want(B);
        bench.spawned(B, TWO);
        bench
    }

    fn reload(&mut self, generation: Generation, pid: Pid) -> Vec<Action> {
        self.want(generation);
        self.spawned(generation, pid);
        self.ready(pid)
    }
}

fn settled(generation: Generation, outcome: Outcome) -> Action {
    Action::Settled {
        generation,
        outcome,
    }
}

fn starting() -> Bench {
    let mut bench = Bench::new();
    bench.want(A);
    bench.spawned(A, ONE);
    bench
}

fn backoff() -> Bench {
    let mut bench = Bench::running();
    bench.exited(ONE);
    bench
}

#[test]
fn every_event_in_every_state_leads_where_the_table_says() {
    type Make = fn() -> Bench;
    #[rustfmt::skip]
    let rows: [(Make, Pid, &str); 5] = [
        //  from, newest          Want B    Spawned C NoSpawn C Ready     Exited 1  Exited 2  Stop
        (Bench::new, ONE,       "Starting  Stopped   Stopped   Stopped   Stopped   Stopped   Stopped"),
        (starting, ONE,         "Starting  Starting  Starting  Running   Backoff   Starting  Stopped"),
        (Bench::running, ONE,   "Replacing Running   Running   Running   Backoff   Running   Stopped"),
        (Bench::replacing, TWO, "Replacing Replacing Replacing Running   Starting  Running   Stopped"),
        (backoff, ONE,          "Starting  Backoff   Backoff   Backoff   Backoff   Backoff   Stopped"),
    ];
    for (make, newest, wanted) in rows {
        let from = format!("{:?}", make().worker.state());
        let events = [
            Event::Want { generation: B },
            Event::Spawned {
                generation: C,
                pid: THREE,
            },
            Event::SpawnFailed { generation: C },
            Event::Ready { pid: newest },
            Event::Exited {
                pid: ONE,
                exit: CRASH,
            },
            Event::Exited {
                pid: TWO,
                exit: CRASH,
            },
            Event::Stop { drain: ms(1) },
        ];
        for (event, to) in events.into_iter().zip(wanted.split_whitespace()) {
            let mut bench = make();
            bench.on(event.clone());
            let state = format!("{:?}", bench.worker.state());
            assert!(
                state.starts_with(to),
                "{from} + {event:?} = {state}, not {to}"
            );
        }
    }
}

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
fn a_crash_takes_it_out_of_the_ring_in_the_same_step_and_the_pauses_double_up_to_the_bound() {
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
fn what_serves_already_is_not_replaced() {
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
fn when_the_new_process_fails_the_old_one_stays_and_is_what_is_started_after_a_crash() {
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
fn no_more_replaced_processes_finish_than_allowed_and_the_oldest_goes_first() {
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
fn an_adopted_worker_is_in_the_ring_at_once_and_the_unfinished_ones_are_told_again() {
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
fn a_process_that_comes_too_late_is_killed() {
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
fn new_times_hold_from_then_on() {
    let mut bench = Bench::running();
    assert_eq!(
        bench.on(Event::Follow(Policy {
            backoff: ms(7),
            ..policy()
        })),
        []
    );
    bench.exited(ONE);
    assert_eq!(bench.due().0, ms(7));
}

/// A world that does at random what worlds do, and keeps the account.
#[derive(Default)]
struct Fake {
    next: i32,
    spawning: Vec<Generation>,
    probing: Vec<Pid>,
    /// Alive; whether it was ever ready.
    alive: BTreeMap<Pid, bool>,
    told: Vec<Pid>,
    in_ring: bool,
}

impl Fake {
    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Spawn { generation } => self.spawning.push(generation),
                Action::Probe { pid } => self.probing.push(pid),
                Action::SetInRing(inside) => {
                    assert_ne!(self.in_ring, inside, "said twice");
                    self.in_ring = inside;
                }
                Action::Retire { pid } | Action::Kill { pid, .. } => self.told.push(pid),
                Action::Settled { .. } => {}
            }
        }
    }

    fn nth_alive(&self, pick: usize) -> Option<Pid> {
        self.alive
            .keys()
            .nth(pick % self.alive.len().max(1))
            .copied()
    }

    /// What the world might report next.
    fn event(&mut self, choice: u8, pick: usize) -> Option<Event> {
        Some(match choice {
            0 => Event::Want {
                generation: Generation(pick as u64 % 3),
            },
            1 => Event::Stop { drain: ms(20) },
            2 => {
                let pid = self.nth_alive(pick)?;
                self.alive.remove(&pid);
                Event::Exited { pid, exit: CRASH }
            }
            3 => Event::SpawnFailed {
                generation: self.spawning.pop()?,
            },
            4..=6 => {
                let generation = (!self.spawning.is_empty()).then(|| self.spawning.remove(0))?;
                self.next += 1;
                self.alive.insert(Pid(self.next), false);
                Event::Spawned {
                    generation,
                    pid: Pid(self.next),
                }
            }
            12 => Event::Told {
                generation: Generation(pick as u64 % 3),
                pid: self.nth_alive(pick)?,
            },
            13 => Event::Renew,
            7 => Event::NotReady {
                pid: self.probing.pop()?,
            },
            _ => {
                let pid = self.probing.pop()?;
                // The answer of a process that has ended since is late, not impossible.
                if let Some(ready) = self.alive.get_mut(&pid) {
                    *ready = true;
                }
                Event::Ready { pid }
            }
        })
    }

    fn check(&self, worker: &Worker) {
        assert_eq!(self.in_ring, worker.in_ring());
        let serving = match worker.state() {
            State::Running(current) | State::Replacing(current, _) => Some(current.pid),
            State::Stopped | State::Starting(_) | State::Backoff { .. } => None,
        };
        assert_eq!(
            self.in_ring,
            serving.is_some(),
            "in the ring if and only if somebody serves"
        );
        if let Some(pid) = serving {
            assert_eq!(
                self.alive.get(&pid),
                Some(&true),
                "who serves is alive and has answered"
            );
            assert!(!self.told.contains(&pid), "who serves was not told to go");
        }
        let newcomer = match worker.state() {
            State::Starting(new) | State::Replacing(_, new) => new.pid,
            State::Stopped | State::Running(_) | State::Backoff { .. } => None,
        };
        let leaving = worker.finishing();
        for pid in self.alive.keys() {
            let roles = [
                serving == Some(*pid),
                newcomer == Some(*pid),
                leaving.contains(pid),
            ];
            assert_eq!(
                roles.iter().filter(|role| **role).count(),
                1,
                "{pid:?} has exactly one role"
            );
        }
    }
}

#[test]
fn who_was_told_has_that_generation_and_so_has_who_comes_after_it() {
    let mut bench = Bench::running();
    let told = Event::Told {
        generation: B,
        pid: ONE,
    };
    assert_eq!(bench.on(told), [settled(B, Outcome::Serving)]);
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
fn who_ended_before_it_was_said_to_be_told_is_followed_by_one_that_knows() {
    let told = Event::Told {
        generation: B,
        pid: ONE,
    };
    assert_eq!(
        backoff().on(told.clone()),
        [Action::Spawn { generation: B }]
    );
    let mut bench = Bench::running();
    bench.exited(ONE);
    bench.due();
    bench.spawned(A, TWO);
    bench.ready(TWO);
    assert_eq!(
        bench.on(told),
        [Action::Spawn { generation: B }],
        "it is another process"
    );
}

#[test]
fn a_process_that_is_not_what_it_should_be_is_replaced_by_one_of_its_generation() {
    let mut bench = Bench::running();
    assert_eq!(bench.on(Event::Renew), [Action::Spawn { generation: A }]);
    assert_eq!(bench.on(Event::Renew), [], "one at a time");
    bench.spawned(A, TWO);
    assert!(bench.ready(TWO).contains(&settled(A, Outcome::Serving)));
    assert_eq!(Bench::new().on(Event::Renew), []);
}

proptest! {
    #[test]
    fn whatever_happens_one_process_at_most_serves_and_a_wanted_worker_comes_back(
        steps in prop::collection::vec((0_u8..14, any::<usize>(), 0_u64..400), 1..200),
    ) {
        let mut bench = Bench::new();
        let mut fake = Fake::default();
        for (choice, pick, pause) in steps {
            bench.now += ms(pause);
            if bench.worker.deadline().is_some_and(|at| at <= bench.now) {
                let actions = bench.worker.tick(bench.now);
                prop_assert!(bench.worker.deadline().is_none_or(|at| at > bench.now), "tick makes progress");
                fake.take(actions);
            }
            if let Some(event) = fake.event(choice, pick) {
                let actions = bench.on(event);
                fake.take(actions);
            }
            fake.check(&bench.worker);
        }
        // From here on everything works, and the worker is wanted.
        let actions = bench.want(A);
        fake.take(actions);
        for _ in 0..20 {
            for choice in [4, 8] {
                while let Some(event) = fake.event(choice, 0) {
                    let actions = bench.on(event);
                    fake.take(actions);
                    fake.check(&bench.worker);
                }
            }
            if matches!(bench.worker.state(), State::Running(_)) {
                break;
            }
            let (_, actions) = bench.due();
            fake.take(actions);
        }
        prop_assert!(fake.in_ring);
    }
}
