//! The time of day. What waits and counts goes by [`crate::machine::drive::now`] instead, which never goes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970; zero where the machine's clock stands before that.
pub fn since_1970() -> Duration {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.unwrap_or_default()
}

/// Whole seconds since 1970.
pub fn seconds() -> u64 {
    since_1970().as_secs()
}
