//! What a session is to be.

use std::{net::IpAddr, num::NonZeroU8, time::Duration};

use super::packet::Micros;
use crate::machine::realtime::Priority;

/// What a session is to be. Peer, local address and interface make it what it is; the rest may change while it is Up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub peer: IpAddr,
    /// Source of our packets and the only destination of the peer's; `None`: as the kernel routes.
    pub local: Option<IpAddr>,
    /// Needed for a link-local peer.
    pub interface: Option<String>,
    pub mode: Mode,
    pub timers: Timers,
    /// Says nothing until the peer does.
    pub passive: bool,
    /// After a failure, clients are told `Up` only when the session has been Up for so long.
    pub hold_down: Duration,
}

/// How many hops away the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One, but on whichever port the peer speaks: FRR takes GTSM for a reason to run multihop BFD on a direct link.
    Auto,
    SingleHop,
    /// Packets must come with at least this TTL.
    MultiHop {
        min_ttl: u8,
    },
}

impl Mode {
    pub(super) const fn first(self) -> Hops {
        match self {
            Self::Auto | Self::SingleHop => Hops::Single,
            Self::MultiHop { .. } => Hops::Multi,
        }
    }

    /// Where packets of such a session may come in.
    pub(super) const fn ports(self) -> &'static [Hops] {
        match self {
            Self::Auto => &Hops::ALL,
            Self::SingleHop => &[Hops::Single],
            Self::MultiHop { .. } => &[Hops::Multi],
        }
    }

    pub(super) const fn min_ttl(self) -> u8 {
        match self {
            // RFC 5881 section 5: what came through no router still has the TTL it was sent with.
            Self::Auto | Self::SingleHop => 255,
            Self::MultiHop { min_ttl } => min_ttl,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::SingleHop => "single-hop",
            Self::MultiHop { .. } => "multi-hop",
        }
    }
}

/// Which of the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hops {
    /// RFC 5881.
    Single,
    /// RFC 5883.
    Multi,
}

impl Hops {
    pub const ALL: [Self; 2] = [Self::Single, Self::Multi];

    pub const fn port(self) -> u16 {
        match self {
            Self::Single => 3784,
            Self::Multi => 4784,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single-hop",
            Self::Multi => "multi-hop",
        }
    }
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// We want to send this often.
    pub transmit: Micros,
    /// We can take packets this often. Not zero.
    pub receive: Micros,
    /// The peer may miss one fewer of our packets.
    pub multiplier: NonZeroU8,
}

impl Timers {
    /// The fastest that an ordinary thread keeps.
    const ORDINARY: Micros = Micros(50_000);

    /// As fast as the thread can be: ordinary scheduling is late by milliseconds, which would be taken for failures.
    pub(super) fn on(self, priority: Priority) -> Self {
        match priority {
            Priority::Realtime => self,
            Priority::Nice | Priority::Ordinary => Self {
                transmit: self.transmit.max(Self::ORDINARY),
                receive: self.receive.max(Self::ORDINARY),
                multiplier: self.multiplier,
            },
        }
    }
}
