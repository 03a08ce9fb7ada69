//! The states of a gate, the signals that change them, and the record of each change.

use std::{fmt, time::Instant};

use serde::{Deserialize, Serialize};

/// The state of a gate, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing is known yet.
    Init,
    /// Rounds find all well, but not yet often enough.
    Rising,
    Up,
    /// Rounds find something wrong, but not yet often enough.
    Falling,
    Down,
    /// By order, or by the disable file. Nothing is announced.
    Disabled,
    /// By order, or before a stop. Announced with `GRACEFUL_SHUTDOWN` for a time, then not at all.
    Draining,
}

impl State {
    pub const ALL: [Self; 7] = [
        Self::Init,
        Self::Rising,
        Self::Up,
        Self::Falling,
        Self::Down,
        Self::Disabled,
        Self::Draining,
    ];

    /// As in JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Rising => "rising",
            Self::Up => "up",
            Self::Falling => "falling",
            Self::Down => "down",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
        }
    }
}

/// The state by facts and probes alone, without orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Init,
    Rising,
    Up,
    Falling,
    Down,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A round found all well. `enough`: so often in a row that it may go up.
    Good { enough: bool },
    /// A round found something wrong. `enough`: so often in a row that it must go down.
    Bad { enough: bool },
    /// A hard fact is bad; the gate does not wait for a round.
    Hard,
}

/// The transition. A gate stays in `Init` until enough rounds were bad: at a start, facts arrive one by one.
pub const fn next(health: Health, signal: Signal) -> Health {
    match (health, signal) {
        (Health::Init | Health::Rising | Health::Down, Signal::Good { enough: true }) => Health::Up,
        (Health::Init | Health::Rising | Health::Down, Signal::Good { enough: false }) => {
            Health::Rising
        }
        (Health::Up | Health::Falling, Signal::Good { .. }) => Health::Up,
        (Health::Init, Signal::Bad { enough: false }) => Health::Init,
        (Health::Up | Health::Falling, Signal::Bad { enough: false }) => Health::Falling,
        (
            Health::Init | Health::Rising | Health::Up | Health::Falling | Health::Down,
            Signal::Bad { .. },
        ) => Health::Down,
        (Health::Init, Signal::Hard) => Health::Init,
        (Health::Rising | Health::Up | Health::Falling | Health::Down, Signal::Hard) => {
            Health::Down
        }
    }
}

/// The state that is shown: orders come before health, and of the two orders the stricter one.
pub const fn shown(health: Health, disabled: bool, draining: bool) -> State {
    match (disabled, draining, health) {
        (true, _, _) => State::Disabled,
        (false, true, _) => State::Draining,
        (false, false, Health::Init) => State::Init,
        (false, false, Health::Rising) => State::Rising,
        (false, false, Health::Up) => State::Up,
        (false, false, Health::Falling) => State::Falling,
        (false, false, Health::Down) => State::Down,
    }
}

/// What an operator wants. Each order undoes only its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Send the traffic elsewhere.
    Drain,
    Undrain,
    /// Announce nothing, at once.
    Disable,
    Enable,
}

impl fmt::Display for Order {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Disable => "disable",
            Self::Enable => "enable",
        })
    }
}

/// The sentence for connections that are lost on this node.
pub const LOST: &str =
    "new connections reach no worker: this node drops them behind XDP (a firewall?)";

/// Why a gate is in its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing has happened yet.
    Start,
    /// Workers answer.
    Served {
        workers: usize,
    },
    /// Workers answer, but the VIP flapped and has to wait.
    Held,
    /// Fewer worker processes than needed. Hard.
    Workers {
        running: usize,
        needed: usize,
    },
    /// Fewer of the node's interfaces are up than needed. Hard.
    Interface,
    /// The programs are not attached. Hard.
    Program,
    /// The programs are attached, but a driver does not run them. Hard.
    Blind,
    /// The VIP is no address of this node. Hard.
    Address,
    /// Fewer workers answer than needed. `first`: what went wrong at the first of the others.
    Probe {
        good: usize,
        needed: usize,
        first: String,
    },
    /// A worker sees fewer servers of its backend up than needed.
    Backend {
        up: usize,
        needed: usize,
    },
    /// No BFD session is up.
    Bfd,
    /// New connections are lost between XDP and the workers' sockets.
    Lost,
    /// The probes of a round did not come back.
    Silent,
    Ordered(Order),
    /// The daemon is about to be stopped.
    Leaving,
    /// The disable file is there.
    File,
}

impl Reason {
    /// One word, for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Served { .. } => "served",
            Self::Held => "held",
            Self::Workers { .. } => "workers",
            Self::Interface => "interface",
            Self::Program => "program",
            Self::Blind => "blind",
            Self::Address => "address",
            Self::Probe { .. } => "probe",
            Self::Backend { .. } => "backend",
            Self::Bfd => "bfd",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Ordered(_) => "order",
            Self::Leaving => "stop",
            Self::File => "disable_file",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => out.write_str("started"),
            Self::Served { workers: 1 } => out.write_str("1 worker answers"),
            Self::Served { workers } => write!(out, "{workers} workers answer"),
            Self::Held => out.write_str("workers answer, but it flapped and has to wait"),
            Self::Workers { running, needed } => {
                write!(out, "{running} of {needed} needed workers run")
            }
            Self::Interface => out.write_str("interface down"),
            Self::Program => out.write_str("program detached"),
            Self::Blind => out.write_str("program attached, but the driver does not run it"),
            Self::Address => out.write_str("VIP is no address of this node"),
            Self::Probe {
                good,
                needed,
                first,
            } => write!(out, "{good} of {needed} needed workers answer: {first}"),
            Self::Backend { up, needed } => {
                write!(out, "{up} of {needed} needed servers up")
            }
            Self::Bfd => out.write_str("no BFD session up"),
            Self::Lost => out.write_str(LOST),
            Self::Silent => out.write_str("the probes did not come back"),
            Self::Ordered(order) => write!(out, "ober-user {order}"),
            Self::Leaving => out.write_str("the daemon is about to be stopped"),
            Self::File => out.write_str("disable file"),
        }
    }
}

/// One change of the shown state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub at: Instant,
    pub from: State,
    pub to: State,
    pub reason: Reason,
}
