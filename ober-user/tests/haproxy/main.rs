//! The workers with a real HAProxy, on loopback. No kernel program is involved: clients connect straight to the
//! sockets that the daemon owns.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by it, in its helpers as well"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test reads the files it wrote and starts what it needs"
)]

mod gate;
mod golden;
mod lab;
mod live;
mod serving;
mod supervision;
