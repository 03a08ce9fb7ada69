//! The node's own sockets, which must not become servers: requests would go round in circles, or clients would reach
//! services that are only for this machine.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::config::Config;

/// The addresses on which this node listens itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    metrics: Option<SocketAddr>,
    listeners: BTreeSet<SocketAddr>,
    workers: BTreeSet<SocketAddr>,
}

/// Why an address must not become a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Metrics,
    Listener,
    Worker,
    /// The unspecified address, multicast or broadcast.
    NoHost,
    Loopback,
    LinkLocal,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Metrics => "it is `node.metrics` of this node",
            Self::Listener => "it is a listener of this node: requests would come back here",
            Self::Worker => "it is the socket of a worker of this node: requests would come back here",
            Self::NoHost => "it is no address of one machine",
            Self::Loopback => {
                "it is this machine itself, which a source may not name; write it under `servers` if it is meant"
            }
            Self::LinkLocal => {
                "it means another machine on every link; write it under `servers` if it is meant"
            }
        })
    }
}

impl Own {
    /// The sockets of a configuration, with those of its workers.
    pub fn of(config: &Config, workers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let listeners = config.services.iter().flat_map(|service| {
            let vips = service.vips.iter();
            vips.flat_map(|vip| {
                let listeners = service.listeners.iter();
                listeners.map(|listener| SocketAddr::new(*vip, listener.port.get()))
            })
        });
        Self {
            metrics: Some(config.node.metrics),
            listeners: listeners.collect(),
            workers: workers.into_iter().collect(),
        }
    }

    /// Why the address must not become a server, if so. `near`: the operator wrote it down, or a Docker engine on this
    /// machine named it, so it may be this machine.
    pub fn refuses(&self, server: SocketAddr, near: bool) -> Option<Refusal> {
        if self.metrics == Some(server) {
            return Some(Refusal::Metrics);
        }
        if self.listeners.contains(&server) {
            return Some(Refusal::Listener);
        }
        if self.workers.contains(&server) {
            return Some(Refusal::Worker);
        }
        let (link_local, broadcast) = match server.ip() {
            IpAddr::V4(ip) => (ip.is_link_local(), ip.is_broadcast()),
            IpAddr::V6(ip) => (ip.is_unicast_link_local(), false),
        };
        let ip = server.ip();
        if ip.is_unspecified() || ip.is_multicast() || broadcast {
            return Some(Refusal::NoHost);
        }
        if near {
            return None;
        }
        if ip.is_loopback() {
            return Some(Refusal::Loopback);
        }
        link_local.then_some(Refusal::LinkLocal)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Env;

    #[test]
    fn the_nodes_own_addresses_are_no_servers_and_loopback_is_one_only_if_configured() {
        let text = "[node]\ninterfaces=['a']\n[workers]\nhaproxy='/bin/sh'\n[[services]]\nname='s'\n\
                    vips=['192.0.2.10', '2001:db8::10']\nbackend='b'\nlisteners=[{port=80, access='open'}]\n[backends.b]\n";
        let env = Env {
            cpus: vec![0],
            ..Env::default()
        };
        let config = Config::parse(text, Path::new("/"), &env).unwrap();
        let worker = "127.0.0.1:47659".parse().unwrap();
        let own = Own::of(&config, [worker]);
        for (server, named, written) in [
            (
                "127.0.0.1:8404",
                Some(Refusal::Metrics),
                Some(Refusal::Metrics),
            ),
            (
                "192.0.2.10:80",
                Some(Refusal::Listener),
                Some(Refusal::Listener),
            ),
            (
                "[2001:db8::10]:80",
                Some(Refusal::Listener),
                Some(Refusal::Listener),
            ),
            (
                "127.0.0.1:47659",
                Some(Refusal::Worker),
                Some(Refusal::Worker),
            ),
            ("0.0.0.0:80", Some(Refusal::NoHost), Some(Refusal::NoHost)),
            ("[::]:80", Some(Refusal::NoHost), Some(Refusal::NoHost)),
            (
                "224.0.0.18:80",
                Some(Refusal::NoHost),
                Some(Refusal::NoHost),
            ),
            (
                "255.255.255.255:80",
                Some(Refusal::NoHost),
                Some(Refusal::NoHost),
            ),
            ("[ff02::1]:80", Some(Refusal::NoHost), Some(Refusal::NoHost)),
            ("127.0.0.1:9000", Some(Refusal::Loopback), None),
            ("127.8.8.8:9000", Some(Refusal::Loopback), None),
            ("[::1]:9000", Some(Refusal::Loopback), None),
            ("169.254.169.254:80", Some(Refusal::LinkLocal), None),
            ("[fe80::1]:80", Some(Refusal::LinkLocal), None),
            ("192.0.2.10:81", None, None),
            ("10.0.0.1:80", None, None),
        ] {
            let server = server.parse().unwrap();
            assert_eq!(own.refuses(server, false), named, "{server}");
            assert_eq!(own.refuses(server, true), written, "{server}");
        }
    }
}
