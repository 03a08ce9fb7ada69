//! The data plane on the real kernel.
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use ober_user::{
    config::{Config, Limits, Node, Resolve, Steer, Workers, XdpMode},
    dataplane::{Plane, detach},
};

fn config(instance: &str) -> Config {
    Config {
        node: Node {
            instance: instance.into(),
            interfaces: vec!["in0".into()],
            xdp: XdpMode::Auto,
            steer: Steer::Auto,
            vip_interface: None,
            routers: None,
            cluster_key: None,
            state: PathBuf::from("/nonexistent"),
            run: PathBuf::from("/nonexistent"),
            bpffs: PathBuf::from("/sys/fs/bpf"),
            metrics: SocketAddr::from(([127, 0, 0, 1], 8404)),
            sample: 1,
            packet_log: false,
        },
        workers: Workers {
            cpus: vec![0, 1],
            haproxy: PathBuf::from("haproxy"),
            user: None,
            group: None,
            max_connections: 1000,
            drain: Duration::from_secs(1),
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
        },
        limits: Limits {
            ipv4_pages: 64,
            ipv6_hosts: 1024,
            ipv6_prefixes: 64,
            expansion: 1000,
        },
        resolve: Resolve {
            interval: Duration::ZERO,
            timeout: Duration::from_secs(1),
            concurrency: 4,
            slurm_conf: None,
        },
        lists: BTreeMap::new(),
        services: Vec::new(),
        backends: BTreeMap::new(),
    }
}

struct Pins(String);

impl Drop for Pins {
    fn drop(&mut self) {
        detach(std::path::Path::new("/sys/fs/bpf"), &self.0).unwrap();
    }
}

#[test]
fn the_programs_pass_the_verifier_and_their_maps_are_adopted_by_the_next_start() {
    let instance = format!("load-{}", std::process::id());
    let _pins = Pins(instance.clone());
    let first = Plane::load(&config(&instance), [1, 2]).unwrap();
    assert!(!first.adopted);
    drop(first);
    assert!(Plane::load(&config(&instance), [1, 2]).unwrap().adopted);
    assert!(
        !Plane::load(&config(&instance), [3, 4]).unwrap().adopted,
        "another key must not adopt"
    );
}
