//! The gate on a clock of the test: tables, clauses, and random histories with their laws.

use std::time::{Duration, Instant};

use super::{
    Action, Event, Fact, Gate, Live, Order, ProbeResult, REMEMBERED, Reason, Standing, State,
    Trouble,
    state::{Health, Signal, next, shown},
};
use crate::{
    config::sections::gate::{AtLeast, Down, Gate as Settings, Lost},
    machine::Machine,
};

mod clauses;
mod history;
mod leaving;
mod tables;
mod unseen;

const WORKERS: usize = 2;

/// A gate, the time, the standings it asked for, and the round under way.
struct Bench {
    gate: Gate,
    began: Instant,
    now: Instant,
    stands: Vec<Standing>,
    round: Option<(u64, Vec<usize>)>,
}

fn settings() -> Settings {
    Settings {
        timeout: Duration::from_millis(500),
        min_up: Duration::ZERO,
        ..Settings::default()
    }
}

fn finding(worker: usize, answer: Result<(), &str>) -> ProbeResult {
    ProbeResult {
        worker,
        answer: answer.map_err(|words| Trouble::Bad(words.to_owned())),
        services: vec![Live { up: 2, all: 2 }],
    }
}

impl Bench {
    /// A gate that knows nothing.
    fn new(settings: Settings) -> Self {
        let began = Instant::now();
        Self {
            gate: Gate::new(began, settings, WORKERS),
            began,
            now: began,
            stands: Vec::new(),
            round: None,
        }
    }

    /// A gate whose hard facts are all known and good, and which has asked nothing yet.
    fn ready(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        for fact in [Fact::Interface, Fact::Program, Fact::Address] {
            bench.on(Event::Holds(fact, true));
        }
        for worker in 0..WORKERS {
            bench.worker(worker, true);
        }
        bench
    }

    fn up(settings: Settings) -> Self {
        let mut bench = Self::ready(settings);
        let rise = bench.gate.settings.rise;
        bench.rounds(rise, true);
        assert_eq!(bench.gate.state(), State::Up);
        bench
    }

    /// A gate in this state, by the shortest way.
    fn at(state: State) -> Self {
        let mut bench = match state {
            State::Init => Self::ready(settings()),
            State::Rising => Self::ready(settings()),
            State::Up | State::Falling | State::Down | State::Disabled | State::Draining => {
                Self::up(settings())
            }
        };
        match state {
            State::Init | State::Up => {}
            State::Rising => bench.rounds(1, true),
            State::Falling => bench.rounds(1, false),
            State::Down => bench.rounds(2, false),
            State::Disabled => bench.order(Order::Disable),
            State::Draining => bench.order(Order::Drain),
        }
        assert_eq!(bench.gate.state(), state);
        bench.stands.clear();
        bench
    }

    fn took(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Stand(standing) => self.stands.push(standing),
                Action::Probe { round, workers } => self.round = Some((round, workers)),
            }
        }
    }

    fn on(&mut self, event: Event) {
        let actions = self.gate.on(self.now, event);
        self.took(actions);
    }

    fn tick(&mut self) {
        let actions = self.gate.tick(self.now);
        self.took(actions);
        let next = self.gate.deadline();
        assert!(next.is_none_or(|at| at > self.now), "the driver would spin");
    }

    fn worker(&mut self, worker: usize, in_ring: bool) {
        self.on(Event::Worker { worker, in_ring });
    }

    fn order(&mut self, order: Order) {
        self.on(Event::Order(order));
    }

    /// Goes on to the next deadline.
    fn due(&mut self) {
        self.now = self.gate.deadline().unwrap().max(self.now);
        self.tick();
    }

    /// Lets time pass, with every deadline in it. Rounds are not answered.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.gate.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.tick();
        }
        self.now = end;
    }

    /// Answers the round under way, or the next one, for every worker it is for.
    fn answer(&mut self, answer: Result<(), &str>, services: &[Live]) {
        while self.round.is_none() {
            self.due();
        }
        let (round, workers) = self.round.take().unwrap();
        let findings = workers
            .into_iter()
            .map(|worker| ProbeResult {
                services: services.to_vec(),
                ..finding(worker, answer)
            })
            .collect();
        self.on(Event::Probed { round, findings });
    }

    fn rounds(&mut self, number: u32, good: bool) {
        let answer = if good { Ok(()) } else { Err("timeout") };
        for _ in 0..number {
            self.answer(answer, &[Live { up: 2, all: 2 }]);
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.began
    }
}
