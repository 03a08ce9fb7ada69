//! Certificates that come, change and go while clients shake hands, through the real daemon and the real HAProxy.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what the helpers of a test expect is part of the test, and what they measured is shown"
)]

mod acme;
mod files;
mod scene;
