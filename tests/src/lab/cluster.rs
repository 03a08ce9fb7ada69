//! The standard topology: clients and an ingress node on one switch, a storage host behind the node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Host, Lab};

/// The VIP that clients use.
pub const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 9, 1));
/// The IPv6 VIP that clients use.
pub const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 9, 0, 0, 0, 0, 0, 1));

/// Number in its network of the first client; the node is number 1.
const FIRST_CLIENT: u8 = 11;

/// The address of a client, counted from 0.
pub const fn client4(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, FIRST_CLIENT + number))
}

/// The IPv6 address of a client, counted from 0: the same digits as its IPv4 address, so client 0 is `fd77::11`.
pub const fn client6(number: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(
        0xfd77,
        0,
        0,
        0,
        0,
        0,
        0,
        0x11 + number as u16,
    ))
}

/// The address of the storage host.
pub const fn storage4() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 1, 2))
}

/// The IPv6 address of the storage host.
pub const fn storage6() -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 2))
}

/// What varies between clusters.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// 1 to 8.
    pub clients: u8,
    /// Receive and transmit queues of the node's ingress interface.
    pub queues: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            clients: 2,
            queues: 1,
        }
    }
}

/// The topology. Hosts are dropped first, the laboratory last.
#[derive(Debug)]
pub struct Cluster {
    pub clients: Vec<Host>,
    pub node: Host,
    pub storage: Host,
    pub switch: Host,
    pub lab: Lab,
}

impl Cluster {
    pub fn new(name: &str, shape: Shape) -> Result<Self> {
        let lab = Lab::new(name)?;
        let switch = switch(&lab)?;
        let node = lab.host("node")?;
        ingress(&switch, &node, shape.queues, 0)?;
        let storage = lab.host("storage")?;
        wire_storage(&node, &storage)?;
        let clients = (0..shape.clients)
            .map(|number| client(&lab, &switch, number))
            .collect::<Result<_>>()?;
        Ok(Self {
            clients,
            node,
            storage,
            switch,
            lab,
        })
    }
}

pub(super) fn switch(lab: &Lab) -> Result<Host> {
    let switch = lab.host("switch")?;
    switch.ip(&["link add br0 type bridge", "link set br0 up"])?;
    Ok(switch)
}

/// Plugs a node, counted from 0, into the switch.
pub(super) fn ingress(switch: &Host, node: &Host, queues: u8, number: u8) -> Result<()> {
    let name = node.name();
    switch.ip(&[
        format!(
            "link add {name} type veth peer name in0 numrxqueues {queues} numtxqueues {queues} netns {}",
            node.pid()
        ),
        format!("link set {name} master br0 up"),
    ])?;
    let own = number + 1;
    node.ip(&[
        format!("addr add 10.77.0.{own}/24 dev in0"),
        format!("addr add fd77::{own}/64 dev in0 nodad"),
        "link set in0 up".to_owned(),
    ])
}

fn wire_storage(node: &Host, storage: &Host) -> Result<()> {
    node.ip(&[
        format!(
            "link add st0 type veth peer name st0 netns {}",
            storage.pid()
        ),
        "addr add 10.77.1.1/24 dev st0".to_owned(),
        "addr add fd77:1::1/64 dev st0 nodad".to_owned(),
        "link set st0 up".to_owned(),
    ])?;
    storage.ip(&[
        format!("addr add {}/24 dev st0", storage4()),
        format!("addr add {}/64 dev st0 nodad", storage6()),
        "link set st0 up".to_owned(),
    ])
}

pub(super) fn client(lab: &Lab, switch: &Host, number: u8) -> Result<Host> {
    let host = lab.host(&format!("client{number}"))?;
    switch.ip(&[
        format!(
            "link add c{number} type veth peer name cl0 netns {}",
            host.pid()
        ),
        format!("link set c{number} master br0 up"),
    ])?;
    host.ip(&[
        format!("addr add {}/24 dev cl0", client4(number)),
        format!("addr add {}/64 dev cl0 nodad", client6(number)),
        "link set cl0 up".to_owned(),
        "route add default via 10.77.0.1".to_owned(),
        "route add ::/0 via fd77::1".to_owned(),
    ])?;
    host.full_checksums("cl0")?;
    Ok(host)
}
