//! What is sent to the task of a virtual router, and what it counts.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

use super::{
    super::{Event, Mac, packet::Coverage},
    sockets::{Frames, Raw},
};

#[derive(Debug)]
pub(super) enum Note {
    Event(Event),
    Travel(Arc<Travel>),
    /// Answered when all earlier actions were passed to the keeper.
    Flush(oneshot::Sender<()>),
    /// The last note: the virtual router ends; its gate was closed before.
    End,
}

/// How advertisements of one family are sent.
#[derive(Debug)]
pub(super) struct Travel {
    pub(super) raw: Arc<Raw>,
    pub(super) frames: Arc<Frames>,
    pub(super) source: IpAddr,
    /// The peers; empty: the group.
    pub(super) peers: Vec<IpAddr>,
    pub(super) coverage: Coverage,
    /// MAC of the interface.
    pub(super) mac: Mac,
    /// Send with the MAC of the virtual router.
    pub(super) virtual_mac: bool,
}

/// Packets sent and received by one virtual router.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) resignations_sent: AtomicU64,
    pub(super) resignations_received: AtomicU64,
    pub(super) unsent: AtomicU64,
    pub(super) claims_sent: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub sent: u64,
    pub received: u64,
    pub resignations_sent: u64,
    pub resignations_received: u64,
    pub unsent: u64,
    pub claims_sent: u64,
}

impl Counts {
    pub(super) fn read(&self) -> Counted {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            sent: count(&self.sent),
            received: count(&self.received),
            resignations_sent: count(&self.resignations_sent),
            resignations_received: count(&self.resignations_received),
            unsent: count(&self.unsent),
            claims_sent: count(&self.claims_sent),
        }
    }
}

pub(super) fn raise(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
