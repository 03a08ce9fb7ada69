//! Supervision of one worker slot: which process serves, which one replaces it, which ones finish, and whether the
//! slot belongs into the ring. Knows no process, socket, clock or task; `super::slot` is its world.
//!
//! ```text
//!            Want                    Ready
//! Stopped ---------> Starting ---------------> Running <----------------+
//!    ^                ^   | exit, no answer      |  |                   | new Ready: old retires
//!    | Stop           |   v                      |  | Want              | new exits, no answer: old stays
//!    +--- any     Backoff <------- exit ---------+  +---> Replacing ----+
//! ```
//! The slot is in the ring in Running and Replacing, nowhere else.

use std::time::{Duration, Instant};

use crate::{config::Workers, machine::Machine};

#[cfg(test)]
mod tests;

/// A process number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

/// A fingerprint of what a worker was started with; equal means there is nothing to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// The process was adopted, and only a parent learns the status.
    Unknown,
}

/// The times and bounds of supervision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// A worker that ran this long has earned a fresh back-off.
    pub steady: Duration,
    /// For a process to become ready.
    pub start_limit: Duration,
    /// Pause between two questions to a starting process.
    pub probe_every: Duration,
    /// From leaving the ring to the signal, so that connections under way still find someone who accepts.
    pub settle: Duration,
    /// How long a replaced process may finish its connections.
    pub drain: Duration,
    /// Replaced processes left to finish at once; beyond, the oldest is killed.
    pub finishing: usize,
}

impl Policy {
    /// The configured times, and fixed ones for the rest.
    pub fn of(workers: &Workers) -> Self {
        Self {
            backoff: workers.backoff,
            backoff_max: workers.backoff_max,
            steady: workers.backoff_max.max(Duration::from_secs(10)),
            start_limit: Duration::from_secs(20),
            probe_every: Duration::from_millis(10),
            settle: Duration::from_millis(100),
            // HAProxy ends itself by hard-stop-after; the kill is for one that does not.
            drain: workers.drain.saturating_add(Duration::from_secs(5)),
            finishing: 3,
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.backoff.saturating_mul(factor).min(self.backoff_max)
    }
}

/// What happens to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This generation shall serve.
    Want {
        generation: Generation,
    },
    /// The times and bounds from now on.
    Follow(Policy),
    /// A process of an earlier daemon serves, as it proved then; others of that daemon have to finish.
    Adopt {
        pid: Pid,
        generation: Generation,
        finishing: Vec<Pid>,
    },
    Spawned {
        generation: Generation,
        pid: Pid,
    },
    SpawnFailed {
        generation: Generation,
    },
    /// The process answered on its command socket.
    Ready {
        pid: Pid,
    },
    NotReady {
        pid: Pid,
    },
    Exited {
        pid: Pid,
        exit: Exit,
    },
    /// Nothing shall serve; connections may finish for so long.
    Stop {
        drain: Duration,
    },
}

/// What a slot asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Spawn {
        generation: Generation,
    },
    /// Ask the process whether it is ready; answered by `Ready` or `NotReady`.
    Probe {
        pid: Pid,
    },
    SetInRing(bool),
    /// Accept no more, finish what is there, end.
    Retire {
        pid: Pid,
    },
    Kill {
        pid: Pid,
        why: Why,
    },
    /// The answer to `Want`.
    Settled {
        generation: Generation,
        outcome: Outcome,
    },
}

/// Why a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Unwanted,
    NeverReady,
    DrainOver,
    TooManyFinishing,
}

/// What became of a wanted generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Serving,
    NotSpawned,
    Ended(Exit),
    NeverReady,
}

/// A process that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    pub pid: Pid,
    pub generation: Generation,
    pub since: Instant,
}

/// A process that is to serve. `pid` is unknown until it is spawned, `probe` while a question is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starting {
    pub pid: Option<Pid>,
    pub generation: Generation,
    pub give_up: Instant,
    pub probe: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Stopped,
    Starting(Starting),
    Running(Serving),
    Replacing(Serving, Starting),
    Backoff { until: Instant },
}

/// What is next for a process that no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Retire { at: Instant, drain: Duration },
    Kill { at: Instant },
    Killed,
}

/// One worker slot.
#[derive(Clone, Debug)]
pub struct Worker {
    policy: Policy,
    state: State,
    changed: Instant,
    wanted: Option<Generation>,
    in_ring: bool,
    leaving: Vec<(Pid, Step)>,
    failures: u32,
    restarts: u32,
    last_exit: Option<Exit>,
}

impl Worker {
    /// An empty slot.
    pub fn new(now: Instant, policy: Policy) -> Self {
        Self {
            policy,
            state: State::Stopped,
            changed: now,
            wanted: None,
            in_ring: false,
            leaving: Vec::new(),
            failures: 0,
            restarts: 0,
            last_exit: None,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// When the state last changed its kind.
    pub fn changed(&self) -> Instant {
        self.changed
    }

    pub fn in_ring(&self) -> bool {
        self.in_ring
    }

    /// Ends that were not asked for, each followed by a new start.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    pub fn last_exit(&self) -> Option<Exit> {
        self.last_exit
    }

    /// Processes that only finish, oldest first.
    pub fn finishing(&self) -> Vec<Pid> {
        self.leaving.iter().map(|(pid, _)| *pid).collect()
    }

    /// Generations that may be started again.
    pub fn generations(&self) -> Vec<Generation> {
        let (serving, starting) = match self.state {
            State::Stopped | State::Backoff { .. } => (None, None),
            State::Starting(new) => (None, Some(new.generation)),
            State::Running(current) => (Some(current.generation), None),
            State::Replacing(old, new) => (Some(old.generation), Some(new.generation)),
        };
        [self.wanted, serving, starting]
            .into_iter()
            .flatten()
            .collect()
    }

    fn enter(&mut self, now: Instant, state: State) {
        if std::mem::discriminant(&self.state) != std::mem::discriminant(&state) {
            self.changed = now;
        }
        self.state = state;
    }

    fn ring(&mut self, inside: bool) -> Vec<Action> {
        let changed = self.in_ring != inside;
        self.in_ring = inside;
        if changed {
            vec![Action::SetInRing(inside)]
        } else {
            Vec::new()
        }
    }

    fn starting(&self, now: Instant, generation: Generation, pid: Option<Pid>) -> Starting {
        Starting {
            pid,
            generation,
            give_up: now + self.policy.start_limit,
            probe: None,
        }
    }

    fn begin(&mut self, now: Instant, generation: Generation) -> Vec<Action> {
        self.wanted = Some(generation);
        let new = self.starting(now, generation, None);
        self.enter(now, State::Starting(new));
        vec![Action::Spawn { generation }]
    }

    fn replace(&mut self, now: Instant, old: Serving, generation: Generation) -> Vec<Action> {
        self.wanted = Some(generation);
        let new = self.starting(now, generation, None);
        self.enter(now, State::Replacing(old, new));
        vec![Action::Spawn { generation }]
    }

    fn kill(&mut self, pid: Pid, why: Why) -> Vec<Action> {
        self.leaving.push((pid, Step::Killed));
        vec![Action::Kill { pid, why }]
    }

    fn discard(&mut self, new: Starting, why: Why) -> Vec<Action> {
        new.pid.map(|pid| self.kill(pid, why)).unwrap_or_default()
    }

    /// After an end that was not asked for.
    fn back_off(&mut self, now: Instant) {
        let until = now + self.policy.pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.restarts = self.restarts.saturating_add(1);
        self.enter(now, State::Backoff { until });
    }

    fn crashed(&mut self, now: Instant, since: Instant, exit: Exit) -> Vec<Action> {
        self.last_exit = Some(exit);
        if now.saturating_duration_since(since) >= self.policy.steady {
            self.failures = 0;
        }
        self.ring(false)
    }

    /// The old one stays; it is what is started again should it end.
    fn keep(&mut self, now: Instant, old: Serving, new: Starting, outcome: Outcome) -> Vec<Action> {
        self.wanted = Some(old.generation);
        self.enter(now, State::Running(old));
        vec![Action::Settled {
            generation: new.generation,
            outcome,
        }]
    }

    fn not_started(&mut self, now: Instant, new: Starting, outcome: Outcome) -> Vec<Action> {
        self.back_off(now);
        vec![Action::Settled {
            generation: new.generation,
            outcome,
        }]
    }

    fn serve(&mut self, now: Instant, pid: Pid, new: Starting) -> Vec<Action> {
        let generation = new.generation;
        self.enter(
            now,
            State::Running(Serving {
                pid,
                generation,
                since: now,
            }),
        );
        let mut actions = self.ring(true);
        actions.push(Action::Settled {
            generation,
            outcome: Outcome::Serving,
        });
        actions
    }

    fn retire(&mut self, now: Instant, pid: Pid) -> Vec<Action> {
        let at = now + self.policy.drain;
        self.leaving.push((pid, Step::Kill { at }));
        let mut actions = vec![Action::Retire { pid }];
        let alive = self
            .leaving
            .iter()
            .filter(|(_, step)| *step != Step::Killed)
            .count();
        let excess = alive.saturating_sub(self.policy.finishing);
        let oldest = self
            .leaving
            .iter_mut()
            .filter(|(_, step)| *step != Step::Killed);
        for (pid, step) in oldest.take(excess) {
            *step = Step::Killed;
            actions.push(Action::Kill {
                pid: *pid,
                why: Why::TooManyFinishing,
            });
        }
        actions
    }

    fn adopt(&mut self, now: Instant, current: Serving, finishing: Vec<Pid>) -> Vec<Action> {
        self.wanted = Some(current.generation);
        self.enter(now, State::Running(current));
        let mut actions = self.ring(true);
        for pid in finishing {
            actions.extend(self.retire(now, pid));
        }
        actions
    }

    fn stop(&mut self, now: Instant, drain: Duration) -> Vec<Action> {
        self.wanted = None;
        let mut actions = self.ring(false);
        let (serving, starting) = match self.state {
            State::Stopped | State::Backoff { .. } => (None, None),
            State::Starting(new) => (None, Some(new)),
            State::Running(current) => (Some(current), None),
            State::Replacing(old, new) => (Some(old), Some(new)),
        };
        for (_, step) in &mut self.leaving {
            if let Step::Kill { at } = step {
                *at = (*at).min(now + self.policy.settle + drain);
            }
        }
        if let Some(new) = starting {
            actions.extend(self.discard(new, Why::Unwanted));
        }
        if let Some(current) = serving {
            let at = now + self.policy.settle;
            self.leaving.push((current.pid, Step::Retire { at, drain }));
        }
        self.enter(now, State::Stopped);
        actions
    }

    fn exited(&mut self, now: Instant, pid: Pid, exit: Exit) -> Vec<Action> {
        match self.state {
            State::Running(current) if current.pid == pid => {
                let actions = self.crashed(now, current.since, exit);
                self.back_off(now);
                actions
            }
            State::Replacing(old, new) if old.pid == pid => {
                let actions = self.crashed(now, old.since, exit);
                self.restarts = self.restarts.saturating_add(1);
                self.enter(now, State::Starting(new));
                actions
            }
            State::Starting(new) if new.pid == Some(pid) => {
                self.last_exit = Some(exit);
                self.not_started(now, new, Outcome::Ended(exit))
            }
            State::Replacing(old, new) if new.pid == Some(pid) => {
                self.keep(now, old, new, Outcome::Ended(exit))
            }
            State::Stopped
            | State::Starting(_)
            | State::Running(_)
            | State::Replacing(..)
            | State::Backoff { .. } => {
                self.leaving.retain(|(leaving, _)| *leaving != pid);
                Vec::new()
            }
        }
    }

    fn want(&mut self, now: Instant, generation: Generation) -> Vec<Action> {
        match self.state {
            State::Stopped | State::Backoff { .. } => self.begin(now, generation),
            State::Starting(new) | State::Replacing(_, new) if new.generation == generation => {
                Vec::new()
            }
            State::Starting(new) => {
                let mut actions = self.discard(new, Why::Unwanted);
                actions.extend(self.begin(now, generation));
                actions
            }
            State::Running(current) if current.generation == generation => {
                vec![Action::Settled {
                    generation,
                    outcome: Outcome::Serving,
                }]
            }
            State::Running(current) => self.replace(now, current, generation),
            State::Replacing(old, new) => {
                let mut actions = self.discard(new, Why::Unwanted);
                if old.generation == generation {
                    self.wanted = Some(generation);
                    self.enter(now, State::Running(old));
                    actions.push(Action::Settled {
                        generation,
                        outcome: Outcome::Serving,
                    });
                } else {
                    actions.extend(self.replace(now, old, generation));
                }
                actions
            }
        }
    }

    /// The process that is to serve and has something to say, with the one it replaces.
    fn newcomer(&self) -> Option<(Option<Serving>, Starting)> {
        match self.state {
            State::Starting(new) => Some((None, new)),
            State::Replacing(old, new) => Some((Some(old), new)),
            State::Stopped | State::Running(_) | State::Backoff { .. } => None,
        }
    }

    fn update(&mut self, old: Option<Serving>, new: Starting) {
        self.state = match old {
            Some(old) => State::Replacing(old, new),
            None => State::Starting(new),
        };
    }

    fn failed(
        &mut self,
        now: Instant,
        old: Option<Serving>,
        new: Starting,
        outcome: Outcome,
    ) -> Vec<Action> {
        match old {
            Some(old) => self.keep(now, old, new, outcome),
            None => self.not_started(now, new, outcome),
        }
    }

    fn spawned(&mut self, now: Instant, generation: Generation, pid: Pid) -> Vec<Action> {
        match self.newcomer() {
            Some((old, new)) if new.pid.is_none() && new.generation == generation => {
                let new = self.starting(now, generation, Some(pid));
                self.update(old, new);
                vec![Action::Probe { pid }]
            }
            Some(_) | None => self.kill(pid, Why::Unwanted),
        }
    }

    fn leave(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        for (pid, step) in &mut self.leaving {
            match *step {
                Step::Retire { at, drain } if at <= now => {
                    // Never now: the signal shall have its chance.
                    let at = now + drain.max(Duration::from_millis(1));
                    *step = Step::Kill { at };
                    actions.push(Action::Retire { pid: *pid });
                }
                Step::Kill { at } if at <= now => {
                    *step = Step::Killed;
                    actions.push(Action::Kill {
                        pid: *pid,
                        why: Why::DrainOver,
                    });
                }
                Step::Retire { .. } | Step::Kill { .. } | Step::Killed => {}
            }
        }
        actions
    }
}

impl Machine for Worker {
    type Event = Event;
    type Action = Action;

    fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match (event, self.newcomer()) {
            (Event::Want { generation }, _) => self.want(now, generation),
            (Event::Follow(policy), _) => {
                self.policy = policy;
                Vec::new()
            }
            (
                Event::Adopt {
                    pid,
                    generation,
                    finishing,
                },
                _,
            ) => self.adopt(
                now,
                Serving {
                    pid,
                    generation,
                    since: now,
                },
                finishing,
            ),
            (Event::Spawned { generation, pid }, _) => self.spawned(now, generation, pid),
            (Event::SpawnFailed { generation }, Some((old, new)))
                if new.pid.is_none() && new.generation == generation =>
            {
                self.failed(now, old, new, Outcome::NotSpawned)
            }
            (Event::Ready { pid }, Some((old, new))) if new.pid == Some(pid) => {
                let mut actions = self.serve(now, pid, new);
                if let Some(old) = old {
                    actions.extend(self.retire(now, old.pid));
                }
                actions
            }
            (Event::NotReady { pid }, Some((old, new))) if new.pid == Some(pid) => {
                self.update(
                    old,
                    Starting {
                        probe: Some(now + self.policy.probe_every),
                        ..new
                    },
                );
                Vec::new()
            }
            // About a process that no longer matters.
            (Event::SpawnFailed { .. } | Event::Ready { .. } | Event::NotReady { .. }, _) => {
                Vec::new()
            }
            (Event::Exited { pid, exit }, _) => self.exited(now, pid, exit),
            (Event::Stop { drain }, _) => self.stop(now, drain),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = self.leave(now);
        if let (State::Backoff { until }, Some(generation)) = (self.state, self.wanted)
            && until <= now
        {
            actions.extend(self.begin(now, generation));
        }
        match self.newcomer() {
            Some((old, new)) if new.give_up <= now => {
                actions.extend(self.discard(new, Why::NeverReady));
                actions.extend(self.failed(now, old, new, Outcome::NeverReady));
            }
            Some((
                old,
                new @ Starting {
                    pid: Some(pid),
                    probe: Some(at),
                    ..
                },
            )) if at <= now => {
                self.update(old, Starting { probe: None, ..new });
                actions.push(Action::Probe { pid });
            }
            Some(_) | None => {}
        }
        actions
    }

    fn deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::Stopped | State::Running(_) => None,
            State::Backoff { until } => Some(until),
            State::Starting(new) | State::Replacing(_, new) => Some(
                new.probe
                    .map_or(new.give_up, |probe| probe.min(new.give_up)),
            ),
        };
        let leaving = self.leaving.iter().filter_map(|(_, step)| match step {
            Step::Retire { at, .. } | Step::Kill { at } => Some(*at),
            Step::Killed => None,
        });
        leaving.chain(state).min()
    }
}
