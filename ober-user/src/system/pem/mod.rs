//! Certificates and keys as files hold them.
//!
//! `bundle` is chain and key, `facts` what a certificate says of itself; `facts` never reads a file or a clock.

pub(crate) mod bundle;
pub(crate) mod facts;
