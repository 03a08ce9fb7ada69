//! BGP with real routers: FRR and BIRD 2, each in a host of its own, and this node's speaker in this process.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what the helpers of a test expect is part of the test"
)]

mod cells;
mod changes;
mod rogue;
mod router;
mod topology;
mod vanished;
mod watched;
