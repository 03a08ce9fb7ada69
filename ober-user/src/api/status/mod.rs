//! The status of a node: one set of types behind `status`, `counters`, the metrics and the JSON of each.
//!
//! A file for each part: `backends`, `bfd`, `bgp`, `certificates`, `gate`, `vrrp`. A key never changes its name or its meaning
//! without a line in CHANGELOG.md: scripts read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::dataplane::interface::{Features, refusal};

pub mod backends;
pub mod bfd;
pub mod bgp;
pub mod certificates;
pub mod gate;
pub mod vrrp;

pub use crate::{
    dataplane::{
        counters::{Count, Counters, ServiceCounters},
        events::DropEvent,
        facts::{Map, Program},
    },
    haproxy::Stage,
    lists::Summary as List,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub instance: String,
    /// The daemon; `None` when this was read from the pins alone.
    pub pid: Option<u32>,
    /// Seconds since 1970.
    pub started: Option<u64>,
    /// Programs and libraries that the daemon runs and that were replaced on disk since.
    #[serde(default)]
    pub outdated: BTreeSet<String>,
    /// Are all interfaces attached and is a worker in every ring? `gate` says whether VIPs are served.
    pub healthy: bool,
    /// The configuration in force; `None`: no daemon runs.
    pub configuration: Option<Configuration>,
    /// What is wrong with the files of the state and the run directory.
    #[serde(default)]
    pub disk: crate::system::store::Disk,
    pub reconcile: Reconcile,
    pub data_plane: DataPlane,
    pub services: Vec<Service>,
    pub workers: Vec<Worker>,
    pub lists: Vec<List>,
    pub backends: BTreeMap<String, backends::Backend>,
    pub certificates: certificates::Certificates,
    pub gate: Vec<gate::Gate>,
    pub bgp: Vec<bgp::Neighbour>,
    pub bfd: bfd::Bfd,
    pub vrrp: vrrp::Vrrp,
}

impl Status {
    /// Is the node healthy, and does it serve at least one of its VIPs, if it has any?
    pub fn is_healthy(&self) -> bool {
        self.healthy && !gate::Served::of(&self.gate).is_none()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Its number in `history`; `None`: it could not be kept.
    pub snapshot: Option<u64>,
    /// Equal for equal texts.
    pub hash: String,
    /// The program that workers are started with, as it was when this was put in force.
    pub haproxy: Option<crate::haproxy::version::Program>,
    /// Is the node not what this configuration says? A change failed, and so did the way back.
    #[serde(default)]
    pub doubt: Option<Doubt>,
    /// A snapshot is in force, since the files on disk could not be used at the start.
    #[serde(default)]
    pub fallback: Option<Fallback>,
    /// What it refers to and could not be used at the start; everything that needs it is left out.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// What could not be put back after a change that failed. The next `reload`, `apply` or `rollback` puts everything in force
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// In seconds since 1970.
    pub since: u64,
    /// The steps back that failed, and why.
    pub failures: Vec<String>,
}

impl Doubt {
    /// What it means, for a person.
    pub const WORDS: &str =
        "the node is not as this configuration says: a change failed, and so did the way back";
}

/// A snapshot of the history that is in force because the files on disk could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// Its number.
    pub snapshot: u64,
    /// When it was put in force first, in seconds since 1970.
    pub kept: u64,
    /// What is wrong with the files.
    pub error: String,
}

/// What the passes of `node.reconcile` found and set right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// When the last pass ended, in seconds since 1970; `None`: there was none yet.
    pub last: Option<u64>,
    /// How long it took.
    pub microseconds: u64,
    /// Things that were set right, by their kind.
    pub mended: BTreeMap<String, u64>,
    /// What could not be compared or set right.
    pub failures: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataPlane {
    pub interfaces: Vec<Interface>,
    /// Did this daemon find the maps pinned and go on with them?
    pub adopted: bool,
    /// Are packets steered to the worker's CPU?
    pub steering: bool,
    /// Steered packets that were lost on their way; `None`: the kernel does not say.
    pub steer_dropped: Option<u64>,
    /// Packets that were dropped because the program could not read their headers.
    pub unreadable: u64,
    /// Why packets are steered, or are not; `None`: no daemon runs.
    #[serde(default)]
    pub steering_reason: Option<String>,
    /// Packets that drivers dropped at XDP although no program asked for it, since the start of the daemon.
    #[serde(default)]
    pub unexplained_drops: u64,
    pub programs: Vec<Program>,
    pub maps: Vec<Map>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    /// Is there no interface of that name? It is taken when it comes.
    #[serde(default)]
    pub away: bool,
    /// Is our program attached? `None`: it could not be asked.
    pub attached: Option<bool>,
    /// Native XDP, or generic?
    pub native: bool,
    /// Receive queues in use; 0: unknown.
    pub queues: u32,
    /// `None`: the kernel does not say.
    #[serde(default)]
    pub driver: Option<String>,
    #[serde(default)]
    pub mtu: u32,
    /// Has the program met packets here? `None`: too few have come in to say.
    #[serde(default)]
    pub runs: Option<bool>,
    /// Why XDP is generic although the driver was to run it.
    #[serde(default)]
    pub why_generic: Option<WhyGeneric>,
    /// Packets the driver dropped at XDP, for whatever reason; `None`: it does not count them.
    #[serde(default)]
    pub driver_drops: Option<u64>,
}

impl Interface {
    /// With the features that the kernel reports.
    pub(crate) fn of(
        features: &Features,
        native: bool,
        why_generic: Option<&refusal::WhyGeneric>,
    ) -> Self {
        Self {
            name: features.name.clone(),
            away: false,
            attached: None,
            native,
            queues: features.queues.map_or(0, |queues| queues.now),
            driver: features.driver.clone(),
            mtu: features.mtu,
            runs: None,
            why_generic: why_generic.map(|it| WhyGeneric {
                since: it.since,
                reason: it.cause.words(),
                advice: refusal::advice(&it.cause, features),
            }),
            driver_drops: None,
        }
    }

    /// One that is not here.
    pub(crate) fn away(name: &str) -> Self {
        let features = Features {
            name: name.to_owned(),
            ..Features::default()
        };
        Self {
            away: true,
            attached: Some(false),
            ..Self::of(&features, false, None)
        }
    }

    /// Is there no sign of a fault?
    pub fn is_well(&self) -> bool {
        self.attached != Some(false) && self.runs != Some(false)
    }
}

/// Why the kernel runs the program, and not the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyGeneric {
    /// Seconds since 1970.
    pub since: u64,
    pub reason: String,
    /// What may put it into the driver.
    pub advice: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Counter index in the kernel.
    pub index: u32,
    pub name: String,
    pub vip: IpAddr,
    pub port: u16,
    /// The access list; `None`: open.
    pub list: Option<String>,
    /// Is the VIP an address of this node, so that the kernel takes its packets?
    pub vip_present: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub number: usize,
    pub cpu: Option<u32>,
    pub pid: Option<i32>,
    pub state: Stage,
    /// Seconds in this state.
    pub seconds: u64,
    pub in_ring: bool,
    /// How often its process ended although the daemon did not ask for it.
    pub restarts: u32,
    pub last_exit: Option<String>,
    /// Replaced processes that finish their connections.
    pub draining: Vec<i32>,
    /// The same processes, with what each still has.
    #[serde(default)]
    pub finishing: Vec<Finishing>,
    /// Processes of it that run as root: an older daemon started them, or there is no account for them.
    #[serde(default)]
    pub as_root: Vec<i32>,
    /// Programs and libraries it runs that were replaced on disk since: an upgrade is not in service yet.
    #[serde(default)]
    pub outdated: BTreeSet<String>,
    /// Processes of it in the control group of the daemon's service: a restart of the service ends them.
    #[serde(default)]
    pub ends_with_service: Vec<i32>,
}

/// A process that finishes its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finishing {
    pub pid: i32,
    /// Since when, in seconds since 1970. It takes no new connections: each that it has is at least as old.
    pub since: u64,
    /// Connections of clients; `None`: not counted yet, or the kernel does not say.
    pub connections: Option<usize>,
}
