//! Herr Ober, the user half.
pub mod access;
pub mod api;
pub mod config;
pub mod dataplane;
pub mod netlink;
pub mod ring;
pub mod status;
