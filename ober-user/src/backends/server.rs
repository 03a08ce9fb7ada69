//! A server as the workers have it and checks ask it.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::names::hostlist::servers::Standing;

/// A server of a backend, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub name: String,
    pub addr: SocketAddr,
    /// The host name it is written with; `None`: it is written as an address.
    pub host: Option<String>,
    pub standing: Standing,
}

impl Server {
    /// A server like most.
    pub fn new(name: String, addr: SocketAddr) -> Self {
        Self {
            name,
            addr,
            host: None,
            standing: Standing::default(),
        }
    }
}

/// The servers of each backend, by the backend's name.
pub type Servers = BTreeMap<String, Vec<Server>>;
