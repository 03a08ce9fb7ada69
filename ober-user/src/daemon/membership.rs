//! From what happens to workers to the rings. A thread of its own, so that no busy runtime stands between a worker's
//! end and the next packet.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::{
    dataplane::{Plane, rendezvous},
    haproxy::{Snapshot, WorkerEvent},
};

/// A lock is only poisoned by a panic in a few lines that do not panic; what it guards is the kernel's state anyway.
pub(super) fn lock(plane: &Mutex<Plane>) -> MutexGuard<'_, Plane> {
    plane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which workers are in the ring.
#[derive(Debug, Default)]
pub(super) struct Members {
    ready: Vec<bool>,
    /// Only the first so many may be: the kernel has the sockets of no others, or is to forget them.
    admitted: usize,
}

impl Members {
    fn set(&mut self, event: WorkerEvent) -> bool {
        if self.ready.len() <= event.worker {
            self.ready.resize(event.worker + 1, false);
        }
        std::mem::replace(&mut self.ready[event.worker], event.in_ring) != event.in_ring
    }

    /// Lets the first so many into the ring, and no others.
    pub(super) fn admit(&mut self, workers: usize) {
        self.admitted = workers;
    }

    /// Takes over what the pool says of every worker.
    pub(super) fn learn(&mut self, pool: &[Snapshot]) {
        for Snapshot {
            worker, in_ring, ..
        } in pool
        {
            self.set(WorkerEvent {
                worker: *worker,
                in_ring: *in_ring,
            });
        }
    }

    pub(super) fn ring(&self) -> ober_common::abi::Ring {
        let admitted = self.ready.iter().take(self.admitted);
        rendezvous::fill(&admitted.map(|ready| u32::from(*ready)).collect::<Vec<_>>())
    }
}

/// The members as they stand, shared with whoever changes the services.
pub(super) type Shared = Arc<Mutex<Members>>;

pub(super) fn members(shared: &Shared) -> MutexGuard<'_, Members> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows the workers until the pool is gone. Nothing is published before `settled` says that the first facts are in:
/// an adopted ring stays in force until then. The gates hear of each event right after the ring has changed.
pub(super) fn follow(
    plane: Arc<Mutex<Plane>>,
    shared: Shared,
    settled: Arc<std::sync::atomic::AtomicBool>,
    mut events: UnboundedReceiver<WorkerEvent>,
    gates: UnboundedSender<WorkerEvent>,
) -> std::io::Result<()> {
    let work = move || {
        while let Some(event) = events.blocking_recv() {
            let mut members = members(&shared);
            if members.set(event) && settled.load(std::sync::atomic::Ordering::Acquire) {
                lock(&plane).set_ring(&members.ring());
            }
            drop(members);
            // Without gates (the daemon ends) there is nobody to tell.
            gates.send(event).unwrap_or_default();
            tracing::info!(worker = event.worker, in_ring = event.in_ring, "worker");
        }
    };
    thread::Builder::new()
        .name("steering".into())
        .spawn(work)
        .map(drop)
}
