//! The health gate of each VIP, as `status` and `gate` show it.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::gate::{Standing, State};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    pub vip: IpAddr,
    pub state: State,
    /// Seconds in this state.
    pub seconds: u64,
    pub reason: String,
    /// What the neighbours are told.
    pub standing: Standing,
    /// Workers that served in the last round of probes.
    pub serving: usize,
    /// Servers up in the eyes of the worker that saw the fewest; `None`: not asked.
    pub servers: Option<usize>,
    /// Transitions since the start of the daemon, by reason.
    pub transitions: BTreeMap<String, u64>,
    /// The last 20, oldest first.
    pub history: Vec<Transition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Seconds since 1970.
    pub at: u64,
    pub from: State,
    pub to: State,
    pub reason: String,
}
