//! VRRP in namespaces: against keepalived, and between two of our nodes.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

mod claims;
mod daemon;
mod interop;
mod own;
mod pair;
mod segment;
mod stays;
mod strangers;
