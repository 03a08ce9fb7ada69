//! The workers of a node, all together.
//!
//! `slot` brings a running worker to another configuration, `preview` says what that would be and never changes a worker.

pub(crate) mod preview;
pub(crate) mod slot;
