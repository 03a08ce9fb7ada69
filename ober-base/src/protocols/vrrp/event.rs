//! Events and actions of a virtual router.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::packet::{Advertisement, Interval, Version, Vrid};

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// The settings of a virtual router on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub vrid: Vrid,
    pub version: Version,
    /// 1 to 255; 255: the owner of the addresses.
    pub priority: u8,
    pub interval: Interval,
    /// Source address of its advertisements; decides between equal priorities.
    pub own: IpAddr,
    /// The addresses in every advertisement.
    pub addresses: Vec<IpAddr>,
    pub preempt: Preempt,
    pub answers: Answers,
    pub garp: Garp,
}

/// When to take over from a live master of lower priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preempt {
    Never,
    /// After that master was heard for this long; zero: as RFC 9568 says.
    After(Duration),
}

/// Advertisements beyond the regular ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// A master answers a lower priority at once (RFC 9568 section 6.4.3).
    pub lower: bool,
    /// A master that gives way advertises once more, so that the better one announces itself again.
    pub higher: bool,
}

/// When neighbours' caches are updated: gratuitous ARP, or unsolicited neighbour advertisements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garp {
    /// Frames for each address in a burst, at least 1.
    pub repeat: u8,
    /// Time from the first burst to the second; zero: no second.
    pub delay: Duration,
    /// Interval of single frames while master; zero: none.
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
    /// The addresses of [`Action::Hold`] have been added.
    Held,
    /// They cannot be added.
    Refused,
    /// One of them was removed by another program.
    Lost,
    /// Another host claims one of them.
    Claimed { address: IpAddr, by: Mac },
    /// New settings of the same virtual router.
    Configure(Settings),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send to every peer, or to the group.
    Send(Advertisement),
    /// Add the addresses to the interface, or renew them.
    Hold,
    /// Remove them.
    Release,
    /// Send a burst of claims of every address, with this many frames each.
    Garp(u8),
    /// Log it; the same at most once a minute.
    Report(Conflict),
}

/// A fault of the network or of another node, which this node cannot correct.
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

/// State of a virtual router (RFC 9568 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Does not take part: gate closed, link down, addresses refused.
    Initialize {
        /// When adding refused addresses is tried again.
        retry: Option<Instant>,
    },
    Backup {
        /// When this node becomes master, unless an advertisement arrives before.
        down: Instant,
        /// When a master of lower priority is no longer obeyed; set when it is first heard.
        preempt: Option<Instant>,
        /// Was `down` extended once because it was noticed late?
        doubted: bool,
        /// The reason at `down`: silence or a resignation.
        why: Why,
    },
    Master {
        /// When the next advertisement is due.
        advertise: Instant,
        /// When the last one was sent.
        sent: Instant,
        /// When the lifetime of the addresses is renewed.
        renew: Instant,
        /// Are the addresses on the interface?
        held: bool,
    },
}

impl State {
    pub fn role(self) -> Role {
        match self {
            Self::Initialize { .. } => Role::Initialize,
            Self::Backup { .. } => Role::Backup,
            Self::Master { .. } => Role::Master,
        }
    }

    pub fn name(self) -> &'static str {
        self.role().name()
    }
}

/// A state without its timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Initialize,
    Backup,
    Master,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Initialize, Self::Backup, Self::Master];

    pub fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Master => "master",
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

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub at: Instant,
    pub to: Role,
    pub why: Why,
}
