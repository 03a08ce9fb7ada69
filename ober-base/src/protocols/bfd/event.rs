//! Events and actions of a session, and what its clients get.

use std::{net::IpAddr, time::Duration};

use super::{
    packet::{Control, Diagnostic, Refusal, State},
    settings::{Hops, Mode, Timers},
};

/// What a client of the session gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    pub peer: IpAddr,
    pub interface: Option<String>,
    /// `Up`; `Down` only for a session that was Up and failed; `AdminDown` when the administrator of either end took the
    /// session down, which says nothing about the path. Never `Init`.
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
    /// A packet for this session that is invalid.
    Refused(Refusal),
    Configure {
        mode: Mode,
        timers: Timers,
        passive: bool,
        hold_down: Duration,
    },
    AdminDown,
    /// Leaves `AdminDown`.
    Enable,
    /// Enters `AdminDown`; the session ends when the peer has had the time to learn of it.
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
