//! The nodes that share the VIPs, and their priorities.

use std::ops::RangeInclusive;

use super::{At, BTreeMap, Fault, IpAddr, Judge, Key, Node, OWNER, Span};
use crate::{
    protocols::vrrp::configured::{Instance, Peer},
    system::hash::mix,
};

/// Number of ranks: priorities 254 down to 1.
const MOST: usize = 254;

/// The nodes of the list.
#[derive(Default)]
pub(super) struct Nodes {
    list: Vec<Named>,
    /// The index of this node in the list.
    own: Option<usize>,
}

struct Named {
    name: String,
    addresses: Vec<IpAddr>,
    ttl: RangeInclusive<u8>,
    span: Span,
}

impl Nodes {
    pub(super) fn own(&self) -> Vec<IpAddr> {
        let own = self.own.and_then(|place| self.list.get(place));
        own.map(|node| node.addresses.clone()).unwrap_or_default()
    }

    fn others(&self) -> impl Iterator<Item = &Named> {
        let others = self.list.iter().enumerate();
        others
            .filter(|(place, _)| Some(*place) != self.own)
            .map(|(_, node)| node)
    }

    /// 254 for the first of the nodes for this VIP, 253 for the next. `None`: this node is not in the list.
    pub(super) fn priority(&self, vip: IpAddr) -> Option<u8> {
        let own = self.list.get(self.own?)?;
        let mine = (bid(&own.name, vip), &own.name);
        let better = self
            .list
            .iter()
            .filter(|node| (bid(&node.name, vip), &node.name) > mine);
        let rank = u8::try_from(better.count()).unwrap_or(u8::MAX);
        Some((OWNER - 1).saturating_sub(rank).max(1))
    }
}

/// The score of a node for a VIP (rendezvous hashing): a node that leaves or joins does not change the order of the others.
fn bid(name: &str, vip: IpAddr) -> u64 {
    let letters = name
        .bytes()
        .fold(0, |hash, letter| mix(hash ^ u64::from(letter)));
    mix(letters ^ hash(vip))
}

/// A number made from the VIP, the same on every node.
pub(super) fn hash(vip: IpAddr) -> u64 {
    match vip {
        IpAddr::V4(vip) => mix(u64::from(u32::from(vip))),
        IpAddr::V6(vip) => {
            let words = vip.segments().into_iter();
            words.fold(0, |hash, word| mix(hash ^ u64::from(word)))
        }
    }
}

impl Judge<'_> {
    pub(super) fn nodes(
        &mut self,
        own: Key<String>,
        written: Vec<At<Node>>,
        section: &Span,
    ) -> Nodes {
        let mut nodes = Nodes::default();
        let mut taken: BTreeMap<IpAddr, Span> = BTreeMap::new();
        for At { value, span } in written {
            let Some(name) = value.name.0 else {
                self.refuse(Fault::new(
                    span,
                    "a node of `[[vrrp.nodes]]` without `name`",
                ));
                continue;
            };
            if let Some(other) = nodes.list.iter().find(|other| other.name == name.value) {
                let message = format!("two nodes are called `{}`", name.value);
                self.refuse(Fault::new(name.span, message).first(other.span.clone()));
                continue;
            }
            for at in &value.addresses {
                if let Some(first) = taken.insert(at.value, at.span.clone()) {
                    let message = format!("{} is written for two nodes", at.value);
                    self.refuse(Fault::new(at.span.clone(), message).first(first));
                }
            }
            nodes.list.push(Named {
                name: name.value,
                addresses: value.addresses.iter().map(|at| at.value).collect(),
                ttl: self.ttl(value.min_ttl, value.max_ttl),
                span: name.span,
            });
        }
        if let Some(node) = nodes.list.get(MOST) {
            let message = format!("more than {MOST} nodes, which is how many priorities there are");
            self.refuse(Fault::new(node.span.clone(), message));
        }
        nodes.own = self.own_node(own, &nodes.list, section);
        nodes
    }

    fn own_node(&mut self, key: Key<String>, list: &[Named], section: &Span) -> Option<usize> {
        let Some(At { value, span }) = key.0 else {
            if !list.is_empty() {
                let help = "write `node = \"NAME\"`, or `node = \"${HOSTNAME}\"` to share the file";
                let message = "`[vrrp]` does not say which of its nodes this one is";
                self.refuse(Fault::new(section.clone(), message).help(help));
            }
            return None;
        };
        let place = list.iter().position(|node| node.name == value);
        if place.is_none() {
            let known: Vec<&str> = list.iter().map(|node| node.name.as_str()).collect();
            let message = format!("there is no node `{value}` in `[[vrrp.nodes]]`");
            let help = crate::config::text::error::suggestion(&value, &known);
            self.refuse(Fault::new(span, message).help(help));
        }
        place
    }

    fn ttl(&mut self, least: Key<u8>, most: Key<u8>) -> RangeInclusive<u8> {
        let span = least.span().or(most.span());
        let least = self.number("min_ttl", least, u8::MAX, 1..=u8::MAX);
        let most = self.number("max_ttl", most, u8::MAX, 1..=u8::MAX);
        if least > most {
            let message = format!("no TTL is from {least} to {most}");
            self.refuse(Fault::new(span, message).help("`min_ttl` is 255 unless written"));
        }
        least..=most
    }

    /// The other nodes, and the peers beside them.
    pub(super) fn peers(&mut self, written: Vec<At<IpAddr>>, nodes: &Nodes) -> Vec<Peer> {
        let mut peers: Vec<Peer> = Vec::new();
        for node in nodes.others() {
            peers.extend(node.addresses.iter().map(|&address| Peer {
                address,
                ttl: node.ttl.clone(),
            }));
        }
        for At {
            value: address,
            span,
        } in written
        {
            let reason = if nodes.own().contains(&address) {
                "is this node itself"
            } else if peers.iter().any(|peer| peer.address == address) {
                "is written twice, or one of `nodes`"
            } else if address.is_multicast() || address.is_unspecified() {
                "is no address of one machine"
            } else {
                let ttl = u8::MAX..=u8::MAX;
                peers.push(Peer { address, ttl });
                continue;
            };
            self.refuse(Fault::new(span, format!("peer {address} {reason}")));
        }
        peers
    }

    pub(super) fn no_peers(&mut self, written: &[At<IpAddr>]) {
        if let Some(first) = written.first() {
            let message = "`peers` need unicast, but `transport` is \"multicast\"";
            let help = "leave one of the two out";
            self.refuse(Fault::new(first.span.clone(), message).help(help));
        }
    }

    /// Without a peer of a family, two nodes would both be master there. Over unicast every node must have an address.
    pub(super) fn peers_reachable(
        &mut self,
        peers: &[Peer],
        nodes: &Nodes,
        instances: &[Instance],
        section: &Span,
    ) {
        for (six, family) in [(false, "IPv4"), (true, "IPv6")] {
            if !instances.iter().any(|instance| instance.is_ipv6() == six) {
                continue;
            }
            for node in &nodes.list {
                if !node
                    .addresses
                    .iter()
                    .any(|address| address.is_ipv6() == six)
                {
                    let message = format!("node `{}` has no {family} address", node.name);
                    let help = format!("there are {family} VIPs: add one to its `addresses`");
                    self.refuse(Fault::new(node.span.clone(), message).help(help));
                }
            }
            if !peers.iter().any(|peer| peer.address.is_ipv6() == six) {
                let message = format!("`[vrrp]` has no peer for its {family} VIPs");
                let help = "add `[[vrrp.nodes]]` or `peers`, or write `transport = \"multicast\"`";
                self.refuse(Fault::new(section.clone(), message).help(help));
            }
        }
    }
}
