//! One file for each section of the configuration.
//!
//! Each has the section as written (`Raw`, which becomes the schema), its valid form, and the conversion with its checks.
//! Sections of several tables are folders: `bgp/`, `check/`, `discover/`, `vrrp/`. `program`, `throttle` and `tls_client` are
//! tables that several sections have.
//!
//! A section never guesses: a refusal names the line and the correction.

pub mod acme;
pub(crate) mod backend;
pub mod bfd;
pub mod bgp;
pub mod check;
pub mod discover;
pub mod gate;
pub(crate) mod limits;
pub(crate) mod list;
pub(crate) mod listener;
pub(crate) mod node;
pub mod program;
pub(crate) mod resolve;
pub mod route;
pub(crate) mod rules;
pub(crate) mod service;
pub(crate) mod throttle;
pub mod tls;
pub mod tls_client;
pub mod vrrp;
pub(crate) mod workers;
