//! The text one HAProxy worker reads. Pure: descriptors come in by environment variable, so that the same
//! configuration gives the same text whatever numbers the sockets have.

mod backend;
mod balance;
mod bind;
mod early;
mod frontend;
mod global;
mod paths;
mod route;
mod rules;
mod text;
pub mod tier;

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use super::sockets::keys;
use crate::{
    config::{Backend, Config, Service, check::reads_http},
    hostlist::servers::Standing,
};

/// A server of a backend, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What sets one worker's text apart from another's.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub worker: usize,
    pub cpu: u32,
    /// HAProxy's command socket.
    pub cli: &'a Path,
    /// Where `/stats` and `/metrics` are served.
    pub stats: &'a Path,
    /// What it sees as `/` once it has read its files, as its account; `None`: it stays what the daemon is, which may not
    /// give these up.
    pub root: Option<&'a Path>,
    /// Of the ACME account, when an authority asks at port 80.
    pub thumbprint: Option<&'a str>,
}

/// A value that cannot be written into HAProxy's configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "write the {what} {value:?} into HAProxy's configuration: only letters, digits and - _ . : are possible \
         there; rename it"
    )]
    Name { what: &'static str, value: String },
    #[error(
        "write the {what} {value:?} into HAProxy's configuration: control characters are not possible; remove them"
    )]
    Control { what: &'static str, value: String },
    #[error(
        "service {service:?} names the backend {backend:?}, which is not configured; add it or name another"
    )]
    NoBackend { service: String, backend: String },
}

/// The environment variable that carries the number of the socket at this place in [`keys`].
pub fn variable(index: usize) -> String {
    format!("OBER_FD_{index}")
}

/// The whole configuration of one worker.
pub fn render(config: &Config, servers: &Servers, place: Place<'_>) -> Result<String, Error> {
    let mut out = global::global(&config.workers, place)?;
    let share = Share::of(config);
    let keys = keys(config);
    for service in &config.services {
        let own = backend_of(config, service, &service.backend)?;
        for listener in &service.listeners {
            let front = frontend::Frontend {
                service,
                listener,
                timeouts: &own.timeouts,
                share,
                run: &config.node.run,
                thumbprint: place.thumbprint,
            };
            out += &front.render(&keys)?;
        }
        out += &frontend::clients(service)?;
    }
    let mut written: Vec<&str> = Vec::new();
    for service in &config.services {
        for name in service.backends() {
            backend_of(config, service, name)?;
            if !written.contains(&name) {
                written.push(name);
            }
        }
    }
    written.sort_unstable();
    for name in written {
        let none = Vec::new();
        let section = backend::Section {
            name,
            http: reads_http(&config.services, name),
            http2: offers_h2(&config.services, name),
            share,
            run: &config.node.run,
            servers: servers.get(name).unwrap_or(&none),
        };
        if let Some(backend) = config.backends.get(name) {
            out += &section.render(backend)?;
        }
    }
    out += &global::stats(place.stats)?;
    Ok(out)
}

/// May a client of HTTP/2 come to this backend?
fn offers_h2(services: &[Service], backend: &str) -> bool {
    let mut led = services
        .iter()
        .filter(|service| service.backends().any(|name| name == backend));
    led.any(|service| {
        let mut listeners = service.listeners.iter();
        listeners.any(|listener| listener.protocol.offers_h2())
    })
}

fn backend_of<'c>(config: &'c Config, service: &Service, name: &str) -> Result<&'c Backend, Error> {
    config.backends.get(name).ok_or_else(|| Error::NoBackend {
        service: service.name.clone(),
        backend: name.to_owned(),
    })
}

/// A worker's share of what all of them may do.
#[derive(Clone, Copy)]
struct Share {
    workers: u32,
}

impl Share {
    fn of(config: &Config) -> Self {
        Self {
            workers: u32::try_from(config.workers.cpus.len()).unwrap_or(1).max(1),
        }
    }

    /// All shares together are never more than the whole.
    fn at_most(self, whole: u32) -> u32 {
        (whole / self.workers).max(1)
    }

    /// All shares together are never less.
    fn at_least(self, whole: u32) -> u32 {
        whole.div_ceil(self.workers).max(1)
    }
}
