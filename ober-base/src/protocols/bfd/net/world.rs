//! The world of one session.

use std::net::IpAddr;

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    super::{Action, Event, Session, Settings, StateChange},
    View,
    send::Sender,
};
use crate::machine::drive;

/// Input of a session.
#[derive(Debug)]
pub(super) enum Input {
    Event(Event),
    /// The event, and a reply when all its actions are done.
    Acknowledge(Event, oneshot::Sender<()>),
    /// The session ends and sends no further packet.
    End,
}

#[derive(Debug)]
pub(super) struct World {
    peer: IpAddr,
    interface: Option<String>,
    inbox: mpsc::UnboundedReceiver<Input>,
    sender: Sender,
    changes: mpsc::UnboundedSender<StateChange>,
    shows: watch::Sender<View>,
    acknowledge: Option<oneshot::Sender<()>>,
    over: bool,
}

impl World {
    pub(super) fn new(
        settings: &Settings,
        inbox: mpsc::UnboundedReceiver<Input>,
        changes: mpsc::UnboundedSender<StateChange>,
        shows: watch::Sender<View>,
        seed: u64,
    ) -> Self {
        Self {
            peer: settings.peer,
            interface: settings.interface.clone(),
            inbox,
            sender: Sender::new(settings, seed),
            changes,
            shows,
            acknowledge: None,
            over: false,
        }
    }
}

impl drive::World<Session> for World {
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        match self.inbox.recv().await? {
            Input::Event(event) => Some(event),
            Input::Acknowledge(event, done) => {
                self.acknowledge = Some(done);
                Some(event)
            }
            Input::End => None,
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Send { control, hops } => self.sender.send(&control, hops),
            Action::Tell { state, diagnostic } => {
                let change = StateChange {
                    peer: self.peer,
                    interface: self.interface.clone(),
                    state,
                    diagnostic,
                };
                // An error means that the daemon is ending.
                self.changes.send(change).unwrap_or_default();
            }
            Action::Over => self.over = true,
        }
    }

    fn publish(&mut self, session: &Session) {
        self.shows.send_replace(View {
            snapshot: session.snapshot(),
            failures: self.sender.failures(),
        });
        if let Some(done) = self.acknowledge.take() {
            done.send(()).unwrap_or_default();
        }
    }
}
