//! The configuration for the program: valid by construction. [`raw`] is the file as written; [`Config::load`] makes a valid
//! configuration of it or names the lines to correct.
//!
//! ```text
//! text/source (files, places in them) -> text/tree (parsed, text/env put in, merged) -> raw
//! raw -> judge (collects every fault) with sections/ (a file for each section) -> Config
//! load       the whole way            location   the directories of an instance, even when its files have mistakes
//! paths      every file and directory of an instance
//! remarks    allowed but unwise       schema     the JSON schema        vip_port   every VIP and port of the services
//! ```
//! It never writes a file, never asks the network and never starts a program.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{names::resolve::Resolve, system::hash};

pub use self::{
    load::base,
    location::Location,
    remarks::Remark,
    schema::schema,
    sections::{
        backend::{Backend, Balance, ProxyVersion, Timeouts, WhenFull},
        check::Check,
        listener::{Access, Listener, Protocol},
        route::{Names, Route, UnknownName},
        rules::Rule,
        service::{ClientTimeouts, Service},
        throttle::Throttle,
    },
    text::{
        env::Env,
        error::{Error, Excerpt, Problem, Report},
        files::{File, Texts},
        keys::{Difference, Keys, without_secrets},
        notation::{Rate, period},
    },
    vip_port::VipListener,
};

mod judge;
mod load;
mod location;
pub mod paths;
mod raw;
mod remarks;
mod schema;
pub mod sections;
pub mod text;
mod vip_port;

#[cfg(test)]
pub(crate) mod tests;

/// The main file, unless a command names another one.
pub const MAIN: &str = "/etc/ober/ober.toml";
/// The list that `acl sync --frontend-http` fills. Always exists.
pub const FRONTEND_HTTP: &str = "frontend-http";
/// The list that `acl sync --routers` fills. Always exists.
pub const ROUTERS: &str = "routers";

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub node: Node,
    pub workers: Workers,
    pub limits: Limits,
    pub resolve: Resolve,
    /// Access lists by name.
    pub lists: BTreeMap<String, List>,
    pub services: Vec<Service>,
    pub backends: BTreeMap<String, Backend>,
    pub gate: sections::gate::Gate,
    /// VIPs without a VRRP instance are announced to these neighbours; `None`: to none.
    pub bgp: Option<crate::protocols::bgp::configured::Bgp>,
    pub bfd: sections::bfd::Bfd,
    pub vrrp: Option<crate::protocols::vrrp::configured::Vrrp>,
    /// The authority that issues the certificates of listeners with `acme`.
    pub acme: Option<sections::acme::Acme>,
    /// This configuration was in force before and comes back: an unreadable certificate or key disables only what depends on
    /// it.
    pub forgiving: bool,
}

/// This machine and the directories of Ober.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Names the pins, the state and the control socket; a machine may have several instances.
    pub instance: String,
    /// Interfaces that the XDP program is attached to. Not empty.
    pub interfaces: Vec<String>,
    pub xdp: XdpMode,
    pub steer: Steer,
    pub vip_interface: VipInterface,
    /// The list of routers, when routing protocols are accepted from that list only.
    pub routers: Option<String>,
    /// Secret of the flow hash; `None`: generated at the first start and kept in `state`.
    pub cluster_key: Option<ClusterKey>,
    /// Directory that survives a reboot: lists, their sources, the cluster key.
    pub state: PathBuf,
    /// Directory that a reboot may empty: control socket, generated HAProxy configuration, worker records.
    pub run: PathBuf,
    /// The BPF file system; pins live in `<bpffs>/ober/<instance>`.
    pub bpffs: PathBuf,
    /// Metrics, health and statistics. Always a loopback address.
    pub metrics: SocketAddr,
    /// One in this many drops may be reported as an event; a power of two, 0: none.
    pub sample: u32,
    /// The most drops reported for each CPU and second.
    pub event_rate: u32,
    pub fragments: Fragments,
    /// Compile the logging of rare packets into the kernel programs.
    pub packet_log: bool,
    /// How many past configurations are kept; at least 2.
    pub history: usize,
    /// Time between two searches for changes made by others; zero: never.
    pub reconcile: Duration,
}

/// Two words, neither of them zero. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClusterKey(pub [u64; 2]);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ClusterKey(secret)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Native, and generic where the driver cannot.
    Auto,
    Native,
    Generic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Steer {
    /// By CPU, unless every interface has at least as many receive queues as there are workers, or packets would lose
    /// what the driver knows of them.
    Auto,
    /// By CPU, unless packets would lose what the driver knows of them.
    Cpu,
    Off,
    /// By CPU, whatever packets lose.
    Always,
}

/// Who may send fragments to a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fragments {
    /// Sources on one of the VIP's access lists.
    Listed,
    All,
}

/// Where the daemon adds missing VIP addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VipInterface {
    /// On a dummy interface of the daemon ([`Node::dummy`]), or `lo` where the kernel has none.
    Auto,
    Named(String),
    /// Nowhere: the administrator adds them.
    Unmanaged,
}

impl Node {
    /// The name of the instance's dummy interface. The kernel accepts at most 15 letters.
    pub fn dummy(&self) -> String {
        let instance = &self.instance;
        if instance.len() <= 10 {
            return format!("ober-{instance}");
        }
        // Two instances with a long common prefix must not share an interface.
        let hash = hash::fnv1a(instance.bytes());
        format!("ober-{:010x}", hash & 0xff_ffff_ffff)
    }
}

impl Config {
    /// The VIPs of all services, each once, without those that VRRP moves.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        let vips = self.services.iter().flat_map(|service| &service.vips);
        let mut vips: BTreeSet<IpAddr> = vips.copied().collect();
        for moving in self
            .vrrp
            .iter()
            .flat_map(crate::protocols::vrrp::configured::Vrrp::vips)
        {
            vips.remove(&moving);
        }
        vips.into_iter()
    }
}

/// The HAProxy processes.
#[derive(Clone, Debug, PartialEq)]
pub struct Workers {
    /// One entry for each worker: the CPU it is pinned to. 1 to 64 entries.
    pub cpus: Vec<u32>,
    pub haproxy: PathBuf,
    /// Unprivileged user and group that HAProxy runs as; `None`: those of the daemon.
    pub user: Option<String>,
    pub group: Option<String>,
    /// Connections that one worker accepts at a time.
    pub max_connections: u32,
    /// How long a replaced worker may take to finish its connections.
    pub drain: Duration,
    /// Pause before a crashed worker is started again; doubles up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

/// Sizes fixed when the maps are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pages of 65,536 IPv4 addresses, 8 KiB each.
    pub ipv4_pages: u32,
    /// IPv6 host addresses over all lists.
    pub ipv6_hosts: u32,
    /// IPv6 prefixes over all lists.
    pub ipv6_prefixes: u32,
    /// Names or addresses that one list may expand to.
    pub expansion: usize,
    /// Steered packets that may wait for a CPU.
    pub steer_queue: u32,
    /// Servers of one backend, and servers that one source may return.
    pub servers: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Expressions that are in force until `acl sync` replaces them.
    pub sources: Vec<String>,
}
