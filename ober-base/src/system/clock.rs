//! The time of day. Timers and durations use [`crate::machine::drive::now`] instead, which never goes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970; zero when the machine's clock is set before that.
pub fn since_1970() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.unwrap_or_default()
}

/// Whole seconds since 1970.
pub fn seconds() -> u64 {
    since_1970().as_secs()
}
