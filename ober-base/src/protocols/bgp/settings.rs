//! The settings of a neighbour, and what its OPEN and this node's agree on.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use super::{
    message::{self, Capabilities, Family, Notification, Open},
    rib::{NextHops, Terms},
};

/// The least hold time other than none (RFC 4271 section 4.2).
pub const LEAST_HOLD_TIME: Duration = Duration::from_secs(3);

/// The AS that the neighbour may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    Number(u32),
    /// The same AS as this node.
    Internal,
    /// Any other AS.
    External,
    /// Any AS, this node's included.
    Auto,
}

/// The settings of a neighbour's machine. Keys that a session is made of (`configured::Neighbour::session_differs`) change with
/// a new session only, the rest while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node's AS number towards the neighbour.
    pub local_as: u32,
    pub remote: Remote,
    pub id: Ipv4Addr,
    /// Never connects, only accepts.
    pub passive: bool,
    /// Zero, or at least [`LEAST_HOLD_TIME`]; whole seconds.
    pub hold_time: Duration,
    /// `None`: a third of the agreed hold time.
    pub keepalive: Option<Duration>,
    /// Pause between two attempts to connect; grows with every failed one.
    pub connect_retry: Duration,
    /// Time between the connection and this node's OPEN (RFC 4271 section 8.1.1, `DelayOpen`).
    pub delay_open: Duration,
    pub families: BTreeSet<Family>,
    pub extended_next_hop: bool,
    /// Prefixes that the neighbour may announce; `None`: any number, and none is kept.
    pub max_prefixes: Option<u32>,
    /// Established only while BFD does not report the neighbour as down.
    pub strict: bool,
    /// The longest time that End-of-RIB waits for the first verdict of every VIP.
    pub settle: Duration,
}

impl Settings {
    pub(super) fn open(&self) -> Open {
        Open {
            asn: self.local_as,
            hold_time: self.hold_time,
            id: self.id,
            capabilities: Capabilities {
                families: self.families.clone(),
                four_octet_as: true,
                refresh: true,
                enhanced_refresh: true,
                extended_next_hop: self.extended_next_hop,
            },
        }
    }

    /// RFC 4271 section 6.2, RFC 6286 section 2.2, RFC 5492 section 3.
    pub(super) fn judge(&self, open: &Open) -> Result<(), Notification> {
        let right_as = match self.remote {
            Remote::Number(asn) => open.asn == asn,
            Remote::Internal => open.asn == self.local_as,
            Remote::External => open.asn != self.local_as,
            Remote::Auto => true,
        };
        if !right_as || open.asn == 0 {
            return Err(Notification::BAD_PEER_AS);
        }
        let internal = open.asn == self.local_as;
        if open.id.is_unspecified() || (internal && open.id == self.id) {
            return Err(Notification::BAD_IDENTIFIER);
        }
        if !open.hold_time.is_zero() && open.hold_time < LEAST_HOLD_TIME {
            return Err(Notification::UNACCEPTABLE_HOLD_TIME);
        }
        if self.families.is_disjoint(&open.capabilities.families) {
            return Err(message::unsupported(&self.families));
        }
        Ok(())
    }

    /// RFC 4271 section 4.2: the smaller of both, where zero means none.
    pub(super) fn agreed_hold_time(&self, open: &Open) -> Option<Duration> {
        let agreed = self.hold_time.min(open.hold_time);
        (!agreed.is_zero()).then_some(agreed)
    }

    pub(super) fn terms(&self, open: &Open, next_hops: NextHops) -> Terms {
        let theirs = &open.capabilities;
        Terms {
            local_as: self.local_as,
            internal: open.asn == self.local_as,
            families: self
                .families
                .intersection(&theirs.families)
                .copied()
                .collect(),
            four_octet_as: theirs.four_octet_as,
            extended_next_hop: self.extended_next_hop && theirs.extended_next_hop,
            next_hops,
        }
    }
}
