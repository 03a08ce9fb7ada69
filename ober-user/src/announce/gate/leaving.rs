//! A gate before a planned stop: its VIP is given up as by the order `drain`, for as long as the stop may take. No file keeps it.

use std::time::{Duration, Instant};

use super::{Gate, Orders, Standing};
use crate::config::sections::gate::Down;

impl Orders {
    /// Is the VIP sent elsewhere, by order or before a stop?
    pub(super) const fn is_leaving(self) -> bool {
        self.draining || self.leaving
    }
}

impl Gate {
    /// `within`: when the daemon is stopped at the latest; the VIP keeps `GRACEFUL_SHUTDOWN` for so long, since clients that no
    /// other node takes still come by its route. A VIP that is leaving by order goes when it would have gone. `None`: the stop
    /// does not come, and the VIP stands as if nothing had been said of one.
    pub(super) fn leave(&mut self, now: Instant, within: Option<Duration>) {
        self.orders.leaving = within.is_some();
        match within {
            Some(within) => self.give_up(now, within),
            None => self.take_back(now),
        }
    }

    /// The VIP was up and is not served well any more.
    pub(super) fn sink(&mut self, now: Instant) {
        let low = match self.settings.down {
            Down::Withdraw => (Standing::Withdrawn, None),
            Down::Depreference => (Standing::Depreferenced, None),
            Down::GracefulShutdown => (
                Standing::GracefulShutdown,
                Some(now + self.settings.graceful_time),
            ),
        };
        self.set_without_stop(low);
        // A VIP that drains is leaving already.
        if self.settings.down == Down::Withdraw || !self.orders.is_leaving() {
            (self.low, self.low_until) = low;
        }
    }

    pub(super) fn take_leave(&mut self, now: Instant) {
        self.low = Standing::GracefulShutdown;
        self.low_until = Some(now + self.settings.graceful_time);
    }

    pub(super) fn withdraw(&mut self) {
        (self.low, self.low_until) = (Standing::Withdrawn, None);
    }

    fn give_up(&mut self, now: Instant, within: Duration) {
        let attracts = matches!(
            self.advertised,
            Standing::Announced | Standing::Depreferenced
        );
        // Another stop, or one fewer: the time is that of the longest.
        let given_up = self.without_stop.is_some() && self.low == Standing::GracefulShutdown;
        if attracts {
            self.without_stop.get_or_insert((self.low, self.low_until));
        }
        if attracts || given_up {
            self.low = Standing::GracefulShutdown;
            self.low_until = Some(now + within);
        }
    }

    fn take_back(&mut self, now: Instant) {
        let Some(without_stop) = self.without_stop.take() else {
            return;
        };
        if !self.orders.draining {
            (self.low, self.low_until) = without_stop;
        } else if self.low == Standing::GracefulShutdown {
            self.take_leave(now);
        }
    }

    /// What it stands at once no stop is to come.
    pub(super) fn set_without_stop(&mut self, low: (Standing, Option<Instant>)) {
        if let Some(without_stop) = &mut self.without_stop {
            *without_stop = low;
        }
    }
}
