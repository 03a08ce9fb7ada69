//! Bodies sent or read at a limited rate, for transfers that last.

use std::time::Duration;

use tokio::time::Instant;

/// The timetable of one body.
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

    /// The earliest moment at which this many bytes may have passed.
    pub(super) fn due(self, bytes: u64) -> Instant {
        let micros = bytes.saturating_mul(1_000_000) / u64::from(self.rate.max(1));
        self.began + Duration::from_micros(micros)
    }
}
