//! The workers of a node, all together.

pub(crate) mod preview;
pub(crate) mod slot;
