//! What the XDP program must decide, written a second time: plain slices, linear searches, no maps, no pointers, no
//! code shared with the kernel half but the hash that names a worker. A fuzz compares the two; where they differ, one
//! of them has misread the rules. Nothing here is fast, and nothing here is used by the product.
//!
//! ```text
//! frame -> headers::read -> Reading -> Node::judge -> Judgement
//! ```

mod headers;
mod list;

use ober_common::{
    abi::{Address, Verdict},
    flow::{Flow, hash, ring_slot},
};

pub use headers::{EXTENSION_KINDS, Reading, read};
pub use list::{List, Prefix, address};

const TCP: u8 = 6;
const UDP: u8 = 17;
const VRRP: u8 = 112;
const BGP_PORT: u16 = 179;
const BFD_SINGLE_HOP: u16 = 3784;
const BFD_MULTIHOP: u16 = 4784;

/// A (VIP, protocol, port) and who may use it.
#[derive(Clone, Debug)]
pub struct Service {
    pub vip: Address,
    pub protocol: u8,
    pub port: u16,
    /// Where it is counted, from 1.
    pub index: u32,
    /// Number of its access list; `None`: open to everybody.
    pub list: Option<usize>,
    /// A worker for each of the ring's slots; `None`: nobody.
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
    pub steer: bool,
    /// The CPU the program runs on.
    pub here: u32,
}

/// A frame as the program meets it: a multi-buffer frame is longer than the part that can be read.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub readable: &'a [u8],
    pub length: usize,
}

impl<'a> Frame<'a> {
    /// A frame in one buffer.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self {
            readable: bytes,
            length: bytes.len(),
        }
    }
}

/// What the kernel is told to do with the packet.
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
}

impl Judgement {
    fn of_node(verdict: Verdict) -> Self {
        Self::of_service(verdict, 0)
    }

    fn of_service(verdict: Verdict, service: u32) -> Self {
        let action = match verdict {
            Verdict::Malformed | Verdict::Denied | Verdict::RouterDenied | Verdict::NoWorker => {
                Action::Drop
            }
            Verdict::NotOurs | Verdict::Fragment | Verdict::Passed => Action::Pass,
            Verdict::Steered => Action::Redirect,
        };
        Self {
            verdict,
            service,
            worker: None,
            action,
        }
    }
}

impl Node {
    /// The one verdict of a frame.
    pub fn judge(&self, frame: Frame<'_>) -> Judgement {
        match read(frame.readable) {
            Reading::Other => Judgement::of_node(Verdict::NotOurs),
            Reading::LaterFragment { destination } => {
                Judgement::of_node(if self.is_vip(destination) {
                    Verdict::Fragment
                } else {
                    Verdict::NotOurs
                })
            }
            Reading::Malformed { destination } => {
                let ours = destination.is_none_or(|destination| self.is_vip(destination));
                Judgement::of_node(if ours {
                    Verdict::Malformed
                } else {
                    Verdict::NotOurs
                })
            }
            Reading::Bare { source, protocol } => self.no_service(protocol == VRRP, source),
            Reading::Flow {
                flow,
                ip_end,
                judged_end,
                quoted,
            } => {
                let Some(service) = self.service(&flow) else {
                    return self.no_service(!quoted && speaks_routing(&flow), flow.client.bytes());
                };
                if judged_end > ip_end || ip_end > frame.length {
                    return Judgement::of_service(Verdict::Malformed, service.index);
                }
                self.admit(service, &flow)
            }
        }
    }

    /// The bytes the frame is counted with: all of it, but for a flow's padding in further buffers.
    pub fn counted(frame: Frame<'_>) -> usize {
        match read(frame.readable) {
            Reading::Flow { ip_end, .. } if ip_end <= frame.readable.len() => frame.readable.len(),
            _ => frame.length,
        }
    }

    fn service(&self, flow: &Flow) -> Option<&Service> {
        self.services.iter().find(|service| {
            service.vip == flow.vip.bytes()
                && service.protocol == flow.protocol
                && service.port == flow.port
        })
    }

    fn is_vip(&self, address: Address) -> bool {
        self.services.iter().any(|service| service.vip == address)
    }

    fn on_list(&self, list: usize, client: Address) -> bool {
        self.lists.get(list).is_some_and(|list| list.holds(client))
    }

    /// Routing protocols come from routers on the list, when there is one; everything else is the kernel's business.
    fn no_service(&self, routing: bool, source: Address) -> Judgement {
        match self.routers {
            Some(list) if routing && !self.on_list(list, source) => {
                Judgement::of_node(Verdict::RouterDenied)
            }
            _ => Judgement::of_node(Verdict::NotOurs),
        }
    }

    fn admit(&self, service: &Service, flow: &Flow) -> Judgement {
        if service
            .list
            .is_some_and(|list| !self.on_list(list, flow.client.bytes()))
        {
            return Judgement::of_service(Verdict::Denied, service.index);
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

/// BGP (RFC 4271 section 4), BFD over one hop (RFC 5881 section 4) and over several (RFC 5883 section 5).
fn speaks_routing(flow: &Flow) -> bool {
    match flow.protocol {
        TCP => flow.port == BGP_PORT,
        UDP => flow.port == BFD_SINGLE_HOP || flow.port == BFD_MULTIHOP,
        _ => false,
    }
}
