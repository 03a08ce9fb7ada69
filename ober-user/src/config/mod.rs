//! The configuration as the program sees it: valid by construction. [`raw`] is the file as written; [`Config::load`]
//! makes one of these from it or says which line to mend.
//!
//! ```text
//! text/source (files, places in them) -> text/tree (parsed, text/env put in, merged) -> raw
//! raw -> judge (collects every fault) with sections/ (a file for each section) -> Config
//! load       the whole way            location   where an instance is, although its files have a mistake
//! remarks    allowed and not wise     schema     the JSON schema        vip_port   the services as the kernel has them
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
    location::Whereabouts,
    remarks::Remark,
    schema::schema,
    sections::{
        backend::{Backend, Balance, ProxyVersion, Timeouts, WhenFull},
        check::Check,
        listener::{Access, Listener, Protocol},
        route::{Names, Route, Stranger},
        rules::Rule,
        service::{ClientTimeouts, Service},
        throttle::Throttle,
    },
    text::{
        env::Env,
        error::{Error, Place, Problem, Report},
        files::{File, Written},
        keys::{Difference, Keys, without_secrets},
        scalar::{Rate, period},
    },
    vip_port::KernelService,
};

mod judge;
mod load;
mod location;
mod raw;
mod remarks;
mod schema;
pub mod sections;
pub mod text;
mod vip_port;

#[cfg(test)]
pub(crate) mod tests;

/// The main file, unless a command names another.
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
    /// Access lists by name; the number a list has in the kernel is its place in this order.
    pub lists: BTreeMap<String, List>,
    pub services: Vec<Service>,
    pub backends: BTreeMap<String, Backend>,
    pub gate: sections::gate::Gate,
    /// VIPs that no VRRP instance has are announced to these neighbours; `None`: to nobody.
    pub bgp: Option<crate::protocols::bgp::configured::Bgp>,
    pub bfd: sections::bfd::Bfd,
    pub vrrp: Option<crate::protocols::vrrp::configured::Vrrp>,
    /// Who issues the certificates that listeners want issued.
    pub acme: Option<sections::acme::Acme>,
    /// It was in force before, and is to be again: certificates and keys that cannot be read cost what depends on them, and
    /// nothing else.
    pub forgiving: bool,
}

/// This machine and where Ober keeps its things.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Names the pins, the state and the control socket; several instances may share a machine.
    pub instance: String,
    /// Interfaces the XDP program is attached to. Not empty.
    pub interfaces: Vec<String>,
    pub xdp: XdpMode,
    pub steer: Steer,
    pub vip_interface: VipInterface,
    /// The list of routers, when routing protocols are to be accepted from it alone.
    pub routers: Option<String>,
    /// Secret of the flow hash; `None`: made at the first start and kept in `state`.
    pub cluster_key: Option<ClusterKey>,
    /// Survives a reboot: lists, their sources, the cluster key.
    pub state: PathBuf,
    /// Does not: control socket, generated HAProxy configuration, worker records.
    pub run: PathBuf,
    /// The BPF file system; pins live in `<bpffs>/ober/<instance>`.
    pub bpffs: PathBuf,
    /// Metrics, health and statistics. Always a loopback address.
    pub metrics: SocketAddr,
    /// One drop in this many may be reported as an event; a power of two, 0: none.
    pub sample: u32,
    /// So many drops a second and CPU are reported at most.
    pub event_rate: u32,
    pub fragments: Fragments,
    /// Compile the logging of rare packets into the kernel programs.
    pub packet_log: bool,
    /// Configurations that were in force and are kept; at least 2.
    pub history: usize,
    /// What others change by hand is looked for this often; zero: never.
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

/// Where missing VIP addresses are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VipInterface {
    /// On a dummy interface of our own ([`Node::dummy`]), or `lo` where the kernel has no such thing.
    Auto,
    Named(String),
    /// Nowhere: they are the administrator's.
    Unmanaged,
}

impl Node {
    /// The name of the instance's dummy interface. The kernel takes at most 15 letters.
    pub fn dummy(&self) -> String {
        let instance = &self.instance;
        if instance.len() <= 10 {
            return format!("ober-{instance}");
        }
        // Two instances with a long common beginning are not to share an interface.
        let hash = hash::fnv1a(instance.bytes());
        format!("ober-{:010x}", hash & 0xff_ffff_ffff)
    }
}

impl Config {
    /// The VIPs of all services whose addresses VRRP does not move, each once.
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
    /// One entry a worker: the CPU it is pinned to. 1 to 64 entries.
    pub cpus: Vec<u32>,
    pub haproxy: PathBuf,
    /// Unprivileged user and group HAProxy runs as; `None`: as the daemon.
    pub user: Option<String>,
    pub group: Option<String>,
    /// Connections one worker accepts at once.
    pub max_connections: u32,
    /// How long a replaced worker may finish its connections.
    pub drain: Duration,
    /// First pause before a crashed worker is started again; doubles up to `backoff_max`.
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
    /// Names or addresses one list may expand to.
    pub expansion: usize,
    /// Steered packets that may wait for a CPU.
    pub steer_queue: u32,
    /// Servers of one backend, and servers that one source may name.
    pub servers: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Expressions in force until `acl sync` replaces them.
    pub sources: Vec<String>,
}
