//! BFD against FRR's bfdd and BIRD, over a veth pair between two hosts.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

mod bird;
mod frr;
mod link;
mod ours;
mod wire;
