//! Damping of flaps. Every change of a route costs clients connections, so a VIP that flaps waits longer each time.

use std::time::Instant;

use crate::config::sections::gate::Gate as Settings;

/// How often a VIP flapped, and until when it must wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Damping {
    up: Option<Instant>,
    flaps: u32,
    until: Option<Instant>,
}

impl Damping {
    /// Must the VIP still wait?
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub(super) fn went_up(&mut self, now: Instant) {
        self.up = Some(now);
    }

    pub(super) fn went_down(&mut self, now: Instant, settings: &Settings) {
        let was_up = self.up.map(|up| now.saturating_duration_since(up));
        if was_up.is_none_or(|time| time >= settings.min_up) {
            *self = Self::default();
            return;
        }
        let longer = settings.hold.saturating_mul(1 << self.flaps.min(30));
        self.flaps = self.flaps.saturating_add(1);
        self.until = Some(now + longer.min(settings.hold_max));
    }
}
