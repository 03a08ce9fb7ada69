//! The BFD sessions, as `status` and `bfd` show them.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::protocols::bfd::{Drops, Overview, Settings, State, View};

/// The kernel dropped these before the daemon could read them: from a sender that is no peer, with a TTL below what the
/// peer's session takes, or to a socket whose queue was full.
pub const KERNEL: &str = "kernel";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bfd {
    /// Does the thread that sends and receives run ahead of ordinary work (`SCHED_FIFO`)?
    pub realtime: bool,
    pub sessions: Vec<Session>,
    /// Packets that were for no session, by reason, and those of [`KERNEL`], which may have been for one; reasons that never
    /// happened are left out.
    pub drops: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub peer: IpAddr,
    pub interface: Option<String>,
    pub state: State,
    /// Seconds in this state.
    pub seconds: u64,
    /// Why it left the state before.
    pub diagnostic: String,
    pub remote_state: State,
    pub remote_diagnostic: String,
    /// As configured: `auto`, `single-hop` or `multi-hop`.
    pub mode: String,
    /// As spoken: `single-hop` or `multi-hop`.
    pub hops: String,
    pub passive: bool,
    pub discriminator: u32,
    /// `None`: no packet of the peer has come.
    pub remote_discriminator: Option<u32>,
    /// The interval of our packets, as negotiated; `None`: nothing is sent.
    pub transmit_microseconds: Option<u64>,
    /// Silence after which the peer counts as gone, as negotiated; `None`: no packet of the peer has come.
    pub detection_microseconds: Option<u64>,
    pub multiplier: u8,
    pub remote_multiplier: u8,
    /// How often it came Up.
    pub ups: u64,
    /// How often it went Down without an administrator asking for it.
    pub failures: u64,
    pub received: u64,
    pub sent: u64,
    pub send_failures: u64,
    /// Why the last send failed.
    pub send_error: Option<String>,
    /// Packets that came more than a quarter of an interval late.
    pub late: u64,
    pub last_late: Option<Late>,
    /// By reason; reasons that never happened are left out.
    pub drops: BTreeMap<String, u64>,
}

impl Session {
    /// The fact that matters most to an operator.
    pub fn remark(&self) -> Option<String> {
        let error = self.send_error.as_ref().filter(|_| self.state != State::Up);
        if let Some(error) = error {
            return Some(format!("last send failed: {error}"));
        }
        if self.follows_multihop() {
            return Some("neighbour runs multihop BFD, as FRR does with ttl-security".to_owned());
        }
        (self.diagnostic != "none").then(|| self.diagnostic.clone())
    }

    /// Did `auto` change to the port of multihop BFD?
    pub fn follows_multihop(&self) -> bool {
        self.mode == "auto" && self.hops == "multi-hop"
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    pub seconds_ago: u64,
    /// Since the packet before it.
    pub gap_microseconds: u64,
}

impl From<&Overview> for Bfd {
    fn from(overview: &Overview) -> Self {
        let sessions = overview.sessions.iter();
        let mut drops = happened(&overview.strays);
        if overview.dropped_by_the_kernel > 0 {
            drops.insert(KERNEL.to_owned(), overview.dropped_by_the_kernel);
        }
        Self {
            realtime: overview.realtime,
            sessions: sessions
                .map(|(settings, view)| Session::at(overview.at, settings, view))
                .collect(),
            drops,
        }
    }
}

impl Session {
    fn at(now: Instant, settings: &Settings, View { snapshot, failures }: &View) -> Self {
        let counters = &snapshot.counters;
        let since = |at| now.saturating_duration_since(at).as_secs();
        Self {
            peer: settings.peer,
            interface: settings.interface.clone(),
            state: snapshot.state,
            seconds: since(snapshot.since),
            diagnostic: snapshot.diagnostic.name().into(),
            remote_state: snapshot.remote.state,
            remote_diagnostic: snapshot.remote.diagnostic.name().into(),
            mode: settings.mode.name().into(),
            hops: snapshot.hops.name().into(),
            passive: settings.passive,
            discriminator: snapshot.discriminator.get(),
            remote_discriminator: snapshot.remote.discriminator.map(u32::from),
            transmit_microseconds: snapshot.transmit.map(micros),
            detection_microseconds: snapshot.detection.map(micros),
            multiplier: settings.timers.multiplier.get(),
            remote_multiplier: snapshot.remote.multiplier.get(),
            ups: counters.ups,
            failures: counters.failures,
            received: counters.received,
            sent: counters.sent,
            send_failures: failures.count,
            send_error: failures
                .errno
                .map(|errno| io::Error::from_raw_os_error(errno).to_string()),
            late: counters.late,
            last_late: counters.last_late.map(|late| Late {
                seconds_ago: since(late.at),
                gap_microseconds: micros(late.gap),
            }),
            drops: happened(&counters.drops),
        }
    }
}

/// Reasons with a count of zero are left out.
fn happened(drops: &Drops) -> BTreeMap<String, u64> {
    let happened = drops.each().filter(|(_, count)| *count > 0);
    happened
        .map(|(why, count)| (why.name().to_owned(), count))
        .collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
