//! Bodies that are sent or read no faster than so, for transfers that last.

use std::time::Duration;

use tokio::time::Instant;

/// When how much of one body is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    began: Instant,
    /// Bytes per second.
    rate: u32,
}

impl Pace {
    pub(super) fn of(rate: u32) -> Self {
        Self {
            began: Instant::now(),
            rate,
        }
    }

    /// Not before this so many bytes may have passed.
    pub(super) fn due(self, bytes: u64) -> Instant {
        let micros = bytes.saturating_mul(1_000_000) / u64::from(self.rate.max(1));
        self.began + Duration::from_micros(micros)
    }
}
