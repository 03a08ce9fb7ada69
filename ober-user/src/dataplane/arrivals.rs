//! Do new connections get from XDP to a worker's socket? XDP counts the SYNs that it lets go to a worker, and the kernel runs
//! the socket lookup for each that arrives. What stands between the two and drops packets, such as a firewall on the node or
//! the reverse path filter, is seen by no probe: probes come by the loopback interface.
//!
//! ```text
//! interface -> XDP: syns + 1 -> firewall, routing, ... -> socket lookup: lookups + 1 -> HAProxy
//! ```

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::counters::Arrivals;

/// This many SYNs without one socket lookup are lost. Fewer may have a wrong checksum, which the kernel finds before it looks
/// for a socket.
const ENOUGH: u64 = 20;
/// They must be spread over this time, so that a lookup has had time to follow.
const SPREAD: Duration = Duration::from_secs(5);
/// SYNs that are further apart are not added up: a client that gets no answer asks again after 1, 3, 7 and 15 s (RFC 6298
/// section 5), and a stray packet now and then proves nothing.
const APART: Duration = Duration::from_secs(30);
/// Without a SYN for this long, nothing is known any more. A VIP that was withdrawn gets none, so it is tried again then.
const FORGOTTEN: Duration = Duration::from_mins(1);

/// What the counters of all services have shown so far.
#[derive(Debug, Default)]
pub struct ArrivalWatch {
    /// By counter index.
    services: BTreeMap<u32, Seen>,
}

/// One service since its last lookup.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The counts when all had arrived, or when the service was first seen.
    base: Arrivals,
    /// When the first SYN after that was seen; until then, the last look.
    since: Instant,
    syns: u64,
    last_syn: Instant,
    lost: bool,
}

impl Seen {
    const fn from(now: Instant, counts: Arrivals) -> Self {
        Self {
            base: counts,
            since: now,
            syns: counts.syns,
            last_syn: now,
            lost: false,
        }
    }

    fn learn(self, now: Instant, counts: Arrivals) -> Self {
        let quiet = now.saturating_duration_since(self.last_syn);
        let limit = if self.lost { FORGOTTEN } else { APART };
        let arrived = counts.lookups != self.base.lookups;
        // Counts fall when the maps were made anew.
        if arrived || counts.syns < self.syns || (counts.syns == self.syns && quiet >= limit) {
            return Self::from(now, counts);
        }
        if counts.syns == self.base.syns {
            return Self { since: now, ..self };
        }
        let missing = counts.syns - self.base.syns;
        let spread = now.saturating_duration_since(self.since);
        Self {
            syns: counts.syns,
            last_syn: if counts.syns > self.syns {
                now
            } else {
                self.last_syn
            },
            lost: self.lost || missing >= ENOUGH && spread >= SPREAD,
            ..self
        }
    }
}

impl ArrivalWatch {
    /// Takes the counts of all services that there are; services that are not among them are forgotten.
    pub fn learn(&mut self, now: Instant, counts: &BTreeMap<u32, Arrivals>) {
        self.services = counts
            .iter()
            .map(|(&service, &counts)| {
                let seen = match self.services.get(&service) {
                    Some(seen) => seen.learn(now, counts),
                    None => Seen::from(now, counts),
                };
                (service, seen)
            })
            .collect();
    }

    /// Are new connections of this service lost?
    pub fn lost(&self, service: u32) -> bool {
        self.services.get(&service).is_some_and(|seen| seen.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::drive;

    /// Looks of one service, 2 s apart, each with the SYNs and lookups so far; the answer after each.
    fn looks(counts: &[(u64, u64)]) -> Vec<bool> {
        let mut watch = ArrivalWatch::default();
        let mut now = drive::now();
        counts
            .iter()
            .map(|&(syns, lookups)| {
                now += Duration::from_secs(2);
                watch.learn(now, &[(1, Arrivals { syns, lookups })].into());
                watch.lost(1)
            })
            .collect()
    }

    fn last(counts: &[(u64, u64)]) -> bool {
        looks(counts).last().copied().unwrap_or_default()
    }

    #[test]
    fn twenty_syns_without_a_lookup_within_five_seconds_are_lost_connections() {
        let counts = [(0, 0), (0, 0), (10, 0), (20, 0), (25, 0)];
        assert_eq!(looks(&counts), [false, false, false, false, true]);
        assert!(
            !last(&[(0, 0), (10, 0), (15, 0), (19, 0), (19, 0)]),
            "too few"
        );
        assert!(!last(&[(0, 0), (500, 0), (900, 0)]), "too soon");
    }

    #[test]
    fn one_lookup_shows_that_connections_arrive() {
        assert!(!last(&[(0, 0), (50, 1), (100, 1), (101, 2)]));
        let lost = [(0, 0), (10, 0), (20, 0), (30, 0)];
        assert!(last(&lost));
        assert!(!last(&[&lost[..], &[(60, 1)]].concat()));
    }

    #[test]
    fn stray_syns_far_apart_are_not_added_up() {
        let mut counts = vec![(0, 0)];
        for syns in 1..=40 {
            counts.extend([(syns, 0); 16]);
        }
        assert!(!looks(&counts).contains(&true));
    }

    #[test]
    fn a_minute_without_syns_leaves_nothing_known() {
        let lost = [(0, 0), (10, 0), (20, 0), (30, 0)];
        let quiet = |looks: usize| [&lost[..], &vec![(30, 0); looks][..]].concat();
        assert!(last(&quiet(29)));
        assert!(!last(&quiet(30)));
    }

    #[test]
    fn counts_that_begin_anew_and_services_that_leave_are_forgotten() {
        let lost = [(0, 0), (10, 0), (20, 0), (30, 0)];
        assert!(!last(&[&lost[..], &[(3, 0)]].concat()));
        let mut watch = ArrivalWatch::default();
        watch.learn(drive::now(), &[(1, Arrivals::default())].into());
        watch.learn(drive::now(), &BTreeMap::new());
        assert!(watch.services.is_empty());
    }
}
