//! The virtual routers, as `status` and `vrrp` show them.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use serde::{Deserialize, Serialize};

pub use crate::protocols::vrrp::Role;
use crate::protocols::vrrp::{Overview, State, View};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vrrp {
    pub routers: Vec<Router>,
    /// Packets that were refused, by reason: `source`, `ttl`, `version`, `checksum`, `length`, `authentication`, `malformed` or
    /// `vrid`. The kernel drops those of unknown senders; a few a second of them are looked at and counted.
    pub rejected: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    pub vrid: u8,
    /// Of the protocol, 2 or 3.
    pub version: u8,
    /// The VIPs in the advertisements; `excluded` has those that only move with them.
    pub vips: Vec<IpAddr>,
    pub excluded: Vec<IpAddr>,
    /// Those of both that could not be served since a reload put them here: they do not move yet, and delay no others.
    #[serde(default)]
    pub joining: Vec<IpAddr>,
    pub state: Role,
    /// The last states entered, newest first: the first says since when and why it is in this one.
    pub transitions: Vec<Transition>,
    /// Of this node.
    pub priority: u8,
    /// The master, as far as is known, and its priority.
    pub master: Option<IpAddr>,
    pub master_priority: Option<u8>,
    /// Are the VIPs on this node's interface?
    pub addresses_present: bool,
    /// Advertisements sent; `unsent` of them failed for a peer at least.
    pub sent: u64,
    pub unsent: u64,
    pub received: u64,
    /// Those of priority 0 among them.
    pub resignations_sent: u64,
    pub resignations_received: u64,
    /// Gratuitous ARPs and unsolicited neighbour advertisements.
    pub claims_sent: u64,
    pub transitions_to_master: u64,
    /// How often a timer was so late that another node may have taken over.
    pub late_timers: u64,
    /// Conflicts seen; the last one.
    pub conflicts: u64,
    pub conflict: Option<Conflict>,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Seconds ago.
    pub seconds: u64,
    pub state: Role,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Seconds ago.
    pub seconds: u64,
    pub what: String,
}

impl From<&Overview> for Vrrp {
    fn from(overview: &Overview) -> Self {
        let routers = overview.routers.iter();
        Self {
            routers: routers.map(|view| Router::at(overview.at, view)).collect(),
            rejected: overview.rejected.clone(),
        }
    }
}

impl Router {
    fn at(now: Instant, view: &View) -> Self {
        let (router, counts) = (&view.router, &view.counts);
        let ago = |at| now.saturating_duration_since(at).as_secs();
        let transitions = router.history().rev().map(|entered| Transition {
            seconds: ago(entered.at),
            state: entered.to,
            reason: entered.why.to_string(),
        });
        let master = router.master();
        Self {
            vrid: view.vrid.0.get(),
            version: view.settings.version.number(),
            vips: view.instance.vips.clone(),
            excluded: view.instance.excluded.clone(),
            joining: view.joining.clone(),
            state: router.state().role(),
            transitions: transitions.collect(),
            priority: view.settings.priority,
            master: master.map(|(address, _)| address),
            master_priority: master.map(|(_, priority)| priority),
            addresses_present: matches!(router.state(), State::Master { held: true, .. }),
            sent: counts.sent,
            unsent: counts.unsent,
            received: counts.received,
            resignations_sent: counts.resignations_sent,
            resignations_received: counts.resignations_received,
            claims_sent: counts.claims_sent,
            transitions_to_master: router.won(),
            late_timers: router.late(),
            conflicts: router.conflicts(),
            conflict: router.conflict().map(|(at, conflict)| Conflict {
                seconds: ago(at),
                what: conflict.to_string(),
            }),
        }
    }
}
