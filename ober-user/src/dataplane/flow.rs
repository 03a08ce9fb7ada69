//! Explains the verdict on a flow: takes the same steps as the kernel programs, on the same maps.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ober_common::{
    abi::{Node, Service, Verdict, WORKERS},
    flow::{Flow, hash, ring_slot, service_hash, service_table},
    packet::{BFD_PORTS, TCP, UDP},
};
use serde::Serialize;

use crate::dataplane::{Maps, access, ip};

/// The flow to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub client: SocketAddr,
    pub vip: SocketAddr,
    /// IP protocol number.
    pub protocol: u8,
}

/// The verdict and the steps that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The verdict's name. For `steered`, packets that arrive on the worker's own CPU are counted as `passed`.
    pub verdict: &'static str,
    /// The service; `None`: the packet is not for one.
    pub service: Option<FlowService>,
    /// The list that was checked, if one was.
    pub list: Option<Listed>,
    /// The flow's hash, its slot in the ring and the worker there; only when the list admits the client.
    pub slot: Option<RingSlot>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowService {
    /// Counter index.
    pub index: u32,
    pub vip: IpAddr,
    pub port: u16,
    /// The ring in force.
    pub ring: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its number in the kernel.
    pub number: u32,
    pub listed: bool,
    /// Is it the list of routers, which is checked for routing protocols?
    pub routers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RingSlot {
    /// Hexadecimal.
    pub hash: String,
    pub slot: usize,
    /// `None`: the slot is empty.
    pub worker: Option<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    pub number: usize,
    pub cpu: u32,
    /// Packets that arrive on another CPU are sent to the worker's CPU.
    pub steering: bool,
}

/// Follows a flow through the maps in force.
pub fn explain(maps: &Maps, question: &Question) -> Explanation {
    let node = maps.node.read(0);
    let flow = flow(question);
    let client = question.client.ip();
    let Some(service) = service(maps, &node, &flow) else {
        return outside(maps, &node, &flow, client);
    };
    let list = match service.list {
        0 => None,
        number => Some(ask(maps, number - 1, client, false)),
    };
    let admitted = list.is_none_or(|list| list.listed);
    let slot = admitted.then(|| slot(maps, &node, &service, &flow));
    let verdict = match &slot {
        None => Verdict::Denied,
        Some(RingSlot { worker: None, .. }) => Verdict::NoWorker,
        Some(RingSlot {
            worker: Some(target),
            ..
        }) if target.steering => Verdict::Steered,
        Some(_) => Verdict::Passed,
    };
    Explanation {
        verdict: verdict.name(),
        service: Some(FlowService {
            index: service.index,
            vip: Ipv6Addr::from(service.vip).to_canonical(),
            port: service.port,
            ring: service.ring,
        }),
        list,
        slot,
    }
}

/// A flow for no service: it is passed to the kernel, unless it is a routing protocol and there is a list of routers.
fn outside(maps: &Maps, node: &Node, flow: &Flow, client: IpAddr) -> Explanation {
    let list = match node.routers {
        0 => None,
        number if speaks_routing(maps, flow) => Some(ask(maps, number - 1, client, true)),
        _ => None,
    };
    let verdict = if list.is_none_or(|list| list.listed) {
        Verdict::NotOurs
    } else {
        Verdict::RouterDenied
    };
    Explanation {
        verdict: verdict.name(),
        service: None,
        list,
        slot: None,
    }
}

/// Is this BGP, in either direction, or BFD?
fn speaks_routing(maps: &Maps, flow: &Flow) -> bool {
    match flow.protocol {
        TCP => maps.speaks_bgp(flow.port, flow.client_port),
        UDP => BFD_PORTS.contains(&flow.port),
        _ => false,
    }
}

fn flow(question: &Question) -> Flow {
    Flow {
        client: ip(question.client.ip()),
        vip: ip(question.vip.ip()),
        client_port: question.client.port(),
        port: question.vip.port(),
        protocol: question.protocol,
    }
}

fn ask(maps: &Maps, number: u32, client: IpAddr, routers: bool) -> Listed {
    Listed {
        number,
        listed: access::listed(maps, number, client.to_canonical()),
        routers,
    }
}

fn service(maps: &Maps, node: &Node, flow: &Flow) -> Option<Service> {
    let table = maps.tables.at(service_table(node.seed)).as_ptr();
    // SAFETY: mapped as long as `maps`; plain integers, and the daemon rewrites only the table that is not in force.
    let service = unsafe {
        let hash = service_hash(node.seed, flow.vip, flow.protocol, flow.port);
        let moved = (&raw const (*table).moved[hash.group()]).read_volatile();
        (&raw const (*table).slots[hash.slot(moved)]).read_volatile()
    };
    service
        .is(flow.vip, flow.protocol, flow.port)
        .then_some(service)
}

fn slot(maps: &Maps, node: &Node, service: &Service, flow: &Flow) -> RingSlot {
    let hash = hash(node.key, flow);
    let slot = ring_slot(hash);
    let ring = maps.rings.read(service.ring as usize);
    let owner = ring.slots.get(slot).copied().unwrap_or_default();
    let number = (usize::from(owner).wrapping_sub(1)) & (WORKERS - 1);
    let worker = node.workers[number];
    RingSlot {
        hash: format!("{hash:016x}"),
        slot,
        worker: (owner != 0).then_some(Target {
            number,
            cpu: worker.cpu,
            steering: node.steer != 0 && worker.steerable != 0,
        }),
    }
}
