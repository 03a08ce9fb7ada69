//! The BGP neighbours, as `status` and `bgp` show them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    pub address: IpAddr,
    /// `None`: any external one, and there is no session.
    pub asn: Option<u32>,
    pub local_as: u32,
    /// Its BGP identifier. Like the values below that the session agreed on, it is known while there is a session.
    pub id: Option<Ipv4Addr>,
    /// `idle`, `connect`, `active`, `open-sent`, `open-confirm` or `established`.
    pub state: String,
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
    /// `down`, `up`, `admin-down` or `unknown`; `None`: BFD does not watch it.
    pub bfd: Option<String>,
    pub announced: Vec<Told>,
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
pub struct Told {
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
