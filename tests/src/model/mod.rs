//! The decisions of the XDP program, written a second time: plain slices, linear searches, no maps, no pointers, no code shared
//! with the kernel half but the hash that chooses a worker. A fuzz compares the two; where they differ, one of them has misread
//! the rules. Nothing here is fast, and nothing here is used by the product.
//!
//! ```text
//! frame -> headers::read -> Reading -> Node::judge -> Judgement
//! ```

mod headers;
mod list;

use ober_common::{
    abi::Verdict,
    address::Address,
    flow::{Flow, hash, ring_slot},
};

pub use headers::{EXTENSION_KINDS, Outer, Reading, read};
pub use list::{List, Prefix, address};

const TCP: u8 = 6;
const UDP: u8 = 17;
const VRRP: u8 = 112;
const BFD_SINGLE_HOP: u16 = 3784;
const BFD_MULTIHOP: u16 = 4784;

/// A (VIP, protocol, port) and the clients that may use it.
#[derive(Clone, Debug)]
pub struct Service {
    pub vip: Address,
    pub protocol: u8,
    pub port: u16,
    /// The index of its counters, from 1.
    pub index: u32,
    /// Number of its access list; `None`: open to all clients.
    pub list: Option<usize>,
    /// A worker for each of the ring's slots; `None`: no worker.
    pub ring: Vec<Option<usize>>,
}

/// Where a worker runs.
#[derive(Clone, Copy, Debug)]
pub struct Worker {
    pub number: usize,
    pub cpu: u32,
    /// Whether packets may be sent to that CPU at all.
    pub steerable: bool,
}

/// Everything a verdict depends on besides the packet.
#[derive(Clone, Debug)]
pub struct Node {
    pub key: [u64; 2],
    pub services: Vec<Service>,
    pub lists: Vec<List>,
    pub workers: Vec<Worker>,
    /// Number of the list of routers; `None`: routing protocols are not checked.
    pub routers: Option<usize>,
    /// TCP ports on which this node and its neighbours listen for BGP.
    pub bgp: Bgp,
    /// Whether all sources may send fragments to a VIP, or only those on one of its lists.
    pub fragments: bool,
    pub steer: bool,
    /// The CPU the program runs on.
    pub here: u32,
}

/// Ports of BGP.
#[derive(Clone, Debug, Default)]
pub struct Bgp {
    pub here: Vec<u16>,
    pub there: Vec<u16>,
}

/// What the kernel does with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Drop,
    Pass,
    Redirect,
}

/// The verdict, where it is counted, and what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub service: u32,
    pub worker: Option<usize>,
    pub action: Action,
    /// Is it also counted as a SYN of the service?
    pub syn: bool,
}

impl Judgement {
    fn of_node(verdict: Verdict) -> Self {
        Self::of_service(verdict, 0)
    }

    fn of_service(verdict: Verdict, service: u32) -> Self {
        let action = match verdict {
            Verdict::Malformed
            | Verdict::Unreadable
            | Verdict::Denied
            | Verdict::RouterDenied
            | Verdict::FragmentDenied
            | Verdict::Loopback
            | Verdict::NoWorker => Action::Drop,
            Verdict::NotOurs | Verdict::Fragment | Verdict::Passed => Action::Pass,
            Verdict::Steered => Action::Redirect,
        };
        Self {
            verdict,
            service,
            worker: None,
            action,
            syn: false,
        }
    }
}

impl Node {
    /// The one verdict of a frame, however it is laid out.
    pub fn judge(&self, frame: &[u8]) -> Judgement {
        match read(frame) {
            Reading::Other => Judgement::of_node(Verdict::NotOurs),
            Reading::Loopback => Judgement::of_node(Verdict::Loopback),
            Reading::Malformed { destination } => self.malformed(destination),
            Reading::LaterFragment { outer } if !fits(outer, frame) => {
                self.malformed(Some(outer.destination))
            }
            Reading::LaterFragment { outer } => {
                Judgement::of_node(match self.is_vip(outer.destination) {
                    false => Verdict::NotOurs,
                    true if self.may_fragment(outer) => Verdict::Fragment,
                    true => Verdict::FragmentDenied,
                })
            }
            Reading::Bare { outer, protocol } => self.no_service(frame, outer, protocol == VRRP),
            Reading::Flow {
                flow,
                outer,
                quoted,
                opens,
            } => {
                let Some(service) = self.service(&flow) else {
                    let routing = !quoted && self.speaks_routing(&flow);
                    return self.no_service(frame, outer, routing);
                };
                if !fits(outer, frame) {
                    return Judgement::of_service(Verdict::Malformed, service.index);
                }
                let judgement = self.admit(service, &flow, outer);
                Judgement {
                    syn: opens && judgement.worker.is_some(),
                    ..judgement
                }
            }
        }
    }

    /// Dropped where it could concern a service or a routing protocol that is checked.
    fn malformed(&self, destination: Option<Address>) -> Judgement {
        let ours = destination.is_none_or(|destination| self.is_vip(destination));
        Judgement::of_node(if ours || self.routers.is_some() {
            Verdict::Malformed
        } else {
            Verdict::NotOurs
        })
    }

    /// A fragment to an address that is no VIP is not judged here.
    fn may_fragment(&self, outer: Outer) -> bool {
        let of_vip = self
            .services
            .iter()
            .filter(|service| service.vip == outer.destination);
        let mut lists = of_vip.filter_map(|service| service.list);
        self.fragments
            || !self.is_vip(outer.destination)
            || lists.any(|list| self.on_list(list, outer.source))
    }

    /// BGP (RFC 4271 section 4), BFD over one hop (RFC 5881 section 4) and over several (RFC 5883 section 5).
    pub fn speaks_routing(&self, flow: &Flow) -> bool {
        match flow.protocol {
            TCP => self.bgp.here.contains(&flow.port) || self.bgp.there.contains(&flow.client_port),
            UDP => flow.port == BFD_SINGLE_HOP || flow.port == BFD_MULTIHOP,
            _ => false,
        }
    }

    /// The service a flow is for.
    pub fn service(&self, flow: &Flow) -> Option<&Service> {
        self.services.iter().find(|service| {
            service.vip == flow.vip.bytes()
                && service.protocol == flow.protocol
                && service.port == flow.port
        })
    }

    fn is_vip(&self, address: Address) -> bool {
        self.services.iter().any(|service| service.vip == address)
    }

    /// Is the client on the list with this number?
    pub fn on_list(&self, list: usize, client: Address) -> bool {
        self.lists.get(list).is_some_and(|list| list.holds(client))
    }

    /// Routing protocols come from routers on the list, when there is one; everything else passes to the kernel, if the packet
    /// is whole.
    fn no_service(&self, frame: &[u8], outer: Outer, routing: bool) -> Judgement {
        if !fits(outer, frame) {
            return self.malformed((!outer.first).then_some(outer.destination));
        }
        Judgement::of_node(match self.routers {
            Some(list) if routing && !self.on_list(list, outer.source) => Verdict::RouterDenied,
            Some(_) if routing => Verdict::NotOurs,
            _ if outer.first && !self.may_fragment(outer) => Verdict::FragmentDenied,
            _ => Verdict::NotOurs,
        })
    }

    fn admit(&self, service: &Service, flow: &Flow, outer: Outer) -> Judgement {
        if service
            .list
            .is_some_and(|list| !self.on_list(list, flow.client.bytes()))
        {
            return Judgement::of_service(Verdict::Denied, service.index);
        }
        if outer.first && !self.may_fragment(outer) {
            return Judgement::of_service(Verdict::FragmentDenied, service.index);
        }
        let slot = ring_slot(hash(self.key, flow));
        let Some(number) = service.ring.get(slot).copied().flatten() else {
            return Judgement::of_service(Verdict::NoWorker, service.index);
        };
        let elsewhere = self
            .workers
            .iter()
            .any(|worker| worker.number == number && worker.steerable && worker.cpu != self.here);
        let verdict = if self.steer && elsewhere {
            Verdict::Steered
        } else {
            Verdict::Passed
        };
        Judgement {
            worker: Some(number),
            ..Judgement::of_service(verdict, service.index)
        }
    }
}

/// Does the IP packet hold what was read, and the frame all of the IP packet?
fn fits(outer: Outer, frame: &[u8]) -> bool {
    outer.judged_end <= outer.ip_end && outer.ip_end <= frame.len()
}
