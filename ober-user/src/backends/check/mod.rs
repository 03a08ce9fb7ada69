//! Is a server healthy? This file decides, with one machine for each server. It is pure: it uses no socket, clock or
//! process. The kinds of checks are the files beside it, and [`engine`] runs them.
//!
//! ```text
//!            first answer, whichever it is          `rise` good in a row
//!  Unknown ------------------------------> Up <------------------------------ Down
//!                                           +-------------------------------->
//!                                              `fall` bad in a row
//! ```
//! Only answers in a row count: a good answer resets the count of bad ones, and a bad one that of good ones. An answer
//! that is neither good nor bad changes nothing.
//!
//! It never counts a failure of this node (no free descriptor, no memory) against the server.

pub mod engine;
mod exec;
mod http;
mod probe;
pub(crate) mod targets;
mod tcp;
mod tls;

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{config::Check, machine::Machine, system::fact};

/// How often a server is checked, and how many answers change its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From the beginning of one check to that of the next, up to an eighth shorter or longer.
    pub interval: Duration,
    /// The same while answers contradict the state, and until the first answer.
    pub fast: Duration,
    /// Good answers in a row until it is up; at least 1.
    pub rise: u32,
    /// Bad answers in a row until it is down; at least 1.
    pub fall: u32,
}

impl Policy {
    pub fn of(check: &Check) -> Self {
        Self {
            interval: check.interval,
            fast: check.fast,
            rise: check.rise,
            fall: check.fall,
        }
    }
}

/// The result of one check, with a text for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Good(String),
    Bad(String),
    /// Neither good nor bad by the check's settings; or this node lacked the resources for a check.
    Unclear(String),
}

impl Answer {
    /// The answer that an error stands for. `words`: its text for messages.
    fn of(error: &io::Error, words: String) -> Self {
        if fact::is_shortage(error) {
            Self::Unclear(words)
        } else {
            Self::Bad(words)
        }
    }
}

impl From<String> for Answer {
    /// A bad answer, with the reason.
    fn from(words: String) -> Self {
        Self::Bad(words)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not checked yet.
    Unknown,
    Up,
    Down,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The check that [`Action::Ask`] began is over.
    Answered(Answer),
    /// Another pace and other bounds from now on.
    Configure(Policy),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Check the server once, and report the answer.
    Ask,
    /// The server changed its state, for this reason.
    Verdict { up: bool, reason: String },
}

/// One server of one backend.
#[derive(Clone, Debug)]
pub struct Server {
    policy: Policy,
    state: State,
    since: Instant,
    /// Answers in a row that contradict the state.
    against: u32,
    reason: String,
    /// Start of the check that runs, or of the last one.
    asked: Instant,
    /// `None`: a check runs.
    next: Option<Instant>,
    dice: u64,
}

impl Server {
    /// The first check is due at once. `seed` makes its pace differ from that of other servers.
    pub fn new(now: Instant, policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            state: State::Unknown,
            since: now,
            against: 0,
            reason: "not checked yet".to_owned(),
            asked: now,
            next: Some(now),
            // The generator below would stay at zero.
            dice: seed.max(1),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it is in this state.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What the last check found.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn answered(&mut self, now: Instant, answer: Answer) -> Option<Action> {
        let (good, reason) = match answer {
            Answer::Good(reason) => (Some(true), reason),
            Answer::Bad(reason) => (Some(false), reason),
            Answer::Unclear(reason) => (None, reason),
        };
        self.reason = reason;
        let good = good?;
        let needed = match (self.state, good) {
            (State::Up, true) | (State::Down, false) => {
                self.against = 0;
                return None;
            }
            (State::Unknown, _) => 1,
            (State::Up, false) => self.policy.fall,
            (State::Down, true) => self.policy.rise,
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.state = if good { State::Up } else { State::Down };
        self.since = now;
        Some(Action::Verdict {
            up: good,
            reason: self.reason.clone(),
        })
    }

    /// The time to the next check, an eighth shorter to an eighth longer than the pace, so that the checks of many
    /// servers do not coincide.
    fn pause(&mut self) -> Duration {
        let pace = if self.against > 0 || self.state == State::Unknown {
            self.policy.fast
        } else {
            self.policy.interval
        };
        // Marsaglia's xorshift is good enough for that.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let part = u32::try_from(self.dice % 257).unwrap_or_default();
        pace * 7 / 8 + pace * part / 1024
    }
}

impl Machine for Server {
    type Event = Event;
    type Action = Action;

    fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Answered(_) if self.next.is_some() => Vec::new(),
            Event::Answered(answer) => {
                let verdict = self.answered(now, answer);
                self.next = Some((self.asked + self.pause()).max(now));
                verdict.into_iter().collect()
            }
            Event::Configure(policy) => {
                self.policy = policy;
                if let Some(next) = self.next {
                    self.next = Some(next.min(now + policy.interval));
                }
                Vec::new()
            }
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.asked = now;
        self.next = None;
        vec![Action::Ask]
    }

    fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests;
