//! Decides what clients of a session, such as BGP, learn of it (RFC 5882 section 3): only changes that matter to them.

use std::time::{Duration, Instant};

use super::packet::State;

/// Remembers the last state the clients got. They get `Down` only when a session that was Up has failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    notified: State,
    /// Was the session Up after the previous event?
    up: bool,
    failed: bool,
    hold_down: Duration,
    /// When clients may get `Up` for a session that failed before.
    due: Option<Instant>,
}

impl Client {
    pub(super) fn new(hold_down: Duration) -> Self {
        Self {
            notified: State::Down,
            up: false,
            failed: false,
            hold_down,
            due: None,
        }
    }

    pub(super) fn hold_down(&mut self, hold_down: Duration) {
        self.hold_down = hold_down;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Takes the states of both ends; returns the state that clients get, if any.
    pub(super) fn see(&mut self, now: Instant, ours: State, peer: State) -> Option<State> {
        let was_up = std::mem::replace(&mut self.up, ours == State::Up);
        let tell = match (ours, peer) {
            (State::Up, _) => self.rise(now, was_up),
            // RFC 5882 section 3.2: an administrative state is no failure of the path.
            (State::AdminDown, _) | (State::Down, State::AdminDown) => {
                (self.notified != State::AdminDown).then_some(State::AdminDown)
            }
            (State::Down, State::Down | State::Init | State::Up) if was_up => {
                self.failed = true;
                Some(State::Down)
            }
            (State::Down, State::Down | State::Init | State::Up) | (State::Init, _) => None,
        };
        if ours != State::Up {
            self.due = None;
        }
        self.notified = tell.unwrap_or(self.notified);
        tell
    }

    fn rise(&mut self, now: Instant, was_up: bool) -> Option<State> {
        if !was_up && self.failed && !self.hold_down.is_zero() {
            self.due = Some(now + self.hold_down);
        }
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        self.due = None;
        (self.notified != State::Up).then_some(State::Up)
    }
}
