//! The counters of a session.

use std::time::{Duration, Instant};

use super::packet::Refusal;

/// Packets dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; Refusal::ALL.len()]);

impl Drops {
    pub fn count(&mut self, why: Refusal) {
        if let Some(count) = self.0.get_mut(why as usize) {
            *count += 1;
        }
    }

    /// Every reason with its count.
    pub fn each(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().zip(self.0)
    }
}

/// A packet that arrived late while the session was Up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    pub at: Instant,
    /// Time since the previous packet.
    pub gap: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: u64,
    pub sent: u64,
    pub drops: Drops,
    /// How often the session came Up.
    pub ups: u64,
    /// How often it failed: went from Up to Down without an administrator's doing.
    pub failures: u64,
    pub late: u64,
    pub last_late: Option<Late>,
}
