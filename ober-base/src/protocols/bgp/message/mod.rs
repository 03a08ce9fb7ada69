//! BGP messages, RFC 4271 section 4. `rustbgpd-wire` reads and writes the bytes; its types stay in this module, so that the
//! machine sees only what an announcing speaker needs.
//!
//! ```text
//! | marker: 16 times 0xff | length (2) | type (1) | body: up to 4077 |
//! ```
//!
//! `received` checks received messages, `judge` the UPDATEs among them (RFC 7606), `notify` writes NOTIFICATIONs. A length from
//! a neighbour is never used before it is checked.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use rustbgpd_wire::{
    Afi, AsPath, AsPathSegment, Capability, DecodeError, ExtendedCommunity, ExtendedNextHopFamily,
    Ipv4NlriEntry, Ipv4Prefix, Ipv4UnicastMode, Ipv6Prefix, LargeCommunity, MpReachNlri,
    MpUnreachNlri, NlriEntry, NotificationCode, NotificationMessage, OpenMessage, Origin,
    PathAttribute, Prefix, RouteRefreshMessage, RouteRefreshSubtype, Safi, UpdateMessage,
    decode_message, encode_message, notification,
};

pub use rustbgpd_wire::UpdateMessage as Raw;

pub use self::{
    judge::{Judged, Terms, judge},
    notify::Notification,
    received::{Received, decode, frame},
};

mod judge;
mod notify;
mod received;

/// Bytes of the longest message.
pub const LONGEST: usize = 4096;
/// Bytes of the header, which is all of a KEEPALIVE.
const HEADER: usize = 19;
/// Replaces an AS number beyond 65535 where only two octets are understood (RFC 6793).
const AS_TRANS: u16 = 23456;

/// A kind of routes, always unicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4,
            IpNet::V6(_) => Self::Ipv6,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    fn afi(self) -> Afi {
        match self {
            Self::Ipv4 => Afi::Ipv4,
            Self::Ipv6 => Afi::Ipv6,
        }
    }

    fn from_wire(afi: Afi, safi: Safi) -> Option<Self> {
        match (afi, safi) {
            (Afi::Ipv4, Safi::Unicast) => Some(Self::Ipv4),
            (Afi::Ipv6, Safi::Unicast) => Some(Self::Ipv6),
            _ => None,
        }
    }
}

/// The capabilities of a speaker (RFC 5492).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is there or not, whatever the others are"
)]
pub struct Capabilities {
    /// RFC 4760. A speaker that names none has IPv4.
    pub families: BTreeSet<Family>,
    /// RFC 6793.
    pub four_octet_as: bool,
    /// RFC 2918.
    pub refresh: bool,
    /// RFC 7313.
    pub enhanced_refresh: bool,
    /// RFC 8950: IPv4 routes with an IPv6 next hop.
    pub extended_next_hop: bool,
}

impl Capabilities {
    /// The names that are shown.
    pub fn names(&self) -> Vec<&'static str> {
        let families = self.families.iter().map(|family| family.name());
        let others = [
            (self.four_octet_as, "4-octet-as"),
            (self.refresh, "route-refresh"),
            (self.enhanced_refresh, "enhanced-route-refresh"),
            (self.extended_next_hop, "extended-next-hop"),
        ]
        .into_iter()
        .filter(|(able, _)| *able);
        families.chain(others.map(|(_, name)| name)).collect()
    }
}

/// An OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The AS number, from whichever field holds it.
    pub asn: u32,
    /// Whole seconds up to 65535; zero: no KEEPALIVEs.
    pub hold_time: Duration,
    pub id: Ipv4Addr,
    pub capabilities: Capabilities,
}

impl Open {
    fn to_wire(&self) -> OpenMessage {
        let able = &self.capabilities;
        let mut capabilities = Vec::new();
        for family in &able.families {
            let (afi, safi) = (family.afi(), Safi::Unicast);
            capabilities.push(Capability::MultiProtocol { afi, safi });
        }
        if able.refresh {
            capabilities.push(Capability::RouteRefresh);
        }
        if able.extended_next_hop {
            capabilities.push(Capability::ExtendedNextHop(vec![ExtendedNextHopFamily {
                nlri_afi: Afi::Ipv4,
                nlri_safi: Safi::Unicast,
                next_hop_afi: Afi::Ipv6,
            }]));
        }
        if able.four_octet_as {
            capabilities.push(Capability::FourOctetAs { asn: self.asn });
        }
        if able.enhanced_refresh {
            capabilities.push(Capability::EnhancedRouteRefresh);
        }
        OpenMessage {
            version: 4,
            my_as: u16::try_from(self.asn).unwrap_or(AS_TRANS),
            hold_time: u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX),
            bgp_identifier: self.id,
            capabilities,
        }
    }
}

/// The communities of a route, without order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Communities {
    /// RFC 1997.
    pub plain: BTreeSet<u32>,
    /// RFC 4360.
    pub extended: BTreeSet<u64>,
    /// RFC 8092.
    pub large: BTreeSet<[u32; 3]>,
}

impl Communities {
    pub fn extend(&mut self, more: &Self) {
        self.plain.extend(&more.plain);
        self.extended.extend(&more.extended);
        self.large.extend(&more.large);
    }
}

/// The next hop of a route: always this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NextHop {
    V4(Ipv4Addr),
    /// With the link-local address when the neighbour is on the same link (RFC 2545 section 3).
    V6 {
        global: Ipv6Addr,
        link_local: Option<Ipv6Addr>,
    },
}

/// The attributes of routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    pub path: Vec<u32>,
    pub next_hop: NextHop,
    pub med: Option<u32>,
    /// Only for internal neighbours.
    pub local_pref: Option<u32>,
    pub communities: Communities,
    /// Do AS numbers have four octets?
    pub four_octet_as: bool,
}

impl Attributes {
    /// The most bytes that the attributes take, with the frame of `MP_REACH_NLRI`.
    pub fn size(&self) -> usize {
        let Communities {
            plain,
            extended,
            large,
        } = &self.communities;
        // AS_PATH and AS4_PATH; then ORIGIN, NEXT_HOP, MED, LOCAL_PREF, MP_REACH_NLRI and three attribute headers.
        2 * (6 + 4 * self.path.len())
            + (4 + 7 + 7 + 7 + 9 + 32 + 12)
            + 4 * plain.len()
            + 8 * extended.len()
            + 12 * large.len()
    }

    fn to_wire(&self) -> Vec<PathAttribute> {
        let path = if self.path.is_empty() {
            Vec::new()
        } else {
            vec![AsPathSegment::AsSequence(self.path.clone())]
        };
        let mut all = vec![
            PathAttribute::Origin(Origin::Igp),
            PathAttribute::AsPath(AsPath { segments: path }),
        ];
        all.extend(self.med.map(PathAttribute::Med));
        all.extend(self.local_pref.map(PathAttribute::LocalPref));
        let Communities {
            plain,
            extended,
            large,
        } = &self.communities;
        if !plain.is_empty() {
            all.push(PathAttribute::Communities(plain.iter().copied().collect()));
        }
        if !extended.is_empty() {
            let extended = extended.iter().copied().map(ExtendedCommunity::new);
            all.push(PathAttribute::ExtendedCommunities(extended.collect()));
        }
        if !large.is_empty() {
            let large = large.iter().map(|&[a, b, c]| LargeCommunity::new(a, b, c));
            all.push(PathAttribute::LargeCommunities(large.collect()));
        }
        all
    }
}

/// A change of the advertised routes. Its prefixes are of one family and fit into one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    Announce {
        attributes: Arc<Attributes>,
        prefixes: Vec<IpNet>,
    },
    Withdraw {
        prefixes: Vec<IpNet>,
        /// IPv4 routes with an IPv6 next hop are sent in `MP_REACH_NLRI`, also when withdrawn, not in the classic fields.
        extended: bool,
    },
    /// RFC 4724 section 2.
    EndOfRib(Family),
}

impl Update {
    fn to_wire(&self) -> Result<UpdateMessage, rustbgpd_wire::EncodeError> {
        let build = |announced: &[_], withdrawn: &[_], attributes: &[_], wide| {
            let mode = Ipv4UnicastMode::Body;
            UpdateMessage::try_build(announced, withdrawn, attributes, wide, false, mode)
        };
        match self {
            Self::Announce {
                attributes,
                prefixes,
            } => {
                let mut all = attributes.to_wire();
                let mut classic = Vec::new();
                match (attributes.next_hop, classic_prefixes(prefixes)) {
                    (NextHop::V4(next_hop), Some(prefixes)) => {
                        classic = prefixes;
                        all.insert(2, PathAttribute::NextHop(next_hop));
                    }
                    (next_hop, _) => all.push(reach(next_hop, prefixes)),
                }
                build(&classic, &[], &all, attributes.four_octet_as)
            }
            Self::Withdraw { prefixes, extended } => {
                if let Some(prefixes) = classic_prefixes(prefixes).filter(|_| !extended) {
                    return build(&[], &prefixes, &[], true);
                }
                let family = prefixes.first().map_or(Family::Ipv6, Family::of);
                build(&[], &[], &[unreach(family, prefixes)], true)
            }
            Self::EndOfRib(Family::Ipv4) => build(&[], &[], &[], true),
            Self::EndOfRib(Family::Ipv6) => build(&[], &[], &[unreach(Family::Ipv6, &[])], true),
        }
    }
}

/// `None` when some prefix is not IPv4.
fn classic_prefixes(prefixes: &[IpNet]) -> Option<Vec<Ipv4NlriEntry>> {
    let entry = |prefix: &IpNet| match prefix {
        IpNet::V4(prefix) => Some(Ipv4NlriEntry {
            path_id: 0,
            prefix: Ipv4Prefix::new(prefix.network(), prefix.prefix_len()),
        }),
        IpNet::V6(_) => None,
    };
    prefixes.iter().map(entry).collect()
}

fn entries(prefixes: &[IpNet]) -> Vec<NlriEntry> {
    let entry = |prefix: &IpNet| NlriEntry {
        path_id: 0,
        prefix: match prefix {
            IpNet::V4(prefix) => Prefix::V4(Ipv4Prefix::new(prefix.network(), prefix.prefix_len())),
            IpNet::V6(prefix) => Prefix::V6(Ipv6Prefix::new(prefix.network(), prefix.prefix_len())),
        },
    };
    prefixes.iter().map(entry).collect()
}

fn reach(next_hop: NextHop, prefixes: &[IpNet]) -> PathAttribute {
    let (next_hop, link_local_next_hop) = match next_hop {
        NextHop::V4(next_hop) => (IpAddr::V4(next_hop), None),
        NextHop::V6 { global, link_local } => (IpAddr::V6(global), link_local),
    };
    PathAttribute::MpReachNlri(Box::new(MpReachNlri {
        afi: prefixes.first().map_or(Family::Ipv6, Family::of).afi(),
        safi: Safi::Unicast,
        next_hop,
        link_local_next_hop,
        announced: entries(prefixes),
        flowspec_announced: Vec::new(),
        evpn_announced: Vec::new(),
        bgpls_announced: Vec::new(),
        vpn_announced: Vec::new(),
        labeled_announced: Vec::new(),
        rtc_announced: Vec::new(),
    }))
}

fn unreach(family: Family, prefixes: &[IpNet]) -> PathAttribute {
    PathAttribute::MpUnreachNlri(Box::new(MpUnreachNlri {
        afi: family.afi(),
        safi: Safi::Unicast,
        withdrawn: entries(prefixes),
        flowspec_withdrawn: Vec::new(),
        evpn_withdrawn: Vec::new(),
        bgpls_withdrawn: Vec::new(),
        vpn_withdrawn: Vec::new(),
        labeled_withdrawn: Vec::new(),
        rtc_withdrawn: Vec::new(),
    }))
}

/// The kind of a ROUTE-REFRESH (RFC 7313 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    Request,
    Begin,
    End,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Open(Open),
    Keepalive,
    Notification(Notification),
    Update(Update),
    Refresh(Family, Refresh),
}

/// The kinds of messages, which are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Open = 1,
    Update = 2,
    Notification = 3,
    Keepalive = 4,
    Refresh = 5,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Update,
        Self::Notification,
        Self::Keepalive,
        Self::Refresh,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Update => "update",
            Self::Notification => "notification",
            Self::Keepalive => "keepalive",
            Self::Refresh => "refresh",
        }
    }
}

/// The neighbour has none of this node's families (RFC 5492 section 5): names the missing ones.
pub fn unsupported(families: &BTreeSet<Family>) -> Notification {
    let capability = |family: &Family| {
        let [high, low] = (family.afi() as u16).to_be_bytes();
        [1, 4, high, low, 0, Safi::Unicast as u8]
    };
    let data: Vec<u8> = families.iter().flat_map(capability).collect();
    Notification::with(2, 7, data)
}

/// The neighbour announced more prefixes than allowed (RFC 4486 section 4).
pub fn too_many(family: Family, most: u32) -> Notification {
    let mut data = (family.afi() as u16).to_be_bytes().to_vec();
    data.push(Safi::Unicast as u8);
    data.extend(most.to_be_bytes());
    Notification::with(6, 1, data)
}

/// A message that cannot be sent: it is too long.
#[derive(Debug, thiserror::Error)]
#[error("encode a BGP message: {0}")]
pub struct TooLong(#[from] rustbgpd_wire::EncodeError);

impl Message {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Open(_) => Kind::Open,
            Self::Keepalive => Kind::Keepalive,
            Self::Notification(_) => Kind::Notification,
            Self::Update(_) => Kind::Update,
            Self::Refresh(..) => Kind::Refresh,
        }
    }

    pub fn encode(&self) -> Result<BytesMut, TooLong> {
        use rustbgpd_wire::Message as Wire;
        let message = match self {
            Self::Open(open) => Wire::Open(open.to_wire()),
            Self::Keepalive => Wire::Keepalive,
            Self::Notification(notification) => Wire::Notification(notification.to_wire()),
            Self::Update(update) => Wire::Update(update.to_wire()?),
            Self::Refresh(family, refresh) => {
                let subtype = match refresh {
                    Refresh::Request => RouteRefreshSubtype::Normal,
                    Refresh::Begin => RouteRefreshSubtype::BoRR,
                    Refresh::End => RouteRefreshSubtype::EoRR,
                };
                Wire::RouteRefresh(RouteRefreshMessage::new_with_subtype(
                    family.afi(),
                    Safi::Unicast,
                    subtype,
                ))
            }
        };
        Ok(encode_message(&message)?)
    }
}
