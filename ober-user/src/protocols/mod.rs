//! BFD, BGP and VRRP: machines, their bytes, their wire; and what gates and neighbours have in common.

pub mod bfd;
pub mod bgp;
pub mod filter;
pub mod routers;
pub(crate) mod standing;
pub mod vrrp;
