//! Certificates and keys as they are stored in files.
//!
//! `bundle` is chain and key, `facts` the contents of a certificate; `facts` never reads a file or a clock.

pub(crate) mod bundle;
pub(crate) mod copy;
pub(crate) mod facts;
