//! The section `[node]`.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::config::{
    ClusterKey, Fragments, List, Node, Steer, VipInterface, XdpMode,
    judge::Judge,
    raw,
    text::{
        notation::{At, Key, Secret},
        secret::Kind,
        source::{Fault, Span},
        tree::suggestion,
    },
};

const CLUSTER_KEY: Kind = Kind {
    key: "cluster_key",
    what: "the cluster key",
    make: "make it with `(umask 077; openssl rand -hex 16 > FILE)`, the same on all nodes",
};

impl Judge<'_> {
    pub(crate) fn node(&mut self, node: raw::Node, lists: &BTreeMap<String, List>) -> Node {
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
