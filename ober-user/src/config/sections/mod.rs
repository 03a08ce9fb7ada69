//! A file a section of the configuration.
//!
//! Each has its section as written (`Raw`, which becomes the schema), what is meant, and the judge between them. Sections of
//! several tables are folders: `bgp/`, `check/`, `discover/`, `vrrp/`. `program`, `throttle` and `tls_client` are tables that
//! several sections have.
//!
//! A section never guesses: what is refused names its line and how to mend it.

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
