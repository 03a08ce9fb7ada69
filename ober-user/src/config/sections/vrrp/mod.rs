//! The section `[vrrp]`: which nodes share which VIPs, and how they advertise.
//!
//! `instances` makes the virtual routers, `nodes` ranks the nodes of the list for each VIP. It never asks another node: each
//! computes the same from the same section.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU8,
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        Service,
        judge::Judge,
        text::{
            notation::{At, Key, Period},
            source::{Fault, Span},
        },
    },
    protocols::vrrp::{
        Answers, Garp, OWNER, Pace, Preempt,
        configured::{Form, Scope, Transport, Vrrp},
        packet::{Coverage, Interval, Version, Vrid},
    },
};

mod instances;
mod nodes;
#[cfg(test)]
mod tests;

/// Bytes of a label (`IFNAMSIZ`).
const LONGEST_LABEL: usize = 15;
/// A longer `preempt_delay`, `garp_delay` or other pause is a mistake.
const LONGEST: Duration = Duration::from_secs(1000);

/// Share the VIPs among nodes by VRRP.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Vrrp")]
pub(crate) struct Raw {
    /// Where the nodes and the clients' routers meet; left out: the first interface of `[node]`.
    pub(super) interface: Key<String>,
    /// 3 (RFC 9568), or 2 (RFC 3768; IPv4 and whole seconds only).
    pub(super) version: Key<u8>,
    /// `unicast` to the peers, or `multicast` on the link.
    pub(super) transport: Key<RawTransport>,
    /// Between two advertisements: 10 ms to 40.95 s in version 3, whole seconds up to 255 in version 2.
    pub(super) advertisement_interval: Key<Period>,
    /// This node's addresses to advertise from, one a family; left out: those of its entry in `nodes`, or the interface's.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) source: Vec<At<IpAddr>>,
    /// Neighbours that share the VIPs and are not in `nodes`.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) peers: Vec<At<IpAddr>>,
    /// The name of this node among `nodes`.
    pub(super) node: Key<String>,
    /// All nodes that share the VIPs, alike on each of them: their rank for a VIP gives their priority.
    pub(super) nodes: Vec<At<Node>>,
    /// Take over from a living master of lower priority.
    pub(super) preempt: Key<bool>,
    /// How long such a master is obeyed first.
    pub(super) preempt_delay: Key<Period>,
    /// What the checksum of version 3 covers over IPv4. Both are accepted.
    pub(super) checksum: Key<Coverage>,
    /// A master answers an advertisement of lower priority at once.
    pub(super) answer_lower: Key<bool>,
    /// A master that gives way to a higher priority advertises once more.
    pub(super) answer_higher: Key<bool>,
    /// Gratuitous ARPs or neighbour advertisements for an address in one burst.
    pub(super) garp_repeat: Key<u8>,
    /// From the first burst to the second; `"0"`: no second.
    pub(super) garp_delay: Key<Period>,
    /// A single one again and again while master; `"0"`: never.
    pub(super) garp_refresh: Key<Period>,
    /// The least time between two gratuitous ARPs on one interface, of whatever VIPs; `"0"`: none.
    pub(super) garp_interval: Key<Period>,
    /// The same of neighbour advertisements.
    pub(super) gna_interval: Key<Period>,
    /// Further interfaces of this node on whose links the VIPs are announced too, at that interface's MAC.
    pub(super) garp_interfaces: Vec<At<String>>,
    /// Length of the network that IPv4 VIPs are put on the interface with. No route comes of it.
    pub(super) ipv4_length: Key<u8>,
    /// The same of IPv6 VIPs.
    pub(super) ipv6_length: Key<u8>,
    /// Add a route to that network of IPv4 VIPs, where none of the node's own addresses is in it.
    pub(super) ipv4_prefix_route: Key<bool>,
    /// Label of IPv4 VIPs: `vip` on `eth1` is shown as `eth1:vip`.
    pub(super) label: Key<String>,
    /// How far VIPs are known: `link` and `host` keep them from being taken as the source of other connections.
    pub(super) scope: Key<Scope>,
    /// Give the VIPs the MAC of their virtual router, on an interface of its own.
    pub(super) virtual_mac: Key<bool>,
    /// Virtual routers; none at all: one for each VIP of the services.
    pub(super) instances: Vec<At<RawInstance>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Way")]
pub(super) enum RawTransport {
    Unicast,
    Multicast,
}

/// One of the nodes that share the VIPs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Node {
    /// Its name. Must be written.
    pub(super) name: Key<String>,
    /// Where it advertises from, one address a family. Must be written where transport is unicast.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) addresses: Vec<At<IpAddr>>,
    /// The least TTL its advertisements may arrive with; 255: no router between.
    pub(super) min_ttl: Key<u8>,
    /// The most.
    pub(super) max_ttl: Key<u8>,
}

/// A virtual router: VIPs that move together.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "VrrpInstance")]
pub(super) struct RawInstance {
    /// VIPs of the services, all of one family. Must be written.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) vips: Vec<At<IpAddr>>,
    /// More VIPs that move with these and are not in the advertisements; may be of the other family.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) excluded: Vec<At<IpAddr>>,
    /// A link-local address that moves too and comes first in the advertisements, as RFC 9568 wants for IPv6.
    pub(super) link_local: Key<Ipv6Addr>,
    /// 1 to 255; left out: made from the VIPs, the same on every node.
    pub(super) vrid: Key<NonZeroU8>,
    /// 1 to 254, or 255 on the one node that is master whenever it serves; left out: by rank among `nodes`.
    pub(super) priority: Key<u8>,
    /// As above, for this one.
    pub(super) preempt: Key<bool>,
    /// As above, for this one.
    pub(super) preempt_delay: Key<Period>,
}

impl Judge<'_> {
    pub(crate) fn vrrp(
        &mut self,
        raw: Option<At<Raw>>,
        services: &[Service],
        interfaces: &[String],
    ) -> Option<Vrrp> {
        let At { value: raw, span } = raw?;
        if let Some(at) = &raw.interface.0 {
            self.interface(at);
        }
        let first = interfaces.first().cloned().unwrap_or_default();
        let version = self.vrrp_version(raw.version);
        let preempt = self.preempt(
            &raw.preempt,
            raw.preempt_delay,
            Preempt::After(Duration::ZERO),
        );
        let nodes = self.nodes(raw.node, raw.nodes, &span);
        let instances = self.instances(raw.instances, services, version, preempt, &nodes, &span);
        let multicast = raw.transport.or(RawTransport::Unicast) == RawTransport::Multicast;
        let transport = if multicast {
            self.no_peers(&raw.peers);
            Transport::Multicast
        } else {
            let peers = self.peers(raw.peers, &nodes);
            self.peers_reachable(&peers, &nodes, &instances, &span);
            Transport::Unicast(peers)
        };
        let written: Vec<IpAddr> = raw.source.iter().map(|at| at.value).collect();
        let sources = if written.is_empty() {
            nodes.own()
        } else {
            written
        };
        let interface = raw.interface.or(first);
        let virtual_mac = raw.virtual_mac.or(false);
        let ipv4_length = self.number("ipv4_length", raw.ipv4_length, 32, 1..=32);
        Some(Vrrp {
            form: Form {
                ipv4_length,
                ipv4_prefix_route: self.prefix_route(raw.ipv4_prefix_route, ipv4_length),
                ipv6_length: self.number("ipv6_length", raw.ipv6_length, 128, 1..=128),
                label: self.label(raw.label, &interface, virtual_mac),
                scope: raw.scope.or(Scope::Global),
            },
            garp_interfaces: self.garp_interfaces(raw.garp_interfaces, &interface),
            interface,
            transport,
            sources,
            version,
            interval: self.advertisement_interval(raw.advertisement_interval, version),
            coverage: raw.checksum.or(Coverage::PseudoHeader),
            answers: Answers {
                lower: raw.answer_lower.or(true),
                higher: raw.answer_higher.or(false),
            },
            garp: Garp {
                repeat: self.number("garp_repeat", raw.garp_repeat, 5, 1..=100),
                delay: self.pause("garp_delay", raw.garp_delay, Duration::from_secs(5)),
                refresh: self.period_or_none("garp_refresh", raw.garp_refresh, Duration::ZERO),
            },
            pace: Pace {
                arp: self.pause("garp_interval", raw.garp_interval, Duration::ZERO),
                advertisement: self.pause("gna_interval", raw.gna_interval, Duration::ZERO),
            },
            virtual_mac,
            instances,
        })
    }

    fn garp_interfaces(&mut self, written: Vec<At<String>>, own: &str) -> Vec<String> {
        let mut interfaces = Vec::with_capacity(written.len());
        for at in written {
            self.interface(&at);
            if at.value == own || interfaces.contains(&at.value) {
                let message = format!("VIPs are claimed on `{}` already", at.value);
                self.refuse(Fault::new(at.span, message).help("leave it out here"));
            } else {
                interfaces.push(at.value);
            }
        }
        interfaces
    }

    fn prefix_route(&mut self, key: Key<bool>, length: u8) -> bool {
        let span = key.span();
        let wanted = key.or(false);
        if wanted && length == 32 {
            let message = "`ipv4_prefix_route` is for VIPs with a network";
            let help = "write its length as `ipv4_length`";
            self.refuse(Fault::new(span, message).help(help));
        }
        wanted
    }

    fn label(&mut self, key: Key<String>, interface: &str, virtual_mac: bool) -> Option<String> {
        let At { value, span } = key.0?;
        let label = format!("{interface}:{value}");
        let word = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
        if value.is_empty() || !value.bytes().all(word) || label.len() > LONGEST_LABEL {
            let message = format!("`{label}` is no label");
            let help = format!(
                "letters, digits, `-`, `_` and `.`, {LONGEST_LABEL} of them together with the interface"
            );
            self.refuse(Fault::new(span, message).help(help));
        } else if virtual_mac {
            let message = "with `virtual_mac` VIPs are on an interface of their own";
            self.refuse(Fault::new(span, message).help("leave `label` out"));
        }
        Some(label)
    }

    fn vrrp_version(&mut self, key: Key<u8>) -> Version {
        match key.0 {
            Some(At { value: 2, .. }) => Version::V2,
            Some(At { value: 3, .. }) | None => Version::V3,
            Some(At { value, span }) => {
                let message = format!("there is no VRRP version {value}");
                self.refuse(Fault::new(span, message).help("write 3, or 2 for old neighbours"));
                Version::V3
            }
        }
    }

    fn advertisement_interval(&mut self, key: Key<Period>, version: Version) -> Interval {
        let span = key.span();
        let Period(period) = key.or(Period(Duration::from_secs(1)));
        let help = match version {
            Version::V2 => "version 2 knows whole seconds from \"1s\" to \"255s\"",
            Version::V3 => "version 3 knows multiples of 10 ms from \"10ms\" to \"40950ms\"",
        };
        Interval::new(version, period).unwrap_or_else(|| {
            let message = "`advertisement_interval` cannot be expressed in an advertisement";
            self.refuse(Fault::new(span, message).help(help));
            // One second is valid in both versions; after the fault the value is not used.
            Interval::SECOND
        })
    }

    /// A duration that may be zero and has an upper limit.
    fn pause(&mut self, name: &str, key: Key<Period>, default: Duration) -> Duration {
        let span = key.span();
        let Period(pause) = key.or(Period(default));
        if pause > LONGEST {
            let message = format!("`{name}` is longer than {} seconds", LONGEST.as_secs());
            self.refuse(Fault::new(span, message));
        }
        pause
    }

    fn preempt(&mut self, preempt: &Key<bool>, delay: Key<Period>, default: Preempt) -> Preempt {
        let span = delay.span();
        let wanted = preempt
            .0
            .as_ref()
            .map_or(default != Preempt::Never, |at| at.value);
        let before = match default {
            Preempt::After(before) => before,
            Preempt::Never => Duration::ZERO,
        };
        let delay = self.pause("preempt_delay", delay, before);
        match (wanted, span) {
            (true, _) => Preempt::After(delay),
            (false, None) => Preempt::Never,
            (false, Some(span)) => {
                let message = "`preempt_delay` says when to take over, `preempt = false` never to";
                self.refuse(Fault::new(span, message).help("leave one of the two out"));
                Preempt::Never
            }
        }
    }
}
