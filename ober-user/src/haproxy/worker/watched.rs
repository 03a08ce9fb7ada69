//! A process of a slot, watched until it ends.

use std::collections::BTreeSet;

use tokio::task::JoinHandle;

use super::{
    adopt::{HeldSocket, Identity, LeavingRecord, ports},
    process::Process,
};
use crate::{haproxy::finishing::Finishing, system::clock};

/// A process, and the task that waits for its end.
pub(super) struct Watched {
    pub(super) process: Process,
    /// Our sockets with their descriptor numbers in the process.
    pub(super) sockets: Vec<HeldSocket>,
    /// The ports of its listeners.
    ports: BTreeSet<u16>,
    /// When it first got the signal to finish, in seconds since 1970.
    since: Option<u64>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    pub(super) fn new(process: Process, sockets: Vec<HeldSocket>, task: JoinHandle<()>) -> Self {
        Self {
            process,
            ports: ports(&sockets),
            sockets,
            since: None,
            task,
        }
    }

    /// An earlier daemon sent it the signal to finish.
    pub(super) fn as_recorded(&mut self, recorded: LeavingRecord) {
        self.ports = recorded.ports;
        self.since = recorded.since;
    }

    /// Notes that it gets the signal to finish now, unless it got one before.
    pub(super) fn finishes(&mut self) {
        self.since.get_or_insert_with(clock::seconds);
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            pid: self.process.pid.0,
            start_time: self.process.started,
        }
    }

    pub(super) fn leaving(&self) -> LeavingRecord {
        LeavingRecord {
            identity: self.identity(),
            since: self.since,
            ports: self.ports.clone(),
        }
    }

    pub(super) fn finishing(&self) -> Finishing {
        Finishing {
            pid: self.process.pid.0,
            since: self.since.unwrap_or_else(clock::seconds),
            ports: self.ports.clone(),
        }
    }
}
