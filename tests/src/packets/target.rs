//! The node that random packets meet: services of every kind, lists of every kind, rings full, empty and half empty.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ober_common::abi::RING_SLOTS;

use super::{TCP, UDP};
use crate::model::{Bgp, List, Node, Prefix, Service, Worker, address};

/// A node, and addresses and ports that mean something to it.
#[derive(Clone, Debug)]
pub struct Target {
    pub node: Node,
    pub clients: Vec<IpAddr>,
    pub routers: Vec<IpAddr>,
    /// Enough IPv6 hosts of the first list to make some lie in the lines after their own.
    pub crowd: Vec<Ipv6Addr>,
}

impl Target {
    /// VIP, protocol and port of a service.
    pub fn place(&self, service: usize) -> (IpAddr, u8, u16) {
        let Service {
            vip,
            protocol,
            port,
            ..
        } = self.node.services[service % self.node.services.len()];
        (Ipv6Addr::from(vip).to_canonical(), protocol, port)
    }
}

/// Hosts and prefixes of both families.
const CLIENTS: [(&str, u8); 7] = [
    ("10.99.0.1", 32),
    ("10.99.255.255", 32),
    ("172.16.4.0", 22),
    ("192.168.7.128", 25),
    ("fd99::1", 128),
    ("fd99:0:0:7::", 64),
    ("2001:db8:8000::", 33),
];
/// Every IPv4 address, and IPv6 hosts without a single prefix.
const MANY: [(&str, u8); 5] = [
    ("0.0.0.0", 0),
    ("fd99::1", 128),
    ("fd99::2", 128),
    ("fd99:0:0:7::9", 128),
    ("fe80::1", 128),
];
const ROUTERS: [(&str, u8); 5] = [
    ("10.0.0.253", 32),
    ("10.0.0.254", 32),
    ("fe80::1", 128),
    ("fe80::2", 128),
    ("10.99.0.1", 32),
];

/// Hosts in the crowd.
const CROWD: u16 = 1000;

/// The senders: listed addresses, addresses right beside them, and others.
const SENDERS: [&str; 20] = [
    "10.99.0.1",
    "10.99.0.2",
    "10.99.255.255",
    "172.16.4.0",
    "172.16.7.255",
    "172.16.8.0",
    "192.168.7.128",
    "192.168.7.127",
    "198.51.100.9",
    "0.0.0.0",
    "255.255.255.255",
    "fd99::1",
    "fd99::2",
    "fd99::3",
    "fd99:0:0:7::9",
    "fd99:0:0:8::9",
    "2001:db8:8000::5",
    "2001:db8:7fff::5",
    "::",
    "fe80::1",
];

/// The node of the fuzz. Runs on CPU 0, has workers there and on CPU 1, and one on each that must not be steered to.
pub fn rich_target() -> Target {
    let workers = [(0, 0, true), (1, 1, true), (2, 0, false), (63, 1, false)].map(
        |(number, cpu, steerable)| Worker {
            number,
            cpu,
            steerable,
        },
    );
    let all = |slot: usize| Some([0, 1, 2, 63][slot % 4]);
    let services = vec![
        service(1, "10.77.0.1", TCP, 443, None, all),
        service(2, "10.77.0.1", TCP, 80, Some(0), all),
        service(3, "fd77::1", TCP, 443, None, all),
        service(4, "fd77::1", TCP, 80, Some(0), all),
        service(5, "10.77.0.2", UDP, 443, Some(0), all),
        service(6, "fd77::2", TCP, 443, Some(1), |slot| {
            (slot % 3 != 0).then_some(slot % 2)
        }),
        service(7, "10.77.0.3", TCP, 8080, Some(2), all),
        service(8, "10.77.0.4", TCP, 443, None, |_| None),
        service(9, "10.77.0.2", TCP, 179, Some(0), all),
        service(10, "fd77::2", UDP, 443, None, all),
        service(11, "10.77.0.5", TCP, 443, Some(1), all),
    ];
    let mut node = Node {
        key: [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03],
        services,
        lists: vec![list(&CLIENTS), list(&MANY), List::default(), list(&ROUTERS)],
        workers: workers.to_vec(),
        routers: Some(3),
        bgp: Bgp {
            here: vec![179, 1790],
            there: vec![179, 1791],
        },
        fragments: false,
        steer: true,
        here: 0,
    };
    let crowd: Vec<Ipv6Addr> = (0..CROWD)
        .map(|number| Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, number))
        .collect();
    node.lists[0]
        .prefixes
        .extend(crowd.iter().map(|host| Prefix::host((*host).into())));
    let addresses = |texts: &[&str]| texts.iter().map(|text| parse(text)).collect();
    Target {
        node,
        crowd,
        clients: addresses(&SENDERS),
        routers: ROUTERS.iter().map(|(text, _)| parse(text)).collect(),
    }
}

fn service(
    index: u32,
    vip: &str,
    protocol: u8,
    port: u16,
    list: Option<usize>,
    worker: impl Fn(usize) -> Option<usize>,
) -> Service {
    let ring = (0..RING_SLOTS).map(worker).collect();
    Service {
        vip: address(parse(vip)),
        protocol,
        port,
        index,
        list,
        ring,
    }
}

fn list(entries: &[(&str, u8)]) -> List {
    List {
        prefixes: entries
            .iter()
            .map(|&(text, length)| Prefix {
                address: parse(text),
                length,
            })
            .collect(),
    }
}

/// The texts above are constants; one that is no address would fail the tests at the first packet.
fn parse(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::BROADCAST))
}
