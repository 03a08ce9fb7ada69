//! The section `[node]`.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        List,
        judge::Judge,
        text::{
            error::suggestion,
            notation::{At, Key, Period, Secret},
            secret::Kind,
            source::{Fault, Span},
        },
    },
    system::hash,
};

/// This machine and where Ober keeps its things.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Node")]
pub(crate) struct Raw {
    /// Names the pins, the state and the control socket; several instances may share a machine.
    instance: Key<String>,
    /// Interfaces clients come in by; the XDP program is attached to each. Must be written.
    interfaces: Vec<At<String>>,
    /// How XDP is attached: `auto` is native, and generic where the driver cannot.
    xdp: Key<XdpMode>,
    /// Send packets to their worker's CPU; `auto`: unless every interface has as many receive queues as there are workers or is a veth.
    steer: Key<Steer>,
    /// Where missing VIP addresses are added; `auto`: on a dummy interface, or `lo` where the kernel has none; empty: they
    /// are the administrator's.
    vip_interface: Key<String>,
    /// The list of routers. When written, routing protocols are accepted from it alone.
    routers: Key<String>,
    /// Secret of the flow hash, 32 hexadecimal digits, as `"${NAME}"`. Left out: made at the first start.
    cluster_key: Key<Secret>,
    /// A file that holds the cluster key, not readable by every account.
    cluster_key_file: Key<String>,
    /// Directory for what survives a reboot.
    state: Key<String>,
    /// Directory for what does not.
    run: Key<String>,
    /// The BPF file system.
    bpffs: Key<String>,
    /// Metrics, health and statistics; a loopback address and port.
    metrics: Key<SocketAddr>,
    /// One drop in this many may be reported as an event: a power of two, or 0 for none.
    sample: Key<u32>,
    /// At most so many drops a second are reported on each CPU.
    event_rate: Key<u32>,
    /// Sources that may send fragments to a VIP: `listed` are those on an access list of one of its services.
    fragments: Key<Fragments>,
    /// Compile the logging of rare packets into the kernel programs.
    packet_log: Key<bool>,
    /// Configurations that were in force and are kept for `history` and `rollback`: 2 to 10,000.
    history: Key<u32>,
    /// Servers in the workers, maps, programs and addresses are compared with what they are to be this often, and set
    /// right; "0": never.
    reconcile: Key<Period>,
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

const CLUSTER_KEY: Kind = Kind {
    key: "cluster_key",
    what: "the cluster key",
    make: "make it with `(umask 077; openssl rand -hex 16 > FILE)`, the same on all nodes",
};

impl Judge<'_> {
    pub(crate) fn node(&mut self, node: Raw, lists: &BTreeMap<String, List>) -> Node {
        if let Some(at) = &node.instance.0 {
            self.name("an instance", &at.value, &at.span);
        }
        let instance = node.instance.or("main".to_owned());
        let interfaces = self.interfaces(node.interfaces);
        let vip_interface = self.vip_interface(node.vip_interface);
        let default = |parent: &str| PathBuf::from(format!("{parent}/{instance}"));
        let state = node.state.0.map(|at| self.path(&at.value));
        let run = node.run.0.map(|at| self.word_path(at));
        let (state, run) = (
            state.unwrap_or_else(|| default("/var/lib/ober")),
            run.unwrap_or_else(|| default("/run/ober")),
        );
        Node {
            interfaces,
            xdp: node.xdp.or(XdpMode::Auto),
            steer: node.steer.or(Steer::Auto),
            vip_interface,
            routers: node.routers.0.map(|at| self.list(at, lists)),
            cluster_key: self.cluster_key(node.cluster_key, node.cluster_key_file),
            state,
            run,
            bpffs: self.path(&node.bpffs.or("/sys/fs/bpf".to_owned())),
            metrics: self.metrics(node.metrics),
            sample: self.sample(node.sample),
            event_rate: self.number("event_rate", node.event_rate, 100, 1..=1_000_000),
            fragments: node.fragments.or(Fragments::Listed),
            packet_log: node.packet_log.or(false),
            history: self.history(node.history),
            reconcile: self.period_or_none("reconcile", node.reconcile, Duration::from_secs(30)),
            instance,
        }
    }

    fn interfaces(&mut self, written: Vec<At<String>>) -> Vec<String> {
        if written.is_empty() {
            let help =
                "name the interfaces clients come in by, for instance `interfaces = [\"eth1\"]`";
            self.refuse(Fault::new(None, "`interfaces` is missing in [node]").help(help));
        }
        let mut seen = BTreeMap::<&str, &Span>::new();
        for at in &written {
            self.interface(at);
            if let Some(first) = seen.insert(&at.value, &at.span) {
                let message = format!("interface `{}` is written twice", at.value);
                self.refuse(Fault::new(at.span.clone(), message).first(first.clone()));
            }
        }
        written.into_iter().map(|at| at.value).collect()
    }

    fn vip_interface(&mut self, key: Key<String>) -> VipInterface {
        match key.0 {
            None => VipInterface::Auto,
            Some(at) if at.value == "auto" => VipInterface::Auto,
            Some(at) if at.value.is_empty() => VipInterface::Unmanaged,
            Some(at) => {
                self.interface(&at);
                VipInterface::Named(at.value)
            }
        }
    }

    /// The kernel's rule for interface names.
    pub(super) fn interface(&mut self, at: &At<String>) {
        let name = at.value.as_str();
        let bad = |letter: char| {
            letter == '/' || letter == ':' || letter.is_whitespace() || letter.is_control()
        };
        if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
            let message = format!("`{name}` is no name of an interface");
            self.refuse(Fault::new(at.span.clone(), message).help("see `ip -brief link`"));
        }
    }

    /// The name of a list, which must exist.
    pub(super) fn list(&mut self, at: At<String>, lists: &BTreeMap<String, List>) -> String {
        if !lists.contains_key(&at.value) {
            let known: Vec<&str> = lists.keys().map(String::as_str).collect();
            let message = format!("there is no list `{}`", at.value);
            self.refuse(Fault::new(at.span, message).help(suggestion(&at.value, &known)));
        }
        at.value
    }

    fn cluster_key(&mut self, key: Key<Secret>, file: Key<String>) -> Option<ClusterKey> {
        let secret = self.secret(&CLUSTER_KEY, key, file)?;
        if secret.missing {
            return None;
        }
        let Some(words) = cluster_words(secret.text.trim()) else {
            let what = secret.origin;
            let message = format!(
                "{what} is not a cluster key: 32 hexadecimal digits, no half of them all zero"
            );
            let help = "make one with `openssl rand -hex 16`";
            self.refuse(Fault::new(secret.span, message).help(help));
            return None;
        };
        Some(words)
    }

    /// A history needs at least the configuration in force and the one before.
    fn history(&mut self, key: Key<u32>) -> usize {
        let most = self.number("history", key, 50, 2..=10_000);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    fn metrics(&mut self, key: Key<SocketAddr>) -> SocketAddr {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8404));
        if let Some(at) = key.0.as_ref().filter(|at| !at.value.ip().is_loopback()) {
            let message = format!(
                "`metrics` must be a loopback address, {} is not",
                at.value.ip()
            );
            let help = format!(
                "write \"127.0.0.1:{}\"; metrics and statistics are for this machine only",
                at.value.port()
            );
            self.refuse(Fault::new(at.span.clone(), message).help(help));
        }
        key.or(default)
    }

    fn sample(&mut self, key: Key<u32>) -> u32 {
        if let Some(at) = key
            .0
            .as_ref()
            .filter(|at| at.value != 0 && !at.value.is_power_of_two())
        {
            let help = at
                .value
                .checked_next_power_of_two()
                .map_or(1 << 31, |above| above);
            let message = format!(
                "`sample` is {}, but must be a power of two, or 0 for none",
                at.value
            );
            self.refuse(
                Fault::new(at.span.clone(), message).help(format!("the next one is {help}")),
            );
        }
        key.or(1)
    }
}

fn cluster_words(text: &str) -> Option<ClusterKey> {
    if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let word = |digits| {
        u64::from_str_radix(digits, 16)
            .ok()
            .filter(|&word| word != 0)
    };
    let (high, low) = text.split_at(16);
    Some(ClusterKey([word(high)?, word(low)?]))
}
