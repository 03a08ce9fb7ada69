//! Servers and where they come from, as shown.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

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
    /// `up`, `down`, `unknown` before the first check, `unchecked` where there is none.
    pub state: String,
    /// What the last check found.
    pub reason: Option<String>,
    /// Seconds in this state.
    pub seconds: Option<u64>,
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
