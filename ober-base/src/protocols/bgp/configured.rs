//! The configuration of BGP: the neighbours of a node, and the announcements to each.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    connection::Remote,
    message::{Communities, Family},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bgp {
    /// AS number of this node.
    pub asn: u32,
    /// `None`: the highest IPv4 address of this node that is not a VIP.
    pub router_id: Option<Ipv4Addr>,
    /// Addresses that neighbours may connect to; may be empty.
    pub listen: Vec<SocketAddr>,
    pub neighbours: Vec<Neighbour>,
    /// In written order: a later one overrides earlier ones for the same VIP and neighbour.
    pub announcements: Vec<Announcement>,
    pub depreference: Depreference,
    /// The longest time that End-of-RIB waits for the first verdict of every VIP.
    pub settle: Duration,
}

/// How a VIP is announced as the worst choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depreference {
    pub med: u32,
    /// For internal neighbours.
    pub local_pref: u32,
    /// Added to other prepending.
    pub prepend: u8,
    pub communities: Communities,
}

/// The allowed distance of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hops {
    /// On the same link: packets are sent with TTL 1.
    Link,
    /// The kernel's default TTL.
    Any,
    /// At most this many hops.
    Within(u8),
    /// At most this many hops, and packets from further away are dropped (RFC 5082): packets are sent with TTL 255.
    Secure(u8),
}

/// Password of RFC 2385. Never shown.
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
    /// AS number of this node towards this neighbour.
    pub local_as: u32,
    pub passive: bool,
    pub password: Option<Password>,
    pub hops: Hops,
    /// Address of this node to connect from.
    pub source: Option<IpAddr>,
    /// The only interface by which the neighbour is reached.
    pub interface: Option<String>,
    /// Zero: no hold time. Whole seconds.
    pub hold_time: Duration,
    /// `None`: a third of the agreed hold time.
    pub keepalive: Option<Duration>,
    pub connect_retry: Duration,
    pub delay_open: Duration,
    pub families: BTreeSet<Family>,
    pub extended_next_hop: bool,
    /// Next hops instead of the session's own addresses; at most one of each family.
    pub next_hops: Vec<IpAddr>,
    /// Longest TCP segment in bytes; `None`: as the path allows.
    pub mss: Option<u16>,
    /// `None`: any number.
    pub max_prefixes: Option<u32>,
    pub bfd: Option<Supervision>,
}

impl Neighbour {
    /// The keys that differ in `other` and that a session is made of: a change of those ends the session. Other keys change
    /// while it goes on.
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

/// How BFD supervises the path to a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// A profile of `[bfd]`.
    pub profile: String,
    pub mode: BfdMode,
    /// No session is Established while BFD is down.
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

/// Changes how some VIPs are announced to some neighbours.
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
    /// AS numbers behind the own one.
    pub as_path: Option<Vec<u32>>,
    pub communities: Option<Communities>,
    pub aggregates: Option<Vec<IpNet>>,
    pub host_routes: Option<bool>,
}
