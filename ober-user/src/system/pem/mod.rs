//! Certificates and keys as files hold them.

pub(crate) mod bundle;
pub(crate) mod facts;
