//! The state of a worker, for `status` and for callers that wait for a change.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Exit, Generation, Pid, State, Worker, process};
use crate::haproxy::finishing::Finishing;

/// The stage of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Stopped,
    Starting,
    Running,
    Replacing,
    Backoff,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Replacing => "replacing",
            Self::Backoff => "backoff",
        }
    }
}

/// The present state of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub worker: usize,
    pub cpu: Option<u32>,
    pub stage: Stage,
    /// Since when it has been in this stage.
    pub since: Instant,
    pub in_ring: bool,
    /// The process that serves, or is to serve.
    pub pid: Option<i32>,
    /// How often a process ended unexpectedly.
    pub restarts: u32,
    pub last_exit: Option<Exit>,
    /// Replaced processes that finish their connections, oldest first.
    pub finishing: Vec<Finishing>,
    /// Fingerprint of the configuration with which it serves.
    pub generation: Option<Generation>,
}

impl Snapshot {
    /// Its processes that run as root.
    pub fn as_root(&self) -> Vec<i32> {
        let processes = self.pid.into_iter().chain(self.draining());
        processes
            .filter(|pid| process::user(Pid(*pid)) == Some(0))
            .collect()
    }

    /// The processes that finish their connections, oldest first.
    pub fn draining(&self) -> Vec<i32> {
        self.finishing.iter().map(|it| it.pid).collect()
    }
}

/// The process that serves, or the one that is starting when none serves.
pub(crate) fn serving(state: State) -> Option<(Option<Pid>, Generation)> {
    match state {
        State::Stopped | State::Backoff { .. } => None,
        State::Starting(new) => Some((new.pid, new.generation)),
        State::Running(current) | State::Replacing(current, _) => {
            Some((Some(current.pid), current.generation))
        }
    }
}

/// The present state of a slot.
pub(crate) fn snapshot(
    worker: usize,
    machine: &Worker,
    cpu: Option<u32>,
    finishing: Vec<Finishing>,
) -> Snapshot {
    let state = machine.state();
    let pid = serving(state).and_then(|(pid, _)| pid);
    Snapshot {
        worker,
        cpu,
        stage: match state {
            State::Stopped => Stage::Stopped,
            State::Starting(_) => Stage::Starting,
            State::Running(_) => Stage::Running,
            State::Replacing(..) => Stage::Replacing,
            State::Backoff { .. } => Stage::Backoff,
        },
        since: machine.changed(),
        in_ring: machine.in_ring(),
        pid: pid.map(|pid| pid.0),
        restarts: machine.restarts(),
        last_exit: machine.last_exit(),
        finishing,
        generation: serving(state).map(|(_, generation)| generation),
    }
}
