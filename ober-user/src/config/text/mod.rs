//! From files to values that know where they stand.

pub(crate) mod env;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod keys;
pub(crate) mod scalar;
pub(crate) mod secret;
pub(crate) mod source;
pub(crate) mod tree;
