//! The events of a slot, and its actions.

use std::time::Duration;

use super::Policy;
pub use crate::system::child::process::{Exit, Pid};

/// A fingerprint of the text a worker was started with. A worker with the wanted generation need not be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What happens to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This generation is to serve.
    Want {
        generation: Generation,
    },
    /// The process was changed to this generation by commands.
    ChangedLive {
        generation: Generation,
        pid: Pid,
    },
    /// The process differs from its generation: another process of the same generation is to serve.
    Renew,
    /// The times and bounds to use from now on.
    Configure(Policy),
    /// A process of an earlier daemon serves, which that daemon found ready; others of that daemon must finish.
    Adopt {
        pid: Pid,
        generation: Generation,
        finishing: Vec<Pid>,
    },
    Spawned {
        generation: Generation,
        pid: Pid,
    },
    SpawnFailed {
        generation: Generation,
    },
    /// The process answered on its command socket.
    Ready {
        pid: Pid,
    },
    NotReady {
        pid: Pid,
    },
    Exited {
        pid: Pid,
        exit: Exit,
    },
    /// No process is to serve; connections may finish for `drain`.
    Stop {
        drain: Duration,
    },
}

/// What a slot asks its world to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Spawn {
        generation: Generation,
    },
    /// Ask the process whether it is ready; answered by `Ready` or `NotReady`.
    Probe {
        pid: Pid,
    },
    SetInRing(bool),
    /// Let the process accept no more connections, finish those it has, and end.
    Retire {
        pid: Pid,
    },
    Kill {
        pid: Pid,
        why: Why,
    },
    /// The answer to `Want`.
    Settled {
        generation: Generation,
        outcome: Outcome,
    },
}

/// Why a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Unwanted,
    NeverReady,
    DrainOver,
    TooManyFinishing,
}

/// The result for a wanted generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Serving,
    NotSpawned,
    Ended(Exit),
    NeverReady,
}
