//! Servers and where they come from, as shown.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::backends::check::State;

/// The status of one backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    pub servers: Vec<Server>,
    /// The sources under `discover`.
    pub sources: Vec<Source>,
    /// Entries of sources that are no server, each with the reason; and why `servers` could not be read.
    #[serde(default)]
    pub left_out: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its name in HAProxy.
    pub name: String,
    pub address: SocketAddr,
    pub host: Option<String>,
    pub weight: u16,
    pub tier: u8,
    /// Where it comes from: `servers`, or the names of sources.
    pub sources: Vec<String>,
    pub state: ServerState,
    /// What the last check found.
    pub reason: Option<String>,
    /// Seconds in this state.
    pub seconds: Option<u64>,
}

/// What the check of a server found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerState {
    /// There is no check.
    Unchecked,
    /// Before the first check.
    Unknown,
    Up,
    Down,
}

impl ServerState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl From<State> for ServerState {
    fn from(state: State) -> Self {
        match state {
            State::Unknown => Self::Unknown,
            State::Up => Self::Up,
            State::Down => Self::Down,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    /// How many servers it named; `None`: it never answered.
    pub servers: Option<u64>,
    /// Questions that failed since the daemon started.
    pub failures: u64,
    /// Why the last question failed, if it did.
    pub error: Option<String>,
    /// When the last question was over, in seconds since 1970.
    pub asked: Option<u64>,
}
