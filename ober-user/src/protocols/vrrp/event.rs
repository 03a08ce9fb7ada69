//! What happens to a virtual router and what it asks for.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::packet::{Advertisement, Interval, Version, Vrid};

/// An address of a network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// What one virtual router is, on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub vrid: Vrid,
    pub version: Version,
    /// 1 to 255; 255 owns the addresses.
    pub priority: u8,
    pub interval: Interval,
    /// Where its advertisements come from; decides between equal priorities.
    pub own: IpAddr,
    /// In every advertisement.
    pub addresses: Vec<IpAddr>,
    pub preempt: Preempt,
    pub answers: Answers,
    pub garp: Garp,
}

/// When to take over from a living master of lower priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preempt {
    Never,
    /// Once it was heard for this long; zero: as RFC 9568 says.
    After(Duration),
}

/// Advertisements beyond the regular ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// A master answers a lower priority at once (RFC 9568 section 6.4.3).
    pub lower: bool,
    /// A master that gives way advertises once more, so that its better announces itself again.
    pub higher: bool,
}

/// When neighbours' caches are told of the addresses: gratuitous ARP, or unsolicited neighbour advertisements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garp {
    /// Frames an address in a burst, at least 1.
    pub repeat: u8,
    /// From the first burst to the second; zero: no second.
    pub delay: Duration,
    /// Single frames again and again while master; zero: never.
    pub refresh: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// May this node serve? Closed at first.
    Gate(bool),
    /// Is the interface up? Down at first.
    Link(bool),
    Received {
        from: IpAddr,
        advertisement: Advertisement,
    },
    /// The addresses asked for by [`Action::Hold`] are there.
    Held,
    /// They cannot be had.
    Refused,
    /// Somebody took one of them away.
    Lost,
    /// Somebody else answers for one of them.
    Claimed { address: IpAddr, by: Mac },
    /// The same virtual router, otherwise set.
    Configure(Settings),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To every peer, or to the group.
    Send(Advertisement),
    /// Put the addresses on the interface, or renew them there.
    Hold,
    /// Take them away.
    Release,
    /// Tell the neighbours' caches of every address, so many times.
    Garp(u8),
    /// To the log; not more than once a minute for the same.
    Report(Conflict),
}

/// What should not be on the wire. Nothing here can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error(
        "two masters: {from} advertises priority {priority} and does not give way; is the path to it one-way?"
    )]
    TwoMasters { from: IpAddr, priority: u8 },
    #[error("{from} uses this VRID for other addresses; give one of the two another VRID")]
    Addresses { from: IpAddr },
    #[error("{from} advertises every {} ms, but version 2 wants one interval everywhere", .interval.as_millis())]
    Interval { from: IpAddr, interval: Duration },
    #[error("{from} advertises from this node's own address; give one of the two another address")]
    OwnAddress { from: IpAddr },
    #[error("{from} owns the addresses too: only one node may have priority 255")]
    Owner { from: IpAddr },
    #[error("{by} answers for {address} too; remove the address there")]
    Claimed { address: IpAddr, by: Mac },
}

/// Where a virtual router stands (RFC 9568 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes no part: gate closed, link down, addresses refused.
    Initialize {
        /// When refused addresses are tried again.
        retry: Option<Instant>,
    },
    Backup {
        /// Master unless something comes before.
        down: Instant,
        /// Since a master of lower priority is heard: when it is no longer obeyed.
        preempt: Option<Instant>,
        /// Was `down` put off once because it came late?
        doubted: bool,
        /// What it will mean: silence or a resignation.
        why: Why,
    },
    Master {
        /// The next advertisement.
        advertise: Instant,
        /// The last one.
        sent: Instant,
        /// When the addresses' lifetime is renewed.
        renew: Instant,
        /// Are the addresses there?
        held: bool,
    },
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialize { .. } => "initialize",
            Self::Backup { .. } => "backup",
            Self::Master { .. } => "master",
        }
    }
}

/// Why a state was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("started, gate not open yet")]
    Started,
    #[error("gate open")]
    GateOpened,
    #[error("gate closed")]
    GateClosed,
    #[error("link up")]
    LinkUp,
    #[error("link down")]
    LinkDown,
    #[error("addresses could not be added")]
    Refused,
    #[error("tried again")]
    Retried,
    #[error("owner of the addresses")]
    Owner,
    #[error("no master heard")]
    Silence,
    #[error("the master resigned")]
    Resigned,
    #[error("{from} has priority {priority}")]
    Outranked { from: IpAddr, priority: u8 },
    #[error("own timer {} ms late", .0.as_millis())]
    Late(Duration),
}

/// A state entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub at: Instant,
    /// [`State::name`].
    pub to: &'static str,
    pub why: Why,
}
