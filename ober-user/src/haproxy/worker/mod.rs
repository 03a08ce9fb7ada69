//! Supervision of one worker slot: which process serves, which one replaces it, which ones finish, and whether the slot
//! belongs in the ring. Pure: it uses no process, socket, clock or task; `self::world` is its world.
//!
//! ```text
//!            Want                    Ready
//! Stopped ---------> Starting ---------------> Running <----------------+
//!    ^                ^   | exit, no answer      |  |                   | new Ready: old retires
//!    | Stop           |   v                      |  | Want              | new exits, no answer: old stays
//!    +--- any     Backoff <------- exit ---------+  +---> Replacing ----+
//! ```
//! The slot is in the ring in Running and Replacing, and in no other state.
//!
//! `event` has its events and actions, `policy` its times, `leaving` its processes that finish. `world` performs the
//! actions with `process` (how one is started), `watched`, `adopt` (records beside workers), `log` and `snapshot`. In a reload a
//! process never gets the signal to finish before its successor answers.

use std::time::{Duration, Instant};

use self::leaving::Leaving;
pub use self::{
    event::{Action, Event, Exit, Generation, Outcome, Pid, Why},
    policy::Policy,
};
use crate::machine::Machine;

pub(crate) mod adopt;
mod event;
mod leaving;
pub(crate) mod log;
mod policy;
pub(crate) mod process;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;
mod watched;
pub(crate) mod world;

/// A process that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    pub pid: Pid,
    pub generation: Generation,
    pub since: Instant,
}

/// A process that is to serve. `pid` is `None` until it is spawned; `probe` is the time of the next question, `None`
/// while one is open.
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

/// One worker slot.
#[derive(Clone, Debug)]
pub struct Worker {
    policy: Policy,
    state: State,
    changed: Instant,
    wanted: Option<Generation>,
    in_ring: bool,
    leaving: Leaving,
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
            leaving: Leaving::default(),
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

    /// How often a process ended unexpectedly, each followed by a new start.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    pub fn last_exit(&self) -> Option<Exit> {
        self.last_exit
    }

    /// Processes that only finish their connections, oldest first.
    pub fn finishing(&self) -> Vec<Pid> {
        self.leaving.pids()
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

    fn discard(&mut self, new: Starting, why: Why) -> Vec<Action> {
        new.pid
            .map(|pid| self.leaving.kill(pid, why))
            .unwrap_or_default()
    }

    /// Waits before the next start, after an unexpected end.
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

    /// The old process stays; its generation is started again if it ends.
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

    fn adopt(&mut self, now: Instant, current: Serving, finishing: Vec<Pid>) -> Vec<Action> {
        self.wanted = Some(current.generation);
        self.enter(now, State::Running(current));
        let mut actions = self.ring(true);
        for pid in finishing {
            actions.extend(self.leaving.retire(now, pid, &self.policy));
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
        self.leaving.hurry(now + self.policy.settle + drain);
        if let Some(new) = starting {
            actions.extend(self.discard(new, Why::Unwanted));
        }
        if let Some(current) = serving {
            self.leaving
                .retire_at(now + self.policy.settle, current.pid, drain);
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
                self.leaving.ended(pid);
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

    /// The process that was changed by commands may have ended meanwhile; then the next one starts with that generation.
    fn changed_live(&mut self, now: Instant, generation: Generation, pid: Pid) -> Vec<Action> {
        match self.state {
            State::Running(current) if current.pid == pid => {
                self.wanted = Some(generation);
                self.state = State::Running(Serving {
                    generation,
                    ..current
                });
                vec![Action::Settled {
                    generation,
                    outcome: Outcome::Serving,
                }]
            }
            State::Stopped
            | State::Starting(_)
            | State::Running(_)
            | State::Replacing(..)
            | State::Backoff { .. } => self.want(now, generation),
        }
    }

    /// The process that is starting, with the one it replaces.
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
            Some(_) | None => self.leaving.kill(pid, Why::Unwanted),
        }
    }
}

impl Machine for Worker {
    type Event = Event;
    type Action = Action;

    fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match (event, self.newcomer()) {
            (Event::Want { generation }, _) => self.want(now, generation),
            (Event::ChangedLive { generation, pid }, _) => self.changed_live(now, generation, pid),
            (Event::Renew, _) => match self.state {
                State::Running(current) => self.replace(now, current, current.generation),
                State::Stopped
                | State::Starting(_)
                | State::Replacing(..)
                | State::Backoff { .. } => Vec::new(),
            },
            (Event::Configure(policy), _) => {
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
                    actions.extend(self.leaving.retire(now, old.pid, &self.policy));
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
            // An event about a process that no longer matters.
            (Event::SpawnFailed { .. } | Event::Ready { .. } | Event::NotReady { .. }, _) => {
                Vec::new()
            }
            (Event::Exited { pid, exit }, _) => self.exited(now, pid, exit),
            (Event::Stop { drain }, _) => self.stop(now, drain),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = self.leaving.tick(now);
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
        self.leaving.deadline().into_iter().chain(state).min()
    }
}
