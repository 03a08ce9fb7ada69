//! BGP-4, RFC 4271: a speaker that announces VIPs and accepts no routes.
//!
//! ```text
//! standings, config -> policy -> rib -> connection, peering (one a neighbour) -> message -> net
//! ```
//!
//! `configured` and `settings` are the wanted state, `policy` decides the routes of each neighbour, `rib` finds the changes;
//! `connection`, `peering/`, `pace` and `event` are the machine of a neighbour; `message/` has the bytes, `net/` the sockets.
//!
//! It never keeps a route that a neighbour announces.

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

pub use net::{Error, Handle, Overview, Prepared, idle, start};

#[cfg(test)]
mod tests;
