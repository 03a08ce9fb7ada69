//! What happens to a slot, and what it asks for.

use std::time::Duration;

use super::Policy;
pub use crate::system::child::process::{Exit, Pid};

/// A fingerprint of what a worker was started with; equal means there is nothing to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What happens to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This generation shall serve.
    Want {
        generation: Generation,
    },
    /// The process took over this generation while it ran.
    Told {
        generation: Generation,
        pid: Pid,
    },
    /// The process is not what its generation is: another of the same shall serve.
    Renew,
    /// The times and bounds from now on.
    Follow(Policy),
    /// A process of an earlier daemon serves, as it proved then; others of that daemon have to finish.
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
    /// Nothing shall serve; connections may finish for so long.
    Stop {
        drain: Duration,
    },
}

/// What a slot asks for.
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
    /// Accept no more, finish what is there, end.
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

/// What became of a wanted generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Serving,
    NotSpawned,
    Ended(Exit),
    NeverReady,
}
