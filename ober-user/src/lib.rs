//! Herr Ober, the user half.
pub mod access;
pub mod api;
pub mod cli;
pub mod config;
pub mod counters;
pub mod daemon;
pub mod dataplane;
pub mod events;
pub mod flow;
pub mod netlink;
pub mod observe;
pub mod offline;
pub mod pem;
pub mod ring;
pub mod status;
