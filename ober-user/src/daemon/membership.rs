//! Puts workers into the rings and takes them out. A thread of its own, so that a busy runtime does not delay it when a worker
//! ends.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::{
    dataplane::{Plane, rendezvous},
    haproxy::{Snapshot, WorkerEvent},
};

/// Poisoning is ignored: the few lines under the lock do not panic, and what it guards is the kernel's state anyway.
pub(super) fn lock(plane: &Mutex<Plane>) -> MutexGuard<'_, Plane> {
    plane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which workers are in the ring.
#[derive(Debug, Default)]
pub(super) struct Members {
    ready: Vec<bool>,
    /// Only this many workers, from the first on, may be in the ring: the kernel has no sockets of the others, or is about to
    /// lose them.
    admitted: usize,
}

impl Members {
    fn set(&mut self, event: WorkerEvent) -> bool {
        if self.ready.len() <= event.worker {
            self.ready.resize(event.worker + 1, false);
        }
        std::mem::replace(&mut self.ready[event.worker], event.in_ring) != event.in_ring
    }

    /// Lets the first `workers` workers into the ring, and no others.
    pub(super) fn admit(&mut self, workers: usize) {
        self.admitted = workers;
    }

    /// Takes over the pool's state of every worker.
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

/// The members, shared with the code that changes the services.
pub(super) type Shared = Arc<Mutex<Members>>;

pub(super) fn members(shared: &Shared) -> MutexGuard<'_, Members> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows the workers until the pool is gone. Publishes nothing before `settled`, when the first facts are in: an adopted ring
/// stays in force until then. The gates get each event right after the ring has changed.
pub(super) fn publish_rings(
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
            // The gates are gone when the daemon ends.
            gates.send(event).unwrap_or_default();
        }
    };
    thread::Builder::new()
        .name("membership".into())
        .spawn(work)
        .map(drop)
}
