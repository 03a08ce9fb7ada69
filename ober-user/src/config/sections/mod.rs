//! A file a section of the configuration.

pub mod acme;
pub(crate) mod backend;
pub mod bfd;
pub mod bgp;
pub mod check;
pub mod discover;
pub mod gate;
pub(crate) mod listener;
pub(crate) mod node;
pub mod program;
pub mod route;
pub(crate) mod rules;
pub(crate) mod service;
pub(crate) mod throttle;
pub mod tls;
pub mod tls_client;
pub mod vrrp;
pub(crate) mod workers;
