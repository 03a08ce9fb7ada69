//! The configuration of VRRP: the virtual routers of a node, and how they advertise.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Answers, Garp, Pace, Preempt, Settings,
    packet::{Coverage, Interval, Version, Vrid},
};

/// VRRP on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrrp {
    pub interface: String,
    pub transport: Transport,
    /// Source addresses of advertisements; a family without one uses the interface's first address.
    pub sources: Vec<IpAddr>,
    pub version: Version,
    pub interval: Interval,
    pub coverage: Coverage,
    pub answers: Answers,
    pub garp: Garp,
    pub pace: Pace,
    /// Without `interface`, and each once.
    pub garp_interfaces: Vec<String>,
    pub form: Form,
    pub virtual_mac: bool,
    /// No two have the same family and VRID, or share an address.
    pub instances: Vec<Instance>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Has a peer of each family that an instance has.
    Unicast(Vec<Peer>),
    Multicast,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: IpAddr,
    /// TTLs that its advertisements may arrive with.
    pub ttl: RangeInclusive<u8>,
}

/// A virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Not empty, of one family.
    pub vips: Vec<IpAddr>,
    /// Not in the advertisements.
    pub excluded: Vec<IpAddr>,
    /// Comes first in the advertisements. IPv6 only.
    pub link_local: Option<Ipv6Addr>,
    pub vrid: Vrid,
    /// 1 to 255.
    pub priority: u8,
    pub preempt: Preempt,
}

impl Vrrp {
    /// The VIPs that VRRP holds; the daemon does not add or announce these otherwise.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        let vips = |instance: &Instance| [&instance.vips[..], &instance.excluded].concat();
        self.instances.iter().flat_map(vips)
    }

    /// The peers of a family; empty: multicast.
    pub fn peers(&self, six: bool) -> Vec<IpAddr> {
        match &self.transport {
            Transport::Multicast => Vec::new(),
            Transport::Unicast(peers) => {
                let addresses = peers.iter().map(|peer| peer.address);
                addresses
                    .filter(|address| address.is_ipv6() == six)
                    .collect()
            }
        }
    }

    /// The changed keys that restart everything, since they need other sockets or another form of addresses. Empty: what stays
    /// the same goes on undisturbed.
    pub fn link_differs(&self, other: &Self) -> Vec<&'static str> {
        let multicast = |it: &Self| it.transport == Transport::Multicast;
        let (form, next) = (&self.form, &other.form);
        let same = [
            ("interface", self.interface == other.interface),
            ("transport", multicast(self) == multicast(other)),
            ("virtual_mac", self.virtual_mac == other.virtual_mac),
            ("ipv4_length", form.ipv4_length == next.ipv4_length),
            ("ipv6_length", form.ipv6_length == next.ipv6_length),
            (
                "ipv4_prefix_route",
                form.ipv4_prefix_route == next.ipv4_prefix_route,
            ),
            ("label", form.label == next.label),
            ("scope", form.scope == next.scope),
        ];
        let differ = same.into_iter().filter(|(_, same)| !same);
        differ.map(|(key, _)| key).collect()
    }

    /// The virtual routers of this configuration that restart or end in another one, and why. A source that is not configured
    /// is known on the node only.
    pub fn restarts(&self, other: &Self) -> Vec<(&Instance, String)> {
        let link = self.link_differs(other);
        let restarts = self.instances.iter().filter_map(|instance| {
            let mut others = other.instances.iter();
            let same =
                |it: &&Instance| (it.is_ipv6(), it.vrid) == (instance.is_ipv6(), instance.vrid);
            let why = match others.find(same) {
                None => "ends".to_owned(),
                Some(_) if !link.is_empty() => format!("restarts: {}", link.join(", ")),
                Some(_) if self.version != other.version => "restarts: version".to_owned(),
                Some(_) if self.source_of(instance) != other.source_of(instance) => {
                    "restarts: source".to_owned()
                }
                Some(next) if instance.has_none_of(next) => {
                    "restarts: it keeps none of its VIPs".to_owned()
                }
                Some(_) => return None,
            };
            Some((instance, why))
        });
        restarts.collect()
    }

    fn source_of(&self, instance: &Instance) -> Option<IpAddr> {
        let mut sources = self.sources.iter();
        let own = sources.find(|source| source.is_ipv6() == instance.is_ipv6());
        own.copied()
    }

    /// The settings of the virtual router on a node that advertises from `own`.
    pub fn settings(&self, instance: &Instance, own: IpAddr) -> Settings {
        let first = instance.link_local.map(IpAddr::from);
        Settings {
            vrid: instance.vrid,
            version: self.version,
            priority: instance.priority,
            interval: self.interval,
            own,
            addresses: first
                .into_iter()
                .chain(instance.vips.iter().copied())
                .collect(),
            preempt: instance.preempt,
            answers: self.answers,
            garp: self.garp,
        }
    }
}

impl Instance {
    /// Every VIP that moves with it.
    pub fn moved(&self) -> impl Iterator<Item = IpAddr> {
        self.vips.iter().chain(&self.excluded).copied()
    }

    fn has_none_of(&self, other: &Self) -> bool {
        !self
            .moved()
            .any(|vip| other.moved().any(|next| next == vip))
    }

    pub fn is_ipv6(&self) -> bool {
        self.vips.first().is_some_and(IpAddr::is_ipv6)
    }

    /// Every address that the master has.
    pub fn held(&self) -> Vec<IpAddr> {
        let first = self.link_local.map(IpAddr::from).into_iter();
        first
            .chain(self.vips.iter().copied())
            .chain(self.excluded.iter().copied())
            .collect()
    }
}

/// How VIPs are added to the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Up to 32.
    pub ipv4_length: u8,
    /// Up to 128.
    pub ipv6_length: u8,
    /// Does an IPv4 address add a route to its network?
    pub ipv4_prefix_route: bool,
    /// The whole label, with the interface in front; only for IPv4 addresses.
    pub label: Option<String>,
    pub scope: Scope,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            ipv4_length: 32,
            ipv6_length: 128,
            ipv4_prefix_route: false,
            label: None,
            scope: Scope::Global,
        }
    }
}

/// How far an address is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    #[default]
    Global,
    Link,
    Host,
}
