//! The times and bounds of supervision.

use std::time::Duration;

use crate::config::Workers;

/// The times and bounds of supervision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// After a worker has run this long, its back-off begins anew.
    pub steady: Duration,
    /// The longest time for a process to become ready.
    pub start_limit: Duration,
    /// Pause between two questions to a starting process.
    pub probe_every: Duration,
    /// From leaving the ring to the signal to finish, so that connections under way are still accepted.
    pub settle: Duration,
    /// How long a replaced process may finish its connections.
    pub drain: Duration,
    /// The most replaced processes that finish at the same time; beyond it, the oldest is killed.
    pub finishing: usize,
}

impl Policy {
    /// The configured times, and fixed ones for the others.
    pub fn of(workers: &Workers) -> Self {
        Self {
            backoff: workers.backoff,
            backoff_max: workers.backoff_max,
            steady: workers.backoff_max.max(Duration::from_secs(10)),
            start_limit: Duration::from_secs(20),
            probe_every: Duration::from_millis(10),
            settle: Duration::from_millis(100),
            // HAProxy ends itself by `hard-stop-after`; the kill is for a process that does not.
            drain: workers.drain.saturating_add(Duration::from_secs(5)),
            finishing: 3,
        }
    }

    /// The pause before the next start, after `failures` failures in a row.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.backoff.saturating_mul(factor).min(self.backoff_max)
    }
}
