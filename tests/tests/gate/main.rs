//! The gates on a real node: what their watcher sees of it, and what the operator orders of a running daemon.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

mod lost;
mod overrides;
mod watch;
