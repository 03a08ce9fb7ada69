//! The BGP neighbours, as `status` and `bgp` show them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::protocols::bgp::{
    Overview,
    configured::Neighbour as Configured,
    connection::Remote,
    event::{Path, Report, State},
    message::{Attributes, Kind, NextHop, Notification, Open},
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    pub address: IpAddr,
    /// `None`: any external one, and there is no session.
    pub asn: Option<u32>,
    pub local_as: u32,
    /// Its BGP identifier. Like the values below that the session agreed on, it is known while there is a session.
    pub id: Option<Ipv4Addr>,
    pub state: State,
    /// Seconds in this state.
    pub seconds: u64,
    /// Sessions that were established and ended.
    pub flaps: u64,
    /// Seconds; 0: none.
    pub hold_time: Option<u64>,
    pub families: Vec<String>,
    pub extended_next_hop: bool,
    /// Its last OPEN, whether there is a session or not.
    pub opened: Option<Opened>,
    /// Is there a password?
    pub signed: bool,
    /// `None`: BFD does not watch it.
    pub bfd: Option<PathState>,
    pub announced: Vec<AdvertisedRoute>,
    /// By kind: `open`, `update`, `notification`, `keepalive`, `refresh`.
    pub messages: BTreeMap<String, Counts>,
    /// UPDATEs with an attribute that was wrong; they did not end the session (RFC 7606).
    pub malformed: u64,
    /// Prefixes the neighbour announces, where `max_prefixes` limits them.
    pub prefixes_received: u64,
    pub last_sent: Option<Said>,
    pub last_received: Option<Said>,
    /// Why the last session ended or did not come up.
    pub last_failure: Option<String>,
    /// How long ago that was.
    #[serde(default)]
    pub last_failure_seconds: Option<u64>,
}

/// BFD's state of the path to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathState {
    Down,
    Up,
    /// An administrator took BFD down, which says nothing about the path (RFC 5882 section 4.2).
    AdminDown,
    /// BFD has not reported it yet.
    Unknown,
}

impl PathState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::AdminDown => "admin-down",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Option<Path>> for PathState {
    fn from(path: Option<Path>) -> Self {
        match path {
            Some(Path::Down) => Self::Down,
            Some(Path::Up) => Self::Up,
            Some(Path::AdminDown) => Self::AdminDown,
            None => Self::Unknown,
        }
    }
}

/// The contents of a neighbour's OPEN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    pub asn: u32,
    pub id: Ipv4Addr,
    /// What it offers, in seconds; 0: none.
    pub hold_time: u64,
    /// The families it speaks, and what else it can.
    pub capabilities: Vec<String>,
}

/// A route as advertised to the neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertisedRoute {
    pub prefix: String,
    pub next_hop: IpAddr,
    pub path: Vec<u32>,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    pub communities: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub sent: u64,
    pub received: u64,
}

/// A NOTIFICATION.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    pub code: u8,
    pub subcode: u8,
    pub name: String,
    /// Of an administrative shutdown (RFC 9003).
    pub text: Option<String>,
    /// How long ago.
    pub seconds: u64,
}

pub fn neighbours(overview: &Overview) -> Vec<Neighbour> {
    let neighbours = overview.neighbours.iter();
    neighbours
        .map(|(settings, report)| neighbour(settings, report, overview.at))
        .collect()
}

fn neighbour(settings: &Configured, report: &Report, now: Instant) -> Neighbour {
    let ago = |at: Instant| now.saturating_duration_since(at).as_secs();
    let said = |last: &Option<(Instant, Notification)>| {
        last.as_ref().map(|(at, notification)| Said {
            code: notification.code,
            subcode: notification.subcode,
            name: notification.name().to_owned(),
            text: notification.text(),
            seconds: ago(*at),
        })
    };
    let agreed = report.agreed.as_ref();
    let configured = match settings.remote {
        Remote::Number(asn) => Some(asn),
        Remote::Internal => Some(settings.local_as),
        Remote::External | Remote::Auto => None,
    };
    let messages = Kind::ALL
        .iter()
        .zip(report.counts.sent)
        .zip(report.counts.received);
    Neighbour {
        address: settings.address,
        asn: agreed.map(|it| it.open.asn).or(configured),
        local_as: settings.local_as,
        id: agreed.map(|it| it.open.id),
        state: report.state,
        seconds: ago(report.since),
        flaps: report.flaps,
        hold_time: agreed.map(|it| it.hold_time.map_or(0, |time| time.as_secs())),
        families: agreed
            .map(|it| {
                it.terms
                    .families
                    .iter()
                    .map(|family| family.name().to_owned())
                    .collect()
            })
            .unwrap_or_default(),
        extended_next_hop: agreed.is_some_and(|it| it.terms.extended_next_hop),
        opened: report.opened.as_deref().map(opened),
        signed: settings.password.is_some(),
        bfd: settings.bfd.as_ref().map(|_| report.path.into()),
        announced: report
            .advertised
            .iter()
            .map(|(prefix, said)| route(prefix.to_string(), said))
            .collect(),
        messages: messages
            .map(|((kind, sent), received)| (kind.name().to_owned(), Counts { sent, received }))
            .collect(),
        malformed: report.malformed,
        prefixes_received: report.heard as u64,
        last_sent: said(&report.last_sent),
        last_received: said(&report.last_got),
        last_failure: report
            .last_failure
            .as_ref()
            .map(|(_, failure)| failure.to_string()),
        last_failure_seconds: report.last_failure.as_ref().map(|(at, _)| ago(*at)),
    }
}

fn opened(open: &Open) -> Opened {
    let names = open.capabilities.names();
    Opened {
        asn: open.asn,
        id: open.id,
        hold_time: open.hold_time.as_secs(),
        capabilities: names.into_iter().map(ToOwned::to_owned).collect(),
    }
}

fn route(prefix: String, attributes: &Attributes) -> AdvertisedRoute {
    let communities = &attributes.communities;
    let plain = communities
        .plain
        .iter()
        .map(|it| format!("{}:{}", it >> 16, it & 0xffff));
    let large = communities
        .large
        .iter()
        .map(|[a, b, c]| format!("{a}:{b}:{c}"));
    let extended = communities.extended.iter().map(|it| format!("0x{it:016x}"));
    AdvertisedRoute {
        prefix,
        next_hop: match attributes.next_hop {
            NextHop::V4(address) => address.into(),
            NextHop::V6 { global, .. } => global.into(),
        },
        path: attributes.path.clone(),
        med: attributes.med,
        local_pref: attributes.local_pref,
        communities: plain.chain(large).chain(extended).collect(),
    }
}
