//! `[bgp]` as written. The comments here are the descriptions in `config/ober.schema.json`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::text::notation::{AsNumber, At, Key, Period, Prefix, Secret},
    protocols::bgp::configured::BfdMode,
};

/// Announce the VIPs to routers by BGP.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Bgp")]
pub(crate) struct Raw {
    /// Number of the autonomous system of this node. Must be written.
    #[serde(rename = "as")]
    pub(super) asn: Key<u32>,
    /// Identifies this node, in the form of an IPv4 address; left out: the highest one of this node that is no VIP.
    pub(super) router_id: Key<Ipv4Addr>,
    /// Addresses and ports that neighbours may connect to; left out: none, this node connects.
    pub(super) listen: Vec<At<SocketAddr>>,
    /// How long End-of-RIB waits for the first verdict of every VIP.
    pub(super) settle: Key<Period>,
    /// Names for communities, for use wherever communities are written.
    pub(super) communities: BTreeMap<String, At<String>>,
    /// How a VIP is announced as the worst choice.
    pub(super) depreference: Depreference,
    /// Routers that VIPs are announced to.
    pub(super) neighbours: Vec<At<Neighbour>>,
    /// How some VIPs are announced to some neighbours; a later one overrides an earlier one.
    pub(super) announcements: Vec<At<Announcement>>,
}

/// How a VIP is announced as the worst choice.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Depreference {
    /// Metric (MED).
    pub(super) med: Key<u32>,
    /// Local preference, for internal neighbours.
    pub(super) local_pref: Key<u32>,
    /// How often the own AS is repeated, on top of what is prepended anyway.
    pub(super) prepend: Key<u8>,
    /// Communities on top of the others.
    pub(super) communities: Vec<At<String>>,
}

/// A router that VIPs are announced to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Neighbour {
    /// Its address. Must be written.
    #[serde(deserialize_with = "crate::config::text::notation::address")]
    pub(super) address: Key<IpAddr>,
    /// TCP port it listens on.
    pub(super) port: Key<NonZeroU16>,
    /// Its autonomous system: a number, `"internal"` (this node's), `"external"` (any other) or `"auto"` (any). Must be written.
    #[serde(rename = "as")]
    pub(super) asn: Key<AsNumber>,
    /// Our autonomous system towards it.
    pub(super) local_as: Key<u32>,
    /// Never connect, only accept.
    pub(super) passive: Key<bool>,
    /// Password of the TCP MD5 signature, as `"${NAME}"`.
    pub(super) password: Key<Secret>,
    /// A file that holds the password, not readable by every account.
    pub(super) password_file: Key<String>,
    /// It is at most this many hops away, and packets from further away are dropped (GTSM); 1: on the same link.
    pub(super) ttl_security: Key<u8>,
    /// It is at most this many hops away; left out: an external neighbour is on the same link.
    pub(super) multihop: Key<u8>,
    /// Address of this node to connect from.
    #[serde(deserialize_with = "crate::config::text::notation::address")]
    pub(super) source: Key<IpAddr>,
    /// Interface that is the only way to it; or its VRF.
    pub(super) interface: Key<String>,
    /// Silence after which it is taken for dead: at least 3 s, or `"0"` for never.
    pub(super) hold_time: Key<Period>,
    /// Pause between two signs of life; left out: a third of the agreed hold time.
    pub(super) keepalive: Key<Period>,
    /// First pause between two attempts to connect; doubles up to a minute.
    pub(super) connect_retry: Key<Period>,
    /// How long a new connection waits for the neighbour to speak first.
    pub(super) delay_open: Key<Period>,
    /// `"ipv4"`, `"ipv6"` or both: the kinds of routes it is offered.
    pub(super) families: Vec<At<FamilyName>>,
    /// Offer IPv4 routes with an IPv6 next hop.
    pub(super) extended_next_hop: Key<bool>,
    /// Next hops instead of the session's own addresses, at most one of each family.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) next_hops: Vec<At<IpAddr>>,
    /// Longest TCP segment either side sends, in bytes; left out: as the path has it.
    pub(super) mss: Key<u16>,
    /// Prefixes it may announce before the session is ended; 0: any number.
    pub(super) max_prefixes: Key<u32>,
    /// A profile of `[bfd]` to watch it with, or `"off"`.
    pub(super) bfd: Key<String>,
    /// Which kind of BFD.
    pub(super) bfd_mode: Key<BfdMode>,
    /// No session while BFD is down.
    pub(super) strict: Key<bool>,
}

/// A kind of routes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FamilyName {
    Ipv4,
    Ipv6,
}

/// How some VIPs are announced to some neighbours. What is left out is as it was.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Announcement {
    /// VIPs this is about; left out: all.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) vips: Vec<At<IpAddr>>,
    /// Addresses of the neighbours this is about; left out: all.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) neighbours: Vec<At<IpAddr>>,
    /// `false`: they do not get these VIPs.
    pub(super) announce: Key<bool>,
    /// Metric (MED).
    pub(super) med: Key<u32>,
    /// Local preference, for internal neighbours.
    pub(super) local_pref: Key<u32>,
    /// How often the own AS is repeated.
    pub(super) prepend: Key<u8>,
    /// Autonomous systems written into the path behind the own one.
    pub(super) as_path: Option<Vec<At<u32>>>,
    /// `"AS:n"`, `"AS:n:n"`, `"rt:AS:n"`, `"soo:AS:n"`, `"bandwidth:AS:bytes"`, a well-known name or one of yours.
    pub(super) communities: Option<Vec<At<String>>>,
    /// Prefixes announced in place of the VIPs in them, as long as one of those is.
    pub(super) aggregates: Option<Vec<At<Prefix>>>,
    /// Announce the VIPs in these prefixes too.
    pub(super) host_routes: Key<bool>,
}
