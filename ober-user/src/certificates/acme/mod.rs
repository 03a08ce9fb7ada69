//! Certificates from an authority (RFC 8555). This file decides when to order one; it is pure, without network, file or
//! clock. `order` does it, through `client`, with the key in `account`, and for DNS-01 with `records` set by `dns`
//! (`route53` with `signature`, or a program); `world` runs the machine.
//!
//! ```text
//!          Lacks, due             Stands
//! Waiting ------------> Ordering --------> Waiting until a third of its life is left
//!    ^                     | Failed
//!    +---------------------+ pause, three times as long each time, never shorter than the authority asks
//! ```
//! An issued certificate is a file in the state directory, which [`super::copies`] reads like every other file.
//!
//! It never removes a certificate: until a new one is issued, the last one stays.

mod account;
mod client;
mod dns;
mod order;
mod records;
mod route53;
mod signature;
#[cfg(test)]
mod tests;
mod world;

use std::time::{Duration, Instant};

pub use self::{
    account::{Error as AccountError, thumbprint},
    world::{CertificateOrders, OrderState},
};
use crate::machine::Machine;

/// The first pause after a failure. It leads to five attempts in the first hour, as many failures as Let's Encrypt
/// allows a name in an hour.
const PAUSE: Duration = Duration::from_mins(1);
const FACTOR: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_hours(12);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a certificate of this age with this remaining lifetime.
    Stands { age: Duration, left: Duration },
    /// There is no certificate.
    Lacks,
    /// An order failed.
    Failed {
        /// The authority wants no request before this time has passed.
        retry_after: Option<Duration>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not known yet whether there is a certificate.
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
    /// How many orders in a row have failed.
    failures: u32,
    /// How much earlier a renewal comes, in 255ths of the largest amount, so that not all come at once.
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

    /// The time until a third of its lifetime is left, minus up to a tenth of that third by the jitter.
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
                // Pauses also when the authority issues certificates that are due for renewal at once.
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
