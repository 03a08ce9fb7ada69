//! A virtual router that runs, as its handle knows it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    super::{Event, Router, Settings, State},
    Key,
    instance::{Counts, Note},
};
use crate::{drive::now, status};

/// One virtual router that runs.
pub(super) struct Running {
    pub(super) settings: Settings,
    pub(super) vips: Vec<IpAddr>,
    pub(super) excluded: Vec<IpAddr>,
    pub(super) notes: mpsc::UnboundedSender<Note>,
    pub(super) held: Vec<IpAddr>,
    pub(super) seen: watch::Receiver<Router>,
    pub(super) counts: Arc<Counts>,
    pub(super) task: JoinHandle<()>,
}

impl Running {
    pub(super) fn gate(&self, gates: &BTreeMap<IpAddr, bool>) {
        let vips = self.vips.iter().chain(&self.excluded);
        let open = vips
            .copied()
            .all(|vip| gates.get(&vip).copied().unwrap_or_default());
        self.tell(Note::Event(Event::Gate(open)));
    }

    pub(super) fn tell(&self, note: Note) {
        // It ends only when it is told to.
        self.notes.send(note).unwrap_or_default();
    }

    pub(super) fn status(&self, key: Key) -> status::vrrp::Router {
        let router = self.seen.borrow().clone();
        let now = now();
        let ago = |at| now.saturating_duration_since(at).as_secs();
        let history = router.history().rev();
        let transitions = history.map(|entered| status::vrrp::Transition {
            seconds: ago(entered.at),
            state: entered.to.to_owned(),
            reason: entered.why.to_string(),
        });
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let master = router.master();
        status::vrrp::Router {
            vrid: key.vrid.0.get(),
            version: self.settings.version.number(),
            vips: self.vips.clone(),
            excluded: self.excluded.clone(),
            state: router.state().name().to_owned(),
            transitions: transitions.collect(),
            priority: self.settings.priority,
            master: master.map(|(address, _)| address),
            master_priority: master.map(|(_, priority)| priority),
            addresses_present: matches!(router.state(), State::Master { held: true, .. }),
            sent: count(&self.counts.sent),
            unsent: count(&self.counts.unsent),
            received: count(&self.counts.received),
            resignations_sent: count(&self.counts.resignations_sent),
            resignations_received: count(&self.counts.resignations_received),
            claims_sent: count(&self.counts.claims_sent),
            transitions_to_master: router.won(),
            late_timers: router.late(),
            conflicts: router.conflicts(),
            conflict: router
                .conflict()
                .map(|(at, conflict)| status::vrrp::Conflict {
                    seconds: ago(at),
                    what: conflict.to_string(),
                }),
        }
    }
}
