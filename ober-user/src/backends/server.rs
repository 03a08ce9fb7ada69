//! A server as the workers and the checks use it.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::names::server_line::ServerTerms;

/// A server of a backend, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub name: String,
    pub addr: SocketAddr,
    /// The name for which it has a certificate, or its host name; `None`: it has neither.
    pub host: Option<String>,
    pub terms: ServerTerms,
}

impl Server {
    /// A server with the default settings.
    pub fn new(name: String, addr: SocketAddr) -> Self {
        Self {
            name,
            addr,
            host: None,
            terms: ServerTerms::default(),
        }
    }
}

/// The servers of each backend, by the backend's name.
pub type Servers = BTreeMap<String, Vec<Server>>;
