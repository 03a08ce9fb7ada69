//! What happens to a session, what it asks for, and what those who rely on it hear.

use std::{net::IpAddr, time::Duration};

use super::{
    packet::{Control, Diagnostic, Refusal, State},
    settings::{Hops, Mode, Timers},
};

/// What somebody who relies on the session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub peer: IpAddr,
    pub interface: Option<String>,
    /// `Up`; `Down` for a session that was Up and failed, and for nothing else; `AdminDown` when either end was taken
    /// down by its administrator, which says nothing about the path. Never `Init`.
    pub state: State,
    pub diagnostic: Diagnostic,
}

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Received {
        control: Control,
        hops: Hops,
        ttl: u8,
    },
    /// A packet for this session that is none.
    Refused(Refusal),
    Follow {
        mode: Mode,
        timers: Timers,
        passive: bool,
        hold_down: Duration,
    },
    AdminDown,
    /// Out of `AdminDown`.
    Enable,
    /// `AdminDown`, and over as soon as the peer has had the time to learn of it.
    Leave,
}

/// What a session asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Send {
        control: Control,
        hops: Hops,
    },
    Tell {
        state: State,
        diagnostic: Diagnostic,
    },
    Over,
}
