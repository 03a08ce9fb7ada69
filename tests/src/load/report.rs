//! The report of a load.

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::client::Failure;

/// One request.
#[derive(Clone, Debug)]
pub struct Record {
    /// When its connection was begun, or the request itself on a kept connection.
    pub began: Instant,
    pub ended: Instant,
    /// The client's own end of its last connection, as far as there was one.
    pub local: Option<SocketAddr>,
    pub outcome: Result<(), Failure>,
}

/// The requests of a load.
#[derive(Clone, Debug)]
pub struct Report {
    pub records: Vec<Record>,
    pub elapsed: Duration,
}

/// How many requests ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub ok: u64,
    /// Connection attempts answered with a reset.
    pub refused: u64,
    /// Connection attempts not answered.
    pub unanswered: u64,
    /// Connections this machine could not make.
    pub local: u64,
    /// Connected, TLS did not come about.
    pub handshake: u64,
    /// Connections cut with a request under way.
    pub cut: u64,
    pub truncated: u64,
    pub late: u64,
    /// Wrong bytes.
    pub wrong: u64,
    /// Answers with a status other than success.
    pub status: u64,
}

impl Tally {
    fn note(&mut self, outcome: &Result<(), Failure>) {
        let counter = match outcome {
            Ok(()) => &mut self.ok,
            Err(Failure::Refused(_)) => &mut self.refused,
            Err(Failure::Unanswered(_)) => &mut self.unanswered,
            Err(Failure::Local { .. }) => &mut self.local,
            Err(Failure::Handshake { .. }) => &mut self.handshake,
            Err(Failure::Cut { .. }) => &mut self.cut,
            Err(Failure::Truncated { .. }) => &mut self.truncated,
            Err(Failure::Late { .. }) => &mut self.late,
            Err(Failure::Wrong { .. }) => &mut self.wrong,
            Err(Failure::Status { .. }) => &mut self.status,
        };
        *counter += 1;
    }

    fn kinds(&self) -> [(&'static str, u64); 10] {
        [
            ("ok", self.ok),
            ("refused", self.refused),
            ("unanswered", self.unanswered),
            ("not made", self.local),
            ("handshake failed", self.handshake),
            ("cut", self.cut),
            ("truncated", self.truncated),
            ("late", self.late),
            ("wrong bytes", self.wrong),
            ("error status", self.status),
        ]
    }

    /// Everything that is not `ok`.
    pub fn failed(&self) -> u64 {
        self.kinds().iter().skip(1).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Tally {
    /// "812 ok", and whatever else there was.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ok", self.ok)?;
        for (name, count) in self
            .kinds()
            .into_iter()
            .skip(1)
            .filter(|(_, count)| *count > 0)
        {
            write!(out, ", {count} {name}")?;
        }
        Ok(())
    }
}

impl Report {
    pub fn tally(&self) -> Tally {
        self.count(|_| true)
    }

    /// Fails unless there were requests and each was answered as it must be.
    pub fn none_failed(&self) -> Result<Tally> {
        let tally = self.tally();
        let clean = tally.ok > 0 && tally.failed() == 0;
        ensure!(clean, "{tally}: {:?}", self.failures(3));
        Ok(tally)
    }

    /// Only the requests for which `which` holds.
    pub fn count(&self, which: impl Fn(&Record) -> bool) -> Tally {
        let mut tally = Tally::default();
        for record in self.records.iter().filter(|record| which(record)) {
            tally.note(&record.outcome);
        }
        tally
    }

    /// The first failures, in words.
    pub fn failures(&self, most: usize) -> Vec<String> {
        self.records
            .iter()
            .filter_map(|record| record.outcome.as_ref().err())
            .take(most)
            .map(ToString::to_string)
            .collect()
    }

    /// How long the answered requests took, each with its connection if that was new, quickest first.
    pub fn times(&self) -> Vec<Duration> {
        let answered = self.records.iter().filter(|record| record.outcome.is_ok());
        let mut times: Vec<_> = answered.map(|it| it.ended - it.began).collect();
        times.sort_unstable();
        times
    }

    /// Verified answers per second.
    pub fn rate(&self) -> f64 {
        let ok = u32::try_from(self.tally().ok).unwrap_or(u32::MAX);
        f64::from(ok) / self.elapsed.as_secs_f64()
    }

    /// The longest a request took that began at or after `moment`.
    pub fn slowest_since(&self, moment: Instant) -> Duration {
        self.records
            .iter()
            .filter(|record| record.began >= moment)
            .map(|record| record.ended - record.began)
            .max()
            .unwrap_or_default()
    }
}
