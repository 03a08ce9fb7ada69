//! How the services of a configuration treat real connections, through the real daemon and the real HAProxy.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the helpers of a test expect is part of the test"
)]

mod balance;
mod early;
mod front;
mod heads;
mod http2;
mod limits;
mod names;
mod servers;
