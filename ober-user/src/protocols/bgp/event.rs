//! What may happen to the machine of a neighbour, what it may ask for, and what it can tell.

use std::{fmt, sync::Arc, time::Instant};

use super::{
    connection::{Agreed, Settings},
    message::{Kind, Message, Notification, Open, Received},
    rib::{NextHops, Routes, Told},
};

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// We did.
    Ours,
    /// The neighbour did.
    Theirs,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Ours => Self::Theirs,
            Self::Theirs => Self::Ours,
        }
    }
}

/// RFC 4271 section 8.2.2; of two connections the further one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Active => "active",
            Self::OpenSent => "open-sent",
            Self::OpenConfirm => "open-confirm",
            Self::Established => "established",
        }
    }
}

/// What BFD says of the way to the neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Down,
    Up,
    /// Somebody took BFD down on purpose, which says nothing about the way (RFC 5882 section 4.2).
    AdminDown,
}

impl Path {
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::AdminDown => "admin-down",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Start,
    /// Ends both connections with these words, until the next start.
    Stop(Notification),
    /// The connection asked for with [`Action::Dial`] is there.
    Dialed(NextHops),
    /// It is not, and why.
    NotDialed(String),
    /// The neighbour connected.
    Accepted(NextHops),
    Received(Side, Received),
    /// Bytes that are no message, and what is to be said about them.
    Garbage(Side, Notification),
    /// The connection is gone, and why.
    Closed(Side, String),
    Bfd(Path),
    /// What the neighbour shall know.
    Routes(Arc<Routes>),
    /// BFD watches the way no longer.
    Unwatched,
    /// Every VIP has its first verdict.
    Settled,
    /// What a session is not made of changes beside it.
    Configure(Box<Settings>),
    /// The neighbour reaches this node by other addresses now.
    NextHops(Side, NextHops),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Dial,
    /// Gives up the attempt to connect.
    HangUp,
    /// Takes the connection the neighbour made.
    Accept,
    /// Does not.
    Refuse,
    Send(Side, Message),
    /// Closes after everything sent.
    Close(Side),
    /// Something failed that an administrator may want to know.
    Failed(Failure),
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Connect(String),
    /// We ended it.
    Sent(Notification),
    /// The neighbour ended it.
    Got(Notification),
    /// The connection ended without a word.
    Closed(State, String),
}

impl Failure {
    /// The neighbour did not want this connection (RFC 4486 section 4).
    pub(super) fn is_rejection(&self) -> bool {
        matches!(self, Self::Got(it) if it.is(&Notification::REJECTED))
    }

    /// The neighbour chose the other of two connections (RFC 4271 section 6.8).
    pub(super) fn is_of_the_other(&self) -> bool {
        self.is_rejection() || matches!(self, Self::Got(it) if it.is(&Notification::COLLISION))
    }

    /// BFD ended the session, here or there (RFC 9384): that is for BFD to pace, and says nothing against the neighbour.
    pub(super) fn is_of_the_path(&self) -> bool {
        matches!(self, Self::Sent(it) | Self::Got(it) if it.is(&Notification::BFD_DOWN))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(reason) => write!(out, "cannot connect: {reason}"),
            Self::Sent(notification) => write!(out, "ended by this node: {notification}"),
            Self::Got(notification) => write!(out, "ended by the neighbour: {notification}"),
            Self::Closed(state, reason) => {
                write!(out, "the connection ended in {}: {reason}", state.name())
            }
        }
    }
}

/// Messages by kind, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: [u64; Kind::ALL.len()],
    pub received: [u64; Kind::ALL.len()],
}

/// What can be told of a neighbour.
#[derive(Clone, Debug)]
pub struct Report {
    pub state: State,
    pub since: Instant,
    /// Sessions that were Established and ended.
    pub flaps: u64,
    /// Of the established connection.
    pub agreed: Option<Arc<Agreed>>,
    /// What it was told.
    pub told: Arc<Told>,
    pub path: Option<Path>,
    pub counts: Counts,
    /// What the neighbour last said of itself, whether it was accepted or not.
    pub opened: Option<Arc<Open>>,
    pub malformed: u64,
    pub heard: usize,
    pub last_sent: Option<(Instant, Notification)>,
    pub last_got: Option<(Instant, Notification)>,
    pub last_failure: Option<(Instant, Failure)>,
}
