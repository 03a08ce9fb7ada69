//! This node's attempts to connect.

use std::time::Instant;

use super::{Dialing, Peering};
use crate::protocols::bgp::{
    event::{Action, Failure, Side},
    rib::NextHops,
};

impl Peering {
    pub(super) fn wait(&mut self, now: Instant) {
        self.pace.wait(now, self.settings.connect_retry);
    }

    pub(super) fn dial(&mut self, now: Instant) -> Vec<Action> {
        if self.settings.passive || self.established().is_some() {
            self.pace.retry = None;
            return Vec::new();
        }
        let mut actions = self.hang_up();
        self.wait(now);
        // While the neighbour's connection comes up, a second one would only collide with it.
        if self.connections.is_empty() {
            self.dialing = Dialing::Underway;
            actions.push(Action::Dial);
        }
        actions
    }

    /// Starts or stops connecting after a change of settings. An open connection stays.
    pub(super) fn turn(&mut self) -> Vec<Action> {
        let passive = self.settings.passive;
        let actions = if passive { self.hang_up() } else { Vec::new() };
        match self.dialing {
            Dialing::Waiting if passive => {
                self.dialing = Dialing::Never;
                self.pace.retry = None;
            }
            Dialing::Never if !passive => self.dialing = Dialing::Waiting,
            Dialing::Never | Dialing::Waiting | Dialing::Underway | Dialing::Done => {}
        }
        actions
    }

    pub(super) fn hang_up(&mut self) -> Vec<Action> {
        if self.dialing == Dialing::Underway {
            self.dialing = Dialing::Waiting;
            vec![Action::HangUp]
        } else {
            Vec::new()
        }
    }

    pub(super) fn dialed(&mut self, now: Instant, next_hops: NextHops) -> Vec<Action> {
        if self.dialing != Dialing::Underway {
            return vec![Action::Close(Side::Ours)];
        }
        self.dialing = Dialing::Done;
        self.pace.retry = None;
        self.connected(now, Side::Ours, next_hops)
    }

    pub(super) fn not_dialed(&mut self, now: Instant, reason: String) -> Vec<Action> {
        if self.dialing != Dialing::Underway {
            return Vec::new();
        }
        self.dialing = Dialing::Waiting;
        if self.pace.retry.is_none() {
            self.wait(now);
        }
        vec![self.cannot_connect(now, reason)]
    }

    pub(super) fn cannot_connect(&mut self, now: Instant, reason: String) -> Action {
        self.pace.attempts = self.pace.attempts.saturating_add(1);
        let failure = Failure::Connect(reason);
        self.last_failure = Some((now, failure.clone()));
        Action::Failed(failure)
    }
}
