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
    /// other node takes still come by its route. A VIP that is leaving already goes when it would have gone.
    pub(super) fn leave(&mut self, now: Instant, within: Option<Duration>) {
        self.orders.leaving = within.is_some();
        if let (Some(within), Standing::Announced | Standing::Depreferenced) =
            (within, self.advertised)
        {
            self.low = Standing::GracefulShutdown;
            self.low_until = Some(now + within);
        }
    }
}
