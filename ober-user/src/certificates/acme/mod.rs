//! When a certificate is ordered from an authority (RFC 8555): this file, which knows no authority, file or clock. How:
//! `order`, by `client`, with the key in `account`, and for DNS-01 with records set through `dns`.
//!
//! ```text
//!          Lacks, due             Stands
//! Waiting ------------> Ordering --------> Waiting until a third of its life is left
//!    ^                     | Failed
//!    +---------------------+ pause, three times as long each time, never shorter than the authority asks
//! ```
//! An issued certificate is a file in the state directory like any other: [`super::copies`] takes it from there.
//!
//! It never takes a certificate away: while no new one is issued, the last one stays.

mod account;
mod client;
mod dns;
mod order;
mod route53;
mod signature;
#[cfg(test)]
mod tests;
mod world;

use std::time::{Duration, Instant};

pub use self::{
    account::{Error as AccountError, thumbprint},
    world::{Follower, Standing},
};
use crate::machine::Machine;

/// Five attempts in the first hour: as many failures as Let's Encrypt forgives one name in an hour.
const PAUSE: Duration = Duration::from_mins(1);
const FACTOR: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_hours(12);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a certificate of this age that has this much left.
    Stands { age: Duration, left: Duration },
    /// There is none.
    Lacks,
    /// An order came to nothing.
    Failed {
        /// The authority does not want to be asked sooner.
        retry_after: Option<Duration>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is known yet.
    New,
    Waiting {
        until: Instant,
    },
    Ordering,
}

/// One certificate.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    state: State,
    /// Orders in a row that came to nothing.
    failures: u32,
    /// Of 255: what part of the room for it renewals are earlier by, so that not all come at once.
    jitter: u8,
}

impl Renewal {
    pub fn new(jitter: u8) -> Self {
        Self {
            state: State::New,
            failures: 0,
            jitter,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn order(&mut self) -> Vec<Action> {
        self.state = State::Ordering;
        vec![Action::Order]
    }

    /// From now until a third of its life is left, less up to a tenth of that third.
    fn room(&self, age: Duration, left: Duration) -> Duration {
        let third = (age + left) / 3;
        let early = third / 10 * u32::from(self.jitter) / 255;
        left.saturating_sub(third + early)
    }

    fn pause(&self) -> Duration {
        let factor = FACTOR.saturating_pow(self.failures.min(10));
        let pause = PAUSE.saturating_mul(factor).min(PAUSE_MAX);
        pause + pause / 10 * u32::from(self.jitter) / 255
    }
}

impl Machine for Renewal {
    type Event = Event;
    type Action = Action;

    fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Lacks => self.order(),
            Event::Stands { age, left } => {
                self.failures = 0;
                let room = self.room(age, left);
                if room.is_zero() && self.state != State::Ordering {
                    return self.order();
                }
                // An authority that issues what is old already is not asked without a rest.
                let until = now + room.max(PAUSE);
                self.state = State::Waiting { until };
                Vec::new()
            }
            Event::Failed { retry_after } => {
                let pause = self.pause().max(retry_after.unwrap_or_default());
                self.failures = self.failures.saturating_add(1);
                self.state = State::Waiting { until: now + pause };
                Vec::new()
            }
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        match self.state {
            State::Waiting { until } if until <= now => self.order(),
            State::New | State::Waiting { .. } | State::Ordering => Vec::new(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::New | State::Ordering => None,
        }
    }
}
