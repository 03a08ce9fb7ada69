//! BGP-4, RFC 4271: a speaker that announces VIPs and learns nothing.
//!
//! ```text
//! standings, config -> policy -> rib -> connection, peering (one a neighbour) -> message -> net
//! ```

pub mod configured;
pub mod connection;
pub mod event;
pub mod message;
mod net;
mod pace;
pub mod peering;
pub mod policy;
pub mod rib;
mod settings;

pub use net::{Error, Handle, Prepared, idle, start};

#[cfg(test)]
mod tests;
