//! Tests of the machine of one worker, with a simulated clock.

use super::*;

mod chance;
mod life;
mod reload;

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

/// A worker with a simulated clock.
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

    /// Advances to the next deadline; returns how far that was, and the actions.
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
fn every_worker_state_and_event_leads_where_the_table_says() {
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
