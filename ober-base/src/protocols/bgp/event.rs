//! Events and actions of a neighbour's machine, and its report.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    connection::Settings,
    message::{Kind, Message, Notification, Open, Received},
    rib::{Advertised, NextHops, Routes, Terms},
};

/// The side that opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// This node.
    Ours,
    /// The neighbour.
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

/// RFC 4271 section 8.2.2; with two connections, the more advanced state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

impl State {
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Connect,
        Self::Active,
        Self::OpenSent,
        Self::OpenConfirm,
        Self::Established,
    ];

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

/// BFD's state of the path to the neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Down,
    Up,
    /// BFD was taken down by an administrator, which says nothing about the path (RFC 5882 section 4.2).
    AdminDown,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Start,
    /// Ends both connections with this NOTIFICATION, until the next start.
    Stop(Notification),
    /// The connection of [`Action::Dial`] is open.
    Dialed(NextHops),
    /// It failed, and why.
    NotDialed(String),
    /// The neighbour connected.
    Accepted(NextHops),
    Received(Side, Received),
    /// Bytes that are not a message, and the NOTIFICATION for them.
    Garbage(Side, Notification),
    /// The connection was closed, and why.
    Closed(Side, String),
    Bfd(Path),
    /// The routes that the neighbour is to have.
    Routes(Arc<Routes>),
    /// BFD no longer watches the path.
    Unwatched,
    /// Every VIP has its first verdict.
    Settled,
    /// A change of settings that does not end the session.
    Configure(Box<Settings>),
    /// The neighbour now reaches this node by other addresses.
    NextHops(Side, NextHops),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Dial,
    /// Cancels the attempt to connect.
    HangUp,
    /// Accepts the connection that the neighbour made.
    Accept,
    /// Refuses it.
    Refuse,
    Send(Side, Message),
    /// Closes after everything sent before.
    Close(Side),
    /// A failure that an administrator may want to know of.
    Failed(Failure),
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Connect(String),
    /// This node ended it.
    Sent(Notification),
    /// The neighbour ended it.
    Got(Notification),
    /// The connection ended without a NOTIFICATION.
    Closed(State, String),
}

impl Failure {
    /// The neighbour refused this connection (RFC 4486 section 4).
    pub(super) fn is_rejection(&self) -> bool {
        matches!(self, Self::Got(it) if it.is(&Notification::REJECTED))
    }

    /// The neighbour kept the other of two connections (RFC 4271 section 6.8).
    pub(super) fn is_of_the_other(&self) -> bool {
        self.is_rejection() || matches!(self, Self::Got(it) if it.is(&Notification::COLLISION))
    }

    /// BFD ended the session, on either side (RFC 9384): BFD paces the next attempt, and the neighbour is not at fault.
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

/// Messages by kind, in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: [u64; Kind::ALL.len()],
    pub received: [u64; Kind::ALL.len()],
}

/// The agreed terms, once the neighbour's OPEN was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub open: Open,
    /// `None`: the session has no hold timer.
    pub hold_time: Option<Duration>,
    pub terms: Terms,
}

/// The state of a neighbour for `status`.
#[derive(Clone, Debug)]
pub struct Report {
    pub state: State,
    pub since: Instant,
    /// Sessions that were Established and ended.
    pub flaps: u64,
    /// Terms of the established connection.
    pub agreed: Option<Arc<Agreed>>,
    /// The routes that were advertised.
    pub advertised: Arc<Advertised>,
    pub path: Option<Path>,
    pub counts: Counts,
    /// The neighbour's last OPEN, accepted or not.
    pub opened: Option<Arc<Open>>,
    pub malformed: u64,
    pub heard: usize,
    pub last_sent: Option<(Instant, Notification)>,
    pub last_got: Option<(Instant, Notification)>,
    pub last_failure: Option<(Instant, Failure)>,
}
