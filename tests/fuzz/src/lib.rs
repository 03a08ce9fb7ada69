//! Every decoder of bytes that others send or write, and the law of each: no bytes whatever make it panic, loop or ask for
//! memory out of proportion to its input. libFuzzer looks for bytes that break it (`cargo xtask fuzz`); the ordinary tests
//! replay the inputs that it kept (`tests/corpus`), cut and changed.
#![expect(
    clippy::panic,
    reason = "that is how a target says that something is wrong"
)]

mod allocated;
mod bgp;
mod fence;
mod hostlist;
pub mod targets;

pub use allocated::Counting;
pub use targets::Target;
