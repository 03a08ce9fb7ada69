//! The world of one virtual router: sends its advertisements, and receives its notes.

use std::{sync::Arc, time::Instant};

use tokio::sync::{mpsc, watch};

use super::{
    super::{Action, Event, Mac, Router, neighbour, packet::Advertisement},
    Key,
    addresses::AddressCommand,
    log::{Line, Log},
    note::{Counts, Note, Travel, raise},
    sockets::{GROUP4, GROUP6},
};
use crate::machine::drive::World;

pub(super) struct Instance {
    pub(super) key: Key,
    pub(super) inbox: mpsc::UnboundedReceiver<Note>,
    pub(super) travel: Arc<Travel>,
    pub(super) keeper: mpsc::UnboundedSender<AddressCommand>,
    pub(super) seen: watch::Sender<Router>,
    pub(super) counts: Arc<Counts>,
    pub(super) log: Log,
    /// Time of the last change of state that was logged.
    pub(super) published: Option<Instant>,
    /// Did sending the last advertisement fail?
    pub(super) failing: bool,
}

impl Instance {
    fn advertise(&mut self, advertisement: &Advertisement) {
        let result = self.travel.send(self.key, advertisement);
        raise(&self.counts.sent);
        if advertisement.priority == 0 {
            raise(&self.counts.resignations_sent);
        }
        if let Err(why) = &result {
            raise(&self.counts.unsent);
            if !self.failing {
                self.log.say(Line::Unsent(self.key, why.clone()));
            }
        }
        self.failing = result.is_err();
    }

    fn order(&self, order: AddressCommand) {
        // The keeper outlives the virtual routers, unless everything ends.
        self.keeper.send(order).unwrap_or_default();
    }
}

impl Travel {
    pub(super) fn mac_of(&self, key: Key) -> Mac {
        if self.virtual_mac {
            neighbour::virtual_mac(key.vrid, key.six)
        } else {
            self.mac
        }
    }

    /// Sends to every peer, even after a failure; returns the last failure.
    fn send(&self, key: Key, advertisement: &Advertisement) -> Result<(), String> {
        let source = self.source;
        let encoded = |to| advertisement.encode(self.coverage, source, to);
        let mut result = Ok(());
        for &peer in &self.peers {
            let sent = self.raw.send(source, peer, &encoded(peer));
            result = sent
                .map_err(|error| format!("to {peer}: {error}"))
                .and(result);
        }
        if self.peers.is_empty() {
            let group = if key.six {
                GROUP6.into()
            } else {
                GROUP4.into()
            };
            let bytes = encoded(group);
            let sent = if self.virtual_mac {
                let frame = neighbour::multicast(self.mac_of(key), source, group, &bytes);
                self.frames.send(&frame)
            } else {
                self.raw.send(source, group, &bytes)
            };
            result = sent.map_err(|error| format!("to {group}: {error}"));
        }
        result
    }
}

impl World<Router> for Instance {
    async fn next(&mut self) -> Option<Event> {
        loop {
            match self.inbox.recv().await? {
                Note::Event(event) => return Some(event),
                Note::Travel(travel) => self.travel = travel,
                // An error means that the caller gave up.
                Note::Flush(done) => done.send(()).unwrap_or_default(),
                Note::End => return None,
            }
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Send(advertisement) => self.advertise(&advertisement),
            Action::Hold => self.order(AddressCommand::Hold(self.key)),
            Action::Release => self.order(AddressCommand::Release(self.key)),
            Action::Garp(times) => self.order(AddressCommand::Claim(self.key, times)),
            Action::Report(conflict) => self.log.say(Line::Conflict(self.key, conflict)),
        }
    }

    fn publish(&mut self, router: &Router) {
        let new = router.history().filter(|entered| {
            self.published
                .is_none_or(|published| entered.at > published)
        });
        for entered in new {
            self.log.say(Line::Entered(self.key, *entered));
        }
        self.published = router.history().next_back().map(|last| last.at);
        self.seen.send_modify(|kept| kept.clone_from(router));
    }
}
