//! What there is to say about a worker, for `status` and for whoever waits.

use std::time::Instant;

use super::{Exit, Generation, Pid, State, Worker, process};

/// What a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Stopped,
    Starting,
    Running,
    Replacing,
    Backoff,
}

/// One slot as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub worker: usize,
    pub cpu: Option<u32>,
    pub stage: Stage,
    /// Since when it is in this stage.
    pub since: Instant,
    pub in_ring: bool,
    /// The process that serves, or is to serve.
    pub pid: Option<i32>,
    /// Ends that were not asked for.
    pub restarts: u32,
    pub last_exit: Option<Exit>,
    /// Replaced processes that finish their connections.
    pub draining: Vec<i32>,
    /// Fingerprint of the configuration it serves with.
    pub generation: Option<Generation>,
}

impl Snapshot {
    /// The processes of it that run as root.
    pub fn as_root(&self) -> Vec<i32> {
        let processes = self.pid.iter().chain(&self.draining);
        let root = processes.filter(|pid| process::user(Pid(**pid)) == Some(0));
        root.copied().collect()
    }
}

/// The process that serves, or else the one that is to.
pub(crate) fn serving(state: State) -> Option<(Option<Pid>, Generation)> {
    match state {
        State::Stopped | State::Backoff { .. } => None,
        State::Starting(new) => Some((new.pid, new.generation)),
        State::Running(current) | State::Replacing(current, _) => {
            Some((Some(current.pid), current.generation))
        }
    }
}

/// The slot as it stands.
pub(crate) fn snapshot(worker: usize, machine: &Worker, cpu: Option<u32>) -> Snapshot {
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
        draining: machine.finishing().iter().map(|pid| pid.0).collect(),
        generation: serving(state).map(|(_, generation)| generation),
    }
}
