//! Certificates and keys as they are stored in files.
//!
//! `bundle` is chain and key, `facts` the contents of a certificate; `facts` never reads a file or a clock.

pub mod bundle;
pub mod copy;
pub mod facts;
