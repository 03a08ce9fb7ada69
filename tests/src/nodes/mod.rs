//! Whole installations of Ober in a laboratory: one node, two that announce the VIPs to a router, two that share them by VRRP.

pub mod one;
pub mod routed;
mod text;
pub mod vrrp;
