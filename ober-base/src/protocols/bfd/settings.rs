//! The settings of a session.

use std::{net::IpAddr, num::NonZeroU8, time::Duration};

use ober_common::packet::BFD_PORTS;

use super::packet::Micros;
use crate::machine::realtime::Priority;

/// The settings of a session. Peer, local address and interface identify it; the rest may change while it is Up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub peer: IpAddr,
    /// Source address of this end, and the only destination accepted; `None`: the kernel chooses.
    pub local: Option<IpAddr>,
    /// Required for a link-local peer.
    pub interface: Option<String>,
    pub mode: Mode,
    pub timers: Timers,
    /// Sends nothing until the peer does.
    pub passive: bool,
    /// How long after a failure a session must be Up again before clients get `Up`.
    pub hold_down: Duration,
}

/// How many hops away the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One hop, on the port that the peer uses: with GTSM, FRR runs multihop BFD on a direct link.
    Auto,
    SingleHop,
    /// Packets must arrive with at least this TTL.
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

    /// The ports that such a session receives on.
    pub(super) const fn ports(self) -> &'static [Hops] {
        match self {
            Self::Auto => &Hops::ALL,
            Self::SingleHop => &[Hops::Single],
            Self::MultiHop { .. } => &[Hops::Multi],
        }
    }

    pub(super) const fn min_ttl(self) -> u8 {
        match self {
            // RFC 5881 section 5: a packet that passed no router still has the TTL it was sent with.
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

/// One of the two ports.
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
            Self::Single => BFD_PORTS[0],
            Self::Multi => BFD_PORTS[1],
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single-hop",
            Self::Multi => "multi-hop",
        }
    }
}

/// The speed of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// This end wants to send at this interval.
    pub transmit: Micros,
    /// This end can receive at this interval. Not zero.
    pub receive: Micros,
    /// The peer may miss one packet fewer than this.
    pub multiplier: NonZeroU8,
}

impl Timers {
    /// The fastest interval that an ordinary thread can keep.
    const ORDINARY: Micros = Micros(50_000);

    /// Limits the speed to that of the thread: an ordinary thread is late by milliseconds, which would look like failures.
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
