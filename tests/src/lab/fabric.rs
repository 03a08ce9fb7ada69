//! The routed topology: a client behind a router, two ingress nodes behind the router, each on a link of its own, and a storage
//! host behind both nodes. The router reaches the VIPs by the routes that nodes announce to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Host, Lab};

/// The router's AS.
pub const ROUTER_AS: u32 = 65000;
/// The AS of node 0; the next node has the next one.
pub const NODE_AS: u32 = 65001;

/// Address of the router on the link to a node, counted from 0.
pub const fn router4(node: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 78, 1 + node, 1))
}

/// Address of a node on its link to the router, counted from 0.
pub const fn node4(node: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 78, 1 + node, 2))
}

/// The IPv6 address of the router on the link to a node.
pub const fn router6(node: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd78, 1 + node as u16, 0, 0, 0, 0, 0, 1))
}

/// The IPv6 address of a node on its link to the router.
pub const fn node6(node: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd78, 1 + node as u16, 0, 0, 0, 0, 0, 2))
}

/// The storage host, from either node.
pub const STORAGE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 100, 2));

/// The topology. Hosts are dropped first, the laboratory last.
#[derive(Debug)]
pub struct Fabric {
    pub client: Host,
    pub router: Host,
    pub nodes: [Host; 2],
    pub storage: Host,
    pub lab: Lab,
}

impl Fabric {
    pub fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let router = lab.host("router")?;
        for (key, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            // Ports take part in the choice of a path, as on every router in a data centre.
            ("net.ipv4.fib_multipath_hash_policy", "1"),
            ("net.ipv6.fib_multipath_hash_policy", "1"),
        ] {
            router.sysctl(key, value)?;
        }
        let storage = storage(&lab)?;
        let nodes = [
            node(&lab, &router, &storage, 0)?,
            node(&lab, &router, &storage, 1)?,
        ];
        let client = client(&lab, &router)?;
        Ok(Self {
            client,
            router,
            nodes,
            storage,
            lab,
        })
    }
}

fn node(lab: &Lab, router: &Host, storage: &Host, number: u8) -> Result<Host> {
    let host = lab.host(&format!("node{number}"))?;
    router.ip(&[
        format!(
            "link add n{number} type veth peer name in0 netns {}",
            host.pid()
        ),
        format!("addr add {}/24 dev n{number}", router4(number)),
        format!("addr add {}/64 dev n{number} nodad", router6(number)),
        format!("link set n{number} up"),
    ])?;
    router.full_checksums(&format!("n{number}"))?;
    behind(storage, &host, number)?;
    host.ip(&[
        format!("addr add {}/24 dev in0", node4(number)),
        format!("addr add {}/64 dev in0 nodad", node6(number)),
        "link set in0 up".to_owned(),
        format!("route add default via {}", router4(number)),
        format!("route add ::/0 via {}", router6(number)),
    ])?;
    Ok(host)
}

/// The storage host, with a switch of its own.
pub(super) fn storage(lab: &Lab) -> Result<Host> {
    let storage = lab.host("storage")?;
    storage.ip(&[
        "link add br0 type bridge".to_owned(),
        "link set br0 up".to_owned(),
        format!("addr add {STORAGE}/24 dev br0"),
    ])?;
    Ok(storage)
}

/// Connects a node, counted from 0, to the storage host.
pub(super) fn behind(storage: &Host, node: &Host, number: u8) -> Result<()> {
    storage.ip(&[
        format!(
            "link add s{number} type veth peer name st0 netns {}",
            node.pid()
        ),
        format!("link set s{number} master br0 up"),
    ])?;
    node.ip(&[
        format!("addr add 10.78.100.{}/24 dev st0", 10 + number),
        "link set st0 up".to_owned(),
    ])
}

fn client(lab: &Lab, router: &Host) -> Result<Host> {
    let host = lab.host("client")?;
    router.ip(&[
        format!("link add c0 type veth peer name cl0 netns {}", host.pid()),
        "addr add 10.78.0.1/24 dev c0".to_owned(),
        "addr add fd78::1/64 dev c0 nodad".to_owned(),
        "link set c0 up".to_owned(),
    ])?;
    host.ip(&[
        "addr add 10.78.0.11/24 dev cl0",
        "addr add fd78::11/64 dev cl0 nodad",
        "link set cl0 up",
        "route add default via 10.78.0.1",
        "route add ::/0 via fd78::1",
    ])?;
    host.full_checksums("cl0")?;
    Ok(host)
}
