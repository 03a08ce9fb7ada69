//! What bootstrap is to reach beside the tables: what the operator typed, and what the configuration needs.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use crate::{config::Config, protocols::bfd::Hops};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// `None`: there is no configuration yet, or it has a mistake.
    pub configured: Option<Configured>,
    /// Why there is none.
    pub why_not: Option<String>,
    /// Does the machine serve nothing but this?
    pub dedicated: bool,
    /// The chain of nftables that may get rules, as family/table/name.
    pub firewall_chain: Option<String>,
}

/// The part of a configuration that this machine must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    pub interfaces: Vec<String>,
    /// Ports of this node that no outgoing connection may take.
    pub ports: BTreeSet<u16>,
    pub haproxy: PathBuf,
    /// Connections that all workers together may have.
    pub connections: u64,
    /// Packets that a firewall must let pass.
    pub passages: Vec<Passage>,
}

impl Configured {
    pub fn of(config: &Config) -> Self {
        let listeners = config.services.iter().flat_map(|it| &it.listeners);
        let listeners = listeners.map(|it| it.port.get());
        Self {
            interfaces: config.node.interfaces.clone(),
            ports: listeners.chain([config.node.metrics.port()]).collect(),
            haproxy: config.workers.haproxy.clone(),
            connections: u64::from(config.workers.max_connections)
                .saturating_mul(config.workers.cpus.len() as u64),
            passages: passages(config),
        }
    }
}

/// The protocol of a passage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    Vrrp,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Vrrp => "vrrp",
        }
    }

    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Vrrp => ober_common::packet::VRRP,
        }
    }
}

/// Packets that must reach this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    pub transport: Transport,
    /// `None`: any address of this machine.
    pub to: Option<IpAddr>,
    pub port: Option<u16>,
}

impl fmt::Display for Passage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.transport.name().to_uppercase();
        match (self.to, self.port) {
            (Some(to), Some(port)) => write!(out, "{name} {}", SocketAddr::new(to, port)),
            (Some(to), None) => write!(out, "{name} to {to}"),
            (None, Some(port)) => write!(out, "{name} port {port}"),
            (None, None) => out.write_str(&name),
        }
    }
}

impl Passage {
    /// The rule of nftables that accepts it.
    pub fn rule(&self) -> String {
        let to = self.to.map(|to| {
            let family = if to.is_ipv4() { "ip" } else { "ip6" };
            format!("{family} daddr {to} ")
        });
        let what = match self.port {
            Some(port) => format!("{} dport {port}", self.transport.name()),
            None => format!("meta l4proto {}", self.transport.number()),
        };
        format!("{}{what} accept", to.unwrap_or_default())
    }
}

/// What the configuration has this machine take from others.
fn passages(config: &Config) -> Vec<Passage> {
    let mut all = Vec::new();
    let mut add = |transport, to: Option<IpAddr>, port| {
        let passage = Passage {
            transport,
            to: to.filter(|it| !it.is_unspecified()),
            port,
        };
        if !all.contains(&passage) {
            all.push(passage);
        }
    };
    for it in config.vip_listeners() {
        add(Transport::Tcp, Some(it.vip), Some(it.listener.port.get()));
    }
    if let Some(bgp) = &config.bgp {
        for at in &bgp.listen {
            add(Transport::Tcp, Some(at.ip()), Some(at.port()));
        }
        if bgp.neighbours.iter().any(|it| it.bfd.is_some()) {
            for hops in Hops::ALL {
                add(Transport::Udp, None, Some(hops.port()));
            }
        }
    }
    if config.vrrp.is_some() {
        add(Transport::Vrrp, None, None);
    }
    all
}
