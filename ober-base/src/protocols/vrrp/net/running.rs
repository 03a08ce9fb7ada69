//! A running virtual router, for its handle.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    super::{Event, Router, Settings},
    Key, View,
    note::{Counts, Note},
};
use crate::protocols::vrrp::configured::Instance;

/// One running virtual router.
pub(super) struct Running {
    pub(super) settings: Settings,
    pub(super) instance: Instance,
    /// The VIPs that must be served for it to take part, and that it has as master. A VIP that joins others counts once it may
    /// first be served; until then, and when it leaves, the others go on.
    pub(super) counted: BTreeSet<IpAddr>,
    pub(super) notes: mpsc::UnboundedSender<Note>,
    pub(super) seen: watch::Receiver<Router>,
    pub(super) counts: Arc<Counts>,
    pub(super) task: JoinHandle<()>,
}

impl Running {
    /// Every address it has as master.
    pub(super) fn held(&self) -> Vec<IpAddr> {
        let mut held = self.instance.held();
        let moves = |address: &IpAddr| self.instance.moved().any(|vip| vip == *address);
        held.retain(|address| !moves(address) || self.counted.contains(address));
        held
    }

    /// VIPs that are not counted yet.
    pub(super) fn joining(&self) -> impl Iterator<Item = IpAddr> {
        let vips = self.instance.moved();
        vips.filter(|vip| !self.counted.contains(vip))
    }

    /// Takes new settings under the same key: the VIPs that counted before still count, and so do those that may be served
    /// already.
    pub(super) fn become_instance(&mut self, instance: &Instance, gates: &BTreeMap<IpAddr, bool>) {
        let open = |vip: &IpAddr| gates.get(vip).copied().unwrap_or_default();
        let stays = instance.moved().any(|vip| self.counted.contains(&vip));
        let counts = |vip: &IpAddr| !stays || self.counted.contains(vip) || open(vip);
        self.counted = instance.moved().filter(counts).collect();
        self.instance = instance.clone();
    }

    /// These VIPs will leave it and no longer count, unless none would be left. Returns whether that changed anything.
    pub(super) fn let_go(&mut self, vips: &BTreeSet<IpAddr>) -> bool {
        let left: BTreeSet<IpAddr> = self.counted.difference(vips).copied().collect();
        let changed = !left.is_empty() && left != self.counted;
        if changed {
            self.counted = left;
        }
        changed
    }

    /// The VIP may be served. Returns whether it counts only from now on.
    pub(super) fn count(&mut self, vip: IpAddr) -> bool {
        self.instance.moved().any(|it| it == vip) && self.counted.insert(vip)
    }

    pub(super) fn gate(&self, gates: &BTreeMap<IpAddr, bool>) {
        let mut vips = self.counted.iter();
        let open = vips.all(|vip| gates.get(vip).copied().unwrap_or_default());
        self.tell(Note::Event(Event::Gate(open)));
    }

    pub(super) fn tell(&self, note: Note) {
        // The task ends only after [`Note::End`].
        self.notes.send(note).unwrap_or_default();
    }

    pub(super) fn view(&self, key: Key) -> View {
        View {
            vrid: key.vrid,
            settings: self.settings.clone(),
            instance: self.instance.clone(),
            joining: self.joining().collect(),
            router: self.seen.borrow().clone(),
            counts: self.counts.read(),
        }
    }
}
