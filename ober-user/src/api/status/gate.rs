//! The health gate of each VIP, as `status` and `gate` show it.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use serde::{Deserialize, Serialize};

use crate::announce::gate::{self, Standing, State, View};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    pub vip: IpAddr,
    pub state: State,
    /// Seconds in this state.
    pub seconds: u64,
    pub reason: String,
    /// Are new connections lost between XDP and the workers' sockets?
    #[serde(default)]
    pub lost: bool,
    /// What is announced to the neighbours.
    pub standing: Standing,
    /// Workers that served in the last round of probes.
    pub serving: usize,
    /// Servers up, as counted by the worker that saw the fewest; `None`: not asked.
    pub servers: Option<usize>,
    /// Transitions since the start of the daemon, by reason.
    pub transitions: BTreeMap<String, u64>,
    /// The last 20, oldest first.
    pub history: Vec<Transition>,
    /// Why its orders would be lost by a restart; `None`: they would not.
    #[serde(default)]
    pub unkept: Option<String>,
}

/// How many of the node's VIPs have an open gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Served {
    pub served: usize,
    pub total: usize,
}

impl Served {
    pub fn of(gates: &[Gate]) -> Self {
        let served = |gate: &&Gate| matches!(gate.state, State::Up | State::Falling);
        Self {
            served: gates.iter().filter(served).count(),
            total: gates.len(),
        }
    }

    /// Are there VIPs, and is none served?
    pub fn is_none(self) -> bool {
        self.total > 0 && self.served == 0
    }
}

/// Are there gates, and is each closed by a fault or by order? One that is still rising is not.
pub fn all_closed(gates: &[Gate]) -> bool {
    let closed = |gate: &Gate| matches!(gate.state, State::Down | State::Disabled);
    !gates.is_empty() && gates.iter().all(closed)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Seconds since 1970.
    pub at: u64,
    pub from: State,
    pub to: State,
    pub reason: String,
}

/// The reason of its state, and what else an operator must know of it.
fn reason(gate: &gate::Gate) -> String {
    let reason = gate.reason();
    let unasked = gate
        .unasked()
        .map(|why| format!("could not be asked again: {why}"));
    let lost = (gate.lost() && reason != gate::Reason::Lost).then(|| gate::state::LOST.to_owned());
    [Some(reason.to_string()), unasked, lost]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

impl From<&View> for Gate {
    fn from(view: &View) -> Self {
        let gate = &view.gate;
        let ago = |at: Instant| view.at.saturating_duration_since(at);
        let history = gate.history().iter().map(|it| Transition {
            at: view.wall.saturating_sub(ago(it.at)).as_secs(),
            from: it.from,
            to: it.to,
            reason: it.reason.to_string(),
        });
        let counts = gate.transitions().iter();
        Self {
            vip: view.vip,
            state: gate.state(),
            seconds: ago(gate.since()).as_secs(),
            reason: reason(gate),
            lost: gate.lost(),
            standing: gate.standing(),
            serving: gate.tally().serving,
            servers: gate.tally().servers,
            transitions: counts
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            history: history.collect(),
            unkept: view.unkept.clone(),
        }
    }
}
