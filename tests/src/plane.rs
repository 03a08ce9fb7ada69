//! A data plane without an interface: its maps and programs on the real kernel, for tests and benchmarks.

use std::{
    collections::BTreeMap, net::SocketAddr, path::Path, sync::atomic::AtomicU32, time::Duration,
};

use ober_user::{
    config::{Config, Fragments, Limits, Node, Steer, VipInterface, Workers, XdpMode},
    dataplane::{Maps, Plane, detach},
    names::resolve::Resolve,
};

/// Small enough to be filled by a test.
pub const LIMITS: Limits = Limits {
    ipv4_pages: 16,
    ipv6_hosts: 256,
    ipv6_prefixes: 8,
    expansion: 1000,
    steer_queue: 2048,
    servers: 1000,
};

const BPFFS: &str = "/sys/fs/bpf";
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A configuration with nothing in it but sizes.
pub fn config(instance: &str, limits: Limits) -> Config {
    Config {
        forgiving: false,
        node: Node {
            instance: instance.into(),
            interfaces: vec!["in0".into()],
            xdp: XdpMode::Auto,
            steer: Steer::Auto,
            vip_interface: VipInterface::Unmanaged,
            routers: None,
            cluster_key: None,
            state: "/nonexistent".into(),
            run: "/nonexistent".into(),
            bpffs: BPFFS.into(),
            metrics: SocketAddr::from(([127, 0, 0, 1], 8404)),
            sample: 1,
            event_rate: 100,
            fragments: Fragments::Listed,
            packet_log: false,
            history: 2,
            reconcile: std::time::Duration::ZERO,
        },
        workers: Workers {
            cpus: vec![0, 1],
            haproxy: "haproxy".into(),
            user: None,
            group: None,
            max_connections: 1000,
            drain: Duration::from_secs(1),
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
        },
        limits,
        resolve: Resolve {
            interval: Duration::ZERO,
            timeout: Duration::from_secs(1),
            concurrency: 4,
            slurm_conf: None,
        },
        lists: BTreeMap::new(),
        services: Vec::new(),
        backends: BTreeMap::new(),
        gate: ober_user::config::sections::gate::Gate::default(),
        bgp: None,
        bfd: ober_user::config::sections::bfd::Bfd::default(),
        vrrp: None,
        acme: None,
    }
}

/// A loaded plane whose pins go when it is dropped.
pub struct Lists {
    pub plane: Plane,
    limits: Limits,
    instance: String,
}

impl Lists {
    /// # Panics
    /// When the programs cannot be loaded: the test that asked cannot go on.
    pub fn new(name: &str) -> Self {
        Self::with(name, LIMITS)
    }

    /// # Panics
    /// As [`Lists::new`].
    pub fn with(name: &str, limits: Limits) -> Self {
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let instance = format!("{name}-{}-{number}", std::process::id());
        Self {
            plane: load(&instance, limits),
            limits,
            instance,
        }
    }

    /// Loads it once more on what is pinned, as the next start does.
    ///
    /// # Panics
    /// As [`Lists::new`], and when what is pinned is not taken over.
    pub fn again(&mut self) {
        self.plane = load(&self.instance, self.limits);
        assert!(self.plane.adopted, "the pinned maps are taken over");
    }

    pub fn maps(&mut self) -> &mut Maps {
        &mut self.plane.maps
    }
}

#[expect(clippy::expect_used, reason = "part of a test")]
fn load(instance: &str, limits: Limits) -> Plane {
    let key = [0x1234_5678_9abc_def1, 0xfeed_beef_dead_cafe];
    Plane::load(&config(instance, limits), key)
        .expect("load the data plane (root? `cargo xtask setup`?)")
}

impl Drop for Lists {
    fn drop(&mut self) {
        if let Err(error) = detach(Path::new(BPFFS), &self.instance) {
            eprintln!("{error}");
        }
    }
}
