//! The health gate: may this node attract traffic for a VIP? Each VIP has one machine, which knows no socket, clock, file or
//! task; `world` runs it, `probe` and `backends` ask the workers, `watch` sees interfaces, addresses and programs.
//!
//! ```text
//!        good          good, rise times            bad            bad, fall times
//! INIT --------> RISING ----------------> UP <-----------> FALLING ---------------> DOWN
//!                  ^                      |      good         |                      ^ |
//!                  |                      +------ hard -------+----------------------+ |
//!                  +----------------------------- good --------------------------------+
//! DISABLED, DRAINING: by order, whatever the health
//! ```
//! A gate starts closed and opens once probes have proven the VIP. A hard fact (too few worker processes, interface down,
//! program detached, VIP address missing) acts in the step that reports it, and afterwards everything has to be proven again.
//! Results of probes, BFD and connections that are lost on this node act through `rise` and `fall`.
//!
//! `state`, `round` and `damping` belong to the machine; `plan` and `world` give it its facts and rounds; `ask`, `probe`,
//! `backends` and `loopback` ask the workers; `watch` sees interfaces, addresses, programs and the disable file;
//! `orders` keeps what an operator ordered; `leaving` gives VIPs up for a stop; `shown` is what a gate shows.
//!
//! It never opens because nothing is known: facts that could not be asked for change nothing.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    config::sections::gate::{Gate as Settings, Lost},
    machine::Machine,
};

mod ask;
pub mod backends;
mod damping;
mod leaving;
pub mod loopback;
mod orders;
pub mod plan;
pub mod probe;
pub mod round;
mod shown;
pub mod state;
pub mod watch;
mod world;

pub use crate::protocols::standing::Standing;
pub use orders::Error;
pub use plan::Plan;
pub use round::{Live, ProbeResult, Tally, Trouble};
pub use state::{Order, Reason, State, Transition};
pub use world::{Handle, News, View, start};

use damping::Damping;
use round::Verdict;
use state::{Health, Signal, next, shown};

/// Transitions that are remembered.
pub const REMEMBERED: usize = 20;
/// After this many of its timeouts, a round without an answer is lost. The prober itself gives up after one.
const LOST: u32 = 2;

/// A hard fact: a VIP is announced only while all of them hold. What is unknown does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// Enough of the node's interfaces are up.
    Interface,
    /// The programs are attached.
    Program,
    /// The attached programs meet the packets. Holds until the daemon reports otherwise.
    Runs,
    /// The VIP is an address of this node. Without it no client would be served.
    Address,
}

/// What happens to a gate.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker joined the ring, or left it.
    Worker {
        worker: usize,
        in_ring: bool,
    },
    Holds(Fact, bool),
    /// Is a BFD session up?
    Bfd(bool),
    /// Are new connections lost between XDP and the workers' sockets?
    Lost(bool),
    /// Does the disable file name this VIP?
    File(bool),
    Order(Order),
    /// The daemon is about to be stopped, at the latest after this; `None`: it is not any more.
    Leave(Option<Duration>),
    /// The answer to [`Action::Probe`].
    Probed {
        round: u64,
        findings: Vec<ProbeResult>,
    },
    /// Another configuration: its settings, and its number of workers.
    Configure {
        settings: Box<Settings>,
        workers: usize,
    },
}

/// What a gate asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give the VIP this standing. It differs from the one before; at first the VIP is withdrawn.
    Stand(Standing),
    /// Ask these workers, and answer with [`Event::Probed`] within `timeout`.
    Probe { round: u64, workers: Vec<usize> },
}

/// The orders in force.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is in force or not, whatever the others are"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Orders {
    disabled: bool,
    draining: bool,
    /// The daemon is about to be stopped.
    leaving: bool,
    /// The disable file names this VIP, which no order undoes.
    file: bool,
}

/// When the workers are asked.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    number: u64,
    began: Instant,
    /// When the round under way is given up; `None`: no round is under way.
    out: Option<Instant>,
    /// When the next round begins; `None` while a bad hard fact makes it pointless.
    due: Option<Instant>,
    /// Rounds in a row with the same verdict.
    streak: u32,
}

/// The gate of one VIP.
#[derive(Clone, Debug)]
pub struct Gate {
    settings: Settings,
    workers: usize,
    running: BTreeSet<usize>,
    facts: BTreeSet<Fact>,
    bfd: bool,
    lost: bool,
    orders: Orders,
    health: Health,
    /// Why the health is what it is.
    cause: Reason,
    rounds: Rounds,
    damping: Damping,
    /// The standing while the gate is not up, and until when.
    low: Standing,
    low_until: Option<Instant>,
    /// Both as they are again when a stop that the VIP is given up for does not come; `None`: no stop has changed them.
    without_stop: Option<(Standing, Option<Instant>)>,
    advertised: Standing,
    tally: Tally,
    unasked: Option<String>,
    state: State,
    since: Instant,
    settled: bool,
    history: VecDeque<Transition>,
    counts: BTreeMap<&'static str, u64>,
}

impl Gate {
    /// A closed gate that knows nothing yet. `workers`: how many are configured.
    pub fn new(now: Instant, settings: Settings, workers: usize) -> Self {
        Self {
            workers,
            running: BTreeSet::new(),
            facts: BTreeSet::from([Fact::Runs]),
            bfd: false,
            lost: false,
            orders: Orders::default(),
            health: Health::Init,
            cause: Reason::Start,
            rounds: Rounds {
                number: 0,
                began: now,
                out: None,
                due: Some(now + settings.fast_interval),
                streak: 0,
            },
            damping: Damping::default(),
            low: Standing::Withdrawn,
            low_until: None,
            without_stop: None,
            advertised: Standing::Withdrawn,
            tally: Tally::default(),
            unasked: None,
            state: State::Init,
            since: now,
            settled: false,
            history: VecDeque::new(),
            counts: BTreeMap::new(),
            settings,
        }
    }

    /// The first hard fact that is bad.
    fn hard(&self) -> Option<Reason> {
        let lacks = |fact| !self.facts.contains(&fact);
        let (running, needed) = (self.running.len(), self.needed());
        if running < needed {
            Some(Reason::Workers { running, needed })
        } else if lacks(Fact::Interface) {
            Some(Reason::Interface)
        } else if lacks(Fact::Program) {
            Some(Reason::Program)
        } else if lacks(Fact::Runs) {
            Some(Reason::Blind)
        } else if lacks(Fact::Address) {
            Some(Reason::Address)
        } else {
            None
        }
    }

    /// How many workers must serve: one at least.
    fn needed(&self) -> usize {
        self.settings.min_workers.of(self.workers).max(1)
    }

    fn probed(&mut self, now: Instant, round: u64, findings: &[ProbeResult]) {
        // The answer belongs to an earlier round, which was given up or ended by a hard fact.
        if self.rounds.out.is_none() || self.rounds.number != round {
            return;
        }
        let (tally, verdict) = round::judge(findings, &self.running, self.needed(), &self.settings);
        let workers = tally.serving;
        if !matches!(verdict, Verdict::Unknown(_)) {
            self.tally = tally;
        }
        self.unasked = None;
        match verdict {
            Verdict::Good if self.settings.bfd && !self.bfd => self.bad(now, Reason::Bfd),
            Verdict::Good if self.settings.lost == Lost::Withdraw && self.lost => {
                self.bad(now, Reason::Lost);
            }
            Verdict::Good => self.good(now, workers),
            Verdict::Bad(reason) => self.bad(now, reason),
            Verdict::Unknown(why) => {
                self.unasked = Some(why);
                self.again(now);
            }
        }
    }

    fn good(&mut self, now: Instant, workers: usize) {
        let counted = match self.health {
            Health::Rising => self.rounds.streak,
            Health::Init | Health::Up | Health::Falling | Health::Down => 0,
        };
        self.rounds.streak = counted.saturating_add(1);
        let risen = self.rounds.streak >= self.settings.rise;
        let held = self.damping.holds(now);
        let enough = risen && !held;
        let waits = risen && held && self.health != Health::Up && self.health != Health::Falling;
        self.cause = if waits {
            Reason::Held
        } else {
            Reason::Served { workers }
        };
        self.turn(now, Signal::Good { enough });
        self.again(now);
    }

    fn bad(&mut self, now: Instant, reason: Reason) {
        let counted = match self.health {
            Health::Init | Health::Falling => self.rounds.streak,
            Health::Rising | Health::Up | Health::Down => 0,
        };
        self.rounds.streak = counted.saturating_add(1);
        let enough = self.rounds.streak >= self.settings.fall;
        self.cause = reason;
        self.turn(now, Signal::Bad { enough });
        self.again(now);
    }

    /// Sets the time of the next round: soon while the health is about to change.
    fn again(&mut self, now: Instant) {
        let pace = match self.health {
            Health::Up | Health::Down => self.settings.interval,
            Health::Init | Health::Rising | Health::Falling => self.settings.fast_interval,
        };
        self.rounds.out = None;
        let over = self.hard().is_some() && self.health != Health::Init;
        self.rounds.due = (!over).then_some((self.rounds.began + pace).max(now));
    }

    fn turn(&mut self, now: Instant, signal: Signal) {
        let before = self.health;
        self.health = next(before, signal);
        let was_up = matches!(before, Health::Up | Health::Falling);
        match self.health {
            Health::Up if !was_up => self.damping.went_up(now),
            Health::Down if was_up => {
                self.damping.went_down(now, &self.settings);
                if signal != Signal::Hard {
                    self.sink(now);
                }
            }
            Health::Init | Health::Rising | Health::Up | Health::Falling | Health::Down => {}
        }
    }

    /// A hard fact may have changed. `was_hard`: one was bad before this step.
    fn look(&mut self, now: Instant, was_hard: bool) {
        if let Some(reason) = self.hard() {
            self.withdraw();
            self.set_without_stop((Standing::Withdrawn, None));
            self.cause = reason;
            (self.tally, self.unasked) = (Tally::default(), None);
            self.rounds.out = None;
            if self.health != Health::Init {
                self.rounds.due = None;
                self.rounds.streak = 0;
            }
            self.turn(now, Signal::Hard);
        } else if was_hard {
            self.rounds.due = Some(now);
        }
    }

    fn order(&mut self, now: Instant, order: Order) {
        match order {
            Order::Drain if self.orders.draining => {}
            Order::Drain => {
                self.orders.draining = true;
                match self.advertised {
                    Standing::Announced | Standing::Depreferenced => self.take_leave(now),
                    Standing::Withdrawn | Standing::GracefulShutdown => {}
                }
            }
            Order::Undrain => self.orders.draining = false,
            Order::Disable => self.orders.disabled = true,
            Order::Enable => self.orders.disabled = false,
        }
    }

    /// Asks for a round when one is due.
    fn ask(&mut self, now: Instant) -> Option<Action> {
        let due = self.rounds.due.is_some_and(|due| due <= now);
        if !due || self.rounds.out.is_some() || self.hard().is_some() {
            return None;
        }
        self.rounds.number += 1;
        self.rounds.began = now;
        self.rounds.out = Some(now + self.settings.timeout * LOST);
        Some(Action::Probe {
            round: self.rounds.number,
            workers: self.running.iter().copied().collect(),
        })
    }

    fn closed(&self) -> bool {
        self.orders.disabled || self.orders.file
    }

    /// Ends every step: returns the new standing, if it changed, and the round to ask for.
    fn conclude(&mut self, now: Instant) -> Vec<Action> {
        if self.closed() {
            self.set_without_stop((Standing::Withdrawn, None));
        }
        if self.closed() || self.low_until.is_some_and(|until| until <= now) {
            self.withdraw();
        }
        let standing = match shown(self.health, self.closed(), self.orders.is_leaving()) {
            State::Disabled => Standing::Withdrawn,
            State::Up | State::Falling => Standing::Announced,
            State::Init | State::Rising | State::Down | State::Draining => self.low,
        };
        if standing == Standing::Announced {
            self.withdraw();
        }
        self.enter(now);
        let mut actions = Vec::new();
        if standing != self.advertised {
            self.advertised = standing;
            actions.push(Action::Stand(standing));
        }
        actions.extend(self.ask(now));
        actions
    }

    fn enter(&mut self, now: Instant) {
        let (from, to) = (
            self.state,
            shown(self.health, self.closed(), self.orders.is_leaving()),
        );
        self.settled |= !matches!(to, State::Init | State::Rising);
        if from == to {
            return;
        }
        let reason = self.reason();
        *self.counts.entry(reason.name()).or_default() += 1;
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back(Transition {
            at: now,
            from,
            to,
            reason,
        });
        (self.state, self.since) = (to, now);
    }
}

fn set<T: Ord>(set: &mut BTreeSet<T>, member: T, there: bool) {
    if there {
        set.insert(member);
    } else {
        set.remove(&member);
    }
}

impl Machine for Gate {
    type Event = Event;
    type Action = Action;

    fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let was_hard = self.hard().is_some();
        match event {
            Event::Worker { worker, in_ring } => {
                set(&mut self.running, worker, in_ring);
                self.look(now, was_hard);
            }
            Event::Holds(fact, holds) => {
                set(&mut self.facts, fact, holds);
                self.look(now, was_hard);
            }
            // Both count in the verdict of a round, so the next one begins at once.
            Event::Bfd(up) => {
                self.bfd = up;
                self.rounds.due = self.rounds.due.map(|due| due.min(now));
            }
            Event::Lost(lost) => {
                self.lost = lost;
                self.rounds.due = self.rounds.due.map(|due| due.min(now));
            }
            Event::File(there) => self.orders.file = there,
            Event::Order(order) => self.order(now, order),
            Event::Leave(within) => self.leave(now, within),
            Event::Probed { round, findings } => self.probed(now, round, &findings),
            Event::Configure { settings, workers } => {
                (self.settings, self.workers) = (*settings, workers);
                self.running.retain(|worker| *worker < workers);
                self.look(now, was_hard);
            }
        }
        self.conclude(now)
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        let lost = self.rounds.out.is_some_and(|until| until <= now);
        let due = self.rounds.due.is_some_and(|due| due <= now);
        match self.hard() {
            // At a start facts arrive one by one; a fact that does not arrive in time counts as bad.
            Some(reason) if due && self.health == Health::Init => {
                self.rounds.began = now;
                self.bad(now, reason);
            }
            None if lost => self.bad(now, Reason::Silent),
            Some(_) | None => {}
        }
        self.conclude(now)
    }

    fn deadline(&self) -> Option<Instant> {
        let round = self.rounds.out.or(self.rounds.due);
        round.into_iter().chain(self.low_until).min()
    }
}

#[cfg(test)]
mod tests;
