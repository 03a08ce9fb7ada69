//! `ober-user test` with real routers, a real keepalived, real servers and real files, and `ober-user doctor` on a real node.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what the helpers of a test expect is part of the test"
)]

mod bench;
mod beside;
mod files;
mod machine;
mod nodes;
mod routers;
