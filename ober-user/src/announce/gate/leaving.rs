//! A gate before a planned stop: its VIP is given up as by the order `drain`, for as long as the stop may take. No file keeps it.

use std::time::{Duration, Instant};

use super::{Gate, Orders, Standing};

impl Orders {
    /// Is the VIP sent elsewhere, by order or before a stop?
    pub(super) const fn is_leaving(self) -> bool {
        self.draining || self.leaving
    }
}

impl Gate {
    /// `within`: when the daemon is stopped at the latest; the VIP keeps `GRACEFUL_SHUTDOWN` for so long, since clients that no
    /// other node takes still come by its route. A VIP that leaves for another reason goes when it would have gone. `None`: the
    /// stop does not come, and a VIP that is not up gets back the standing that it had.
    pub(super) fn leave(&mut self, now: Instant, within: Option<Duration>) {
        self.orders.leaving = within.is_some();
        let Some(within) = within else {
            if let Some(low) = self.low_before.take() {
                (self.low, self.low_until) = low;
            }
            return;
        };
        let given_up = match self.advertised {
            Standing::Announced | Standing::Depreferenced => true,
            // By an earlier stop, which came to be longer or shorter.
            Standing::GracefulShutdown => self.low_before.is_some(),
            Standing::Withdrawn => false,
        };
        if given_up {
            self.low_before.get_or_insert((self.low, self.low_until));
            (self.low, self.low_until) = (Standing::GracefulShutdown, Some(now + within));
        }
    }
}
