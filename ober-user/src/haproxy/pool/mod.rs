//! All workers of a node.
//!
//! `slot` brings a running worker to another configuration; `preview` finds out how that would be done and never
//! changes a worker.

pub(crate) mod preview;
pub(crate) mod slot;
