//! The section `[bgp]` and its neighbours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::bfd::Bfd;
use crate::config::{
    Service,
    judge::Judge,
    text::{
        scalar::{At, Key, Period},
        source::{Fault, Span},
    },
};
pub use crate::protocols::bgp::{
    connection::Remote,
    message::{Communities, Family},
};

mod announcement;
mod community;
mod neighbour;
mod raw;

pub(crate) use raw::Raw;

/// How long End-of-RIB waits for the first verdicts.
const SETTLE: Duration = Duration::from_secs(30);
/// RFC 4271 section 4.2 counts it in 16 bits; more than 300 s would be no supervision.
const LONGEST_HOLD_TIME: Duration = Duration::from_secs(65535);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bgp {
    /// Ours.
    pub asn: u32,
    /// `None`: the highest IPv4 address of this node that is no VIP.
    pub router_id: Option<Ipv4Addr>,
    /// Where neighbours may connect to; may be empty.
    pub listen: Vec<SocketAddr>,
    pub neighbours: Vec<Neighbour>,
    /// In written order: a later one that speaks of the same VIP and neighbour holds.
    pub announcements: Vec<Announcement>,
    pub depreference: Depreference,
    /// How long End-of-RIB waits for the first verdict of every VIP.
    pub settle: Duration,
}

/// How a VIP is announced as the worst choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depreference {
    pub med: u32,
    /// For internal neighbours.
    pub local_pref: u32,
    /// On top of what is prepended anyway.
    pub prepend: u8,
    pub communities: Communities,
}

/// How far away a neighbour may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hops {
    /// On the same link: packets leave with TTL 1.
    Link,
    /// As the kernel has it.
    Any,
    /// At most this many.
    Within(u8),
    /// At most this many, and packets that come from further away are dropped (RFC 5082): they leave with TTL 255.
    Secure(u8),
}

/// RFC 2385. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Password(secret)")
    }
}

/// A router that VIPs are announced to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub address: IpAddr,
    pub port: u16,
    pub remote: Remote,
    /// Ours, towards this neighbour.
    pub local_as: u32,
    pub passive: bool,
    pub password: Option<Password>,
    pub hops: Hops,
    /// Address of ours to connect from.
    pub source: Option<IpAddr>,
    /// Interface that is the only way to it.
    pub interface: Option<String>,
    /// Zero: none. Whole seconds.
    pub hold_time: Duration,
    /// `None`: a third of the agreed hold time.
    pub keepalive: Option<Duration>,
    pub connect_retry: Duration,
    pub delay_open: Duration,
    pub families: BTreeSet<Family>,
    pub extended_next_hop: bool,
    /// Instead of the session's own addresses; at most one of each family.
    pub next_hops: Vec<IpAddr>,
    /// Longest TCP segment; `None`: as the path has it.
    pub mss: Option<u16>,
    /// `None`: any number.
    pub max_prefixes: Option<u32>,
    pub bfd: Option<Supervision>,
}

impl Neighbour {
    /// The keys of what a session is made of that are others in `other`: with those the session ends, whatever else changes
    /// stays beside it.
    pub fn session_differs(&self, other: &Self) -> Vec<&'static str> {
        let same = [
            ("port", self.port == other.port),
            ("as", self.remote == other.remote),
            ("local_as", self.local_as == other.local_as),
            ("password", self.password == other.password),
            ("ttl_security or multihop", self.hops == other.hops),
            ("source", self.source == other.source),
            ("interface", self.interface == other.interface),
            ("hold_time", self.hold_time == other.hold_time),
            ("families", self.families == other.families),
            (
                "extended_next_hop",
                self.extended_next_hop == other.extended_next_hop,
            ),
        ];
        let differ = same.into_iter().filter(|(_, same)| !same);
        differ.map(|(key, _)| key).collect()
    }
}

/// How BFD watches the way to a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// A profile of `[bfd]`.
    pub profile: String,
    pub mode: BfdMode,
    /// No session while BFD is down.
    pub strict: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BfdMode {
    /// As the neighbour does it.
    #[default]
    Auto,
    /// UDP port 3784 (RFC 5881).
    SingleHop,
    /// UDP port 4784 (RFC 5883).
    MultiHop,
}

/// Refines how some VIPs are announced to some neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Empty: all.
    pub vips: Vec<IpAddr>,
    /// Empty: all.
    pub neighbours: Vec<IpAddr>,
    pub announce: Option<bool>,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    pub prepend: Option<u8>,
    /// Behind the own AS.
    pub as_path: Option<Vec<u32>>,
    pub communities: Option<Communities>,
    pub aggregates: Option<Vec<IpNet>>,
    pub host_routes: Option<bool>,
}

impl Judge<'_> {
    pub(crate) fn bgp(
        &mut self,
        raw: Option<At<Raw>>,
        services: &[Service],
        bfd: &Bfd,
    ) -> Option<Bgp> {
        let At { value: raw, span } = raw?;
        self.profiles_exist(&raw.neighbours, bfd);
        let asn = self.own_as(raw.asn, &span);
        let aliases = self.aliases(raw.communities);
        let listen: Vec<SocketAddr> = raw.listen.iter().map(|at| at.value).collect();
        let neighbours = self.neighbours(raw.neighbours, asn, !listen.is_empty(), &span);
        let vips: Vec<IpAddr> = services.iter().flat_map(|it| it.vips.clone()).collect();
        let addresses: Vec<IpAddr> = neighbours.iter().map(|it| it.address).collect();
        let announcements = raw
            .announcements
            .into_iter()
            .map(|at| self.announcement(at.value, &aliases, &vips, &addresses));
        Some(Bgp {
            asn,
            announcements: announcements.collect(),
            router_id: self.router_id(raw.router_id),
            listen: self.listen(raw.listen),
            neighbours,
            depreference: self.depreference(raw.depreference, &aliases),
            settle: self.period("settle", raw.settle, SETTLE),
        })
    }

    fn own_as(&mut self, key: Key<u32>, section: &Span) -> u32 {
        let Some(at) = key.0 else {
            let help =
                "write the number of the autonomous system of this node, for instance `as = 65001`";
            self.refuse(Fault::new(section.clone(), "`as` is missing in [bgp]").help(help));
            return 1;
        };
        self.as_number("as", at)
    }

    pub(super) fn as_number(&mut self, name: &str, at: At<u32>) -> u32 {
        // RFC 7607, RFC 6793 section 9, RFC 7300.
        if matches!(at.value, 0 | 23456 | 65535 | u32::MAX) {
            let message = format!("`{name}` is {}, which is nobody's number", at.value);
            let help = "64512 to 65534 are for private use";
            self.refuse(Fault::new(at.span, message).help(help));
        }
        at.value
    }

    fn router_id(&mut self, key: Key<Ipv4Addr>) -> Option<Ipv4Addr> {
        let At { value, span } = key.0?;
        if value.is_unspecified() || value.is_multicast() || value.is_broadcast() {
            let message = format!("{value} cannot be `router_id`");
            self.refuse(Fault::new(span, message).help("take an IPv4 address of this node"));
        }
        Some(value)
    }

    fn listen(&mut self, written: Vec<At<SocketAddr>>) -> Vec<SocketAddr> {
        let mut listen: BTreeMap<SocketAddr, Span> = BTreeMap::new();
        for At { value, span } in written {
            if value.ip().is_multicast() {
                self.refuse(Fault::new(
                    span.clone(),
                    format!("{value} is a multicast address"),
                ));
            }
            if let Some(first) = listen.insert(value, span.clone()) {
                self.refuse(Fault::new(span, format!("{value} is written twice")).first(first));
            }
        }
        listen.into_keys().collect()
    }

    fn depreference(
        &mut self,
        raw: raw::Depreference,
        aliases: &community::Aliases,
    ) -> Depreference {
        Depreference {
            med: raw.med.or(u32::MAX),
            local_pref: raw.local_pref.or(0),
            prepend: self.number("prepend", raw.prepend, 3, 0..=announcement::MOST_PREPENDED),
            communities: self.communities(raw.communities, aliases),
        }
    }

    /// A length of time that BGP counts in whole seconds.
    fn seconds(&mut self, name: &str, key: Key<Period>, default: Duration) -> Duration {
        let span = key.span();
        let period = key.or(Period(default)).0;
        if period.subsec_nanos() != 0 || period > LONGEST_HOLD_TIME {
            let message = format!("`{name}` must be whole seconds, at most 65535");
            self.refuse(Fault::new(span, message));
        }
        period
    }
}
