//! What those are told who rely on a session, such as BGP (RFC 5882 section 3): only what matters to them.

use std::time::{Duration, Instant};

use super::packet::State;

/// Keeps what was told. A `Down` is told only when a session that was Up failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    told: State,
    /// Was the session Up when it was last looked at?
    up: bool,
    failed: bool,
    hold_down: Duration,
    /// When a session that failed before may be told to be Up again.
    due: Option<Instant>,
}

impl Client {
    pub(super) fn new(hold_down: Duration) -> Self {
        Self {
            told: State::Down,
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

    /// The state of both ends; what is to be told, if anything.
    pub(super) fn see(&mut self, now: Instant, ours: State, peer: State) -> Option<State> {
        let was_up = std::mem::replace(&mut self.up, ours == State::Up);
        let tell = match (ours, peer) {
            (State::Up, _) => self.rise(now, was_up),
            // RFC 5882 section 3.2: an administrator's word is no failure of the path.
            (State::AdminDown, _) | (State::Down, State::AdminDown) => {
                (self.told != State::AdminDown).then_some(State::AdminDown)
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
        self.told = tell.unwrap_or(self.told);
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
        (self.told != State::Up).then_some(State::Up)
    }
}
