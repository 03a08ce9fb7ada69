//! Changes of the configuration that do not end a session.

use std::time::Instant;

use super::Peering;
use crate::protocols::bgp::{
    connection::Settings,
    event::{Action, Side},
    rib::NextHops,
};

impl Peering {
    /// Applies settings that a session is not made of. The session that failed under the old ones may hold under the new ones
    /// (a raised `max_prefixes`), so a change ends the pause after a failure.
    pub(super) fn configure(&mut self, now: Instant, settings: Settings) -> Vec<Action> {
        let was = std::mem::replace(&mut self.settings, settings);
        if !self.settled {
            self.settle_by = Some(self.began + self.settings.settle);
        }
        if self.pace.pause.is_some() && was != self.settings {
            return self.begin(now);
        }
        let mut actions = Vec::new();
        if was.passive != self.settings.passive && self.started {
            actions.extend(self.turn());
            if !self.settings.passive && self.connections.is_empty() && self.pace.pause.is_none() {
                actions.extend(self.dial(now));
            }
        }
        for side in [Side::Ours, Side::Theirs] {
            actions.extend(self.with(now, side, |it, context| it.configure(now, context)));
        }
        actions
    }

    pub(super) fn next_hops(
        &mut self,
        now: Instant,
        side: Side,
        next_hops: NextHops,
    ) -> Vec<Action> {
        self.with(now, side, |it, context| it.reached_by(next_hops, context))
    }

    /// Without BFD there is no state to wait for.
    pub(super) fn unwatched(&mut self, now: Instant) -> Vec<Action> {
        self.path = None;
        let mut actions = Vec::new();
        for side in [Side::Ours, Side::Theirs] {
            actions.extend(self.with(now, side, |it, context| it.proceed(now, context)));
        }
        actions
    }
}
