//! Does the attached program get the packets? A link, a mode or a name does not prove it; only counters do. Pure: the
//! caller reads the counters and the clock.
//!
//! The kernel's own (generic) XDP always runs and is never taken for blind. A driver is blind when its received packets
//! grow by [`TELLING`] while the programs count next to none. A driver may report packets up to [`LATE`] after it
//! received them, so packets that the programs counted that long before are included.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// This many packets that the programs did not count prove that the driver is blind.
pub const TELLING: u64 = 64;
/// The longest time by which a driver's counters lag behind its packets.
pub const LATE: Duration = Duration::from_secs(4);
/// Counts older than this are not used.
const WINDOW: Duration = Duration::from_mins(10);
/// An interface is blind when at most one in this many of its packets may have been counted. It is not zero, because
/// packets of other interfaces arrive while the counters are read.
const NEXT_TO_NONE: u64 = 8;

/// The counters of one interface, since an unknown time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Does the kernel itself run the program?
    pub generic: bool,
    /// Packets it received.
    pub received: u64,
    /// Packets on which its driver ran a program; `None`: the driver does not count them. Without meaning where the
    /// kernel runs the program.
    pub ran: Option<u64>,
    /// Does `ran` count every such packet, or only those with certain verdicts?
    pub every: bool,
}

impl Seen {
    fn by_driver(&self) -> Option<u64> {
        self.ran.filter(|_| !self.generic)
    }
}

/// The counters of all interfaces with a program, and the packets that the programs counted on all of them, before and
/// after the others were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub before: u64,
    pub interfaces: BTreeMap<String, Seen>,
    pub after: u64,
}

/// Whether the program of one interface gets its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Too few packets have come in to know.
    Unknown,
    /// The program has got packets.
    Yes,
    /// This many packets came in, and the program got next to none.
    No { packets: u64 },
}

impl Runs {
    pub fn known(self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Yes => Some(true),
            Self::No { .. } => Some(false),
        }
    }
}

/// Watches all interfaces.
#[derive(Clone, Debug, Default)]
pub struct InterfaceRuns(BTreeMap<String, Watched>);

#[derive(Clone, Debug)]
struct Watched {
    runs: Runs,
    /// The counters when the window began.
    base: Sample,
    since: Instant,
    /// Packets received when the window was as old as [`LATE`].
    received: Option<u64>,
}

impl InterfaceRuns {
    /// Learns a new sample. Interfaces that are no longer in it are forgotten.
    pub fn learn(&mut self, now: Instant, sample: &Sample) {
        self.0
            .retain(|name, _| sample.interfaces.contains_key(name));
        for (name, seen) in &sample.interfaces {
            let fresh = || Watched::new(now, Runs::Unknown, sample);
            let watched = self.0.entry(name.clone()).or_insert_with(fresh);
            watched.learn(now, name, *seen, sample);
        }
    }

    /// Forgets an interface whose program was attached anew.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub fn of(&self, name: &str) -> Runs {
        self.0
            .get(name)
            .map_or(Runs::Unknown, |watched| watched.runs)
    }
}

impl Watched {
    fn new(now: Instant, runs: Runs, base: &Sample) -> Self {
        Self {
            runs,
            base: base.clone(),
            since: now,
            received: None,
        }
    }

    fn learn(&mut self, now: Instant, name: &str, seen: Seen, sample: &Sample) {
        let age = now.saturating_duration_since(self.since);
        let Some(met) = Met::since(&self.base, sample, name).filter(|_| age < WINDOW) else {
            *self = Self::new(now, self.runs, sample);
            return;
        };
        if met.least > 0 {
            *self = Self::new(now, Runs::Yes, sample);
            return;
        }
        if age < LATE || seen.generic {
            return;
        }
        let before = *self.received.get_or_insert(seen.received);
        let packets = seen.received.saturating_sub(before);
        if packets >= TELLING && met.most <= packets / NEXT_TO_NONE {
            self.runs = Runs::No { packets };
        }
    }
}

/// How many packets of one interface the program got: at least, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    least: u64,
    most: u64,
}

impl Met {
    /// `None`: a counter began anew, or the set of interfaces changed.
    fn since(base: &Sample, now: &Sample, name: &str) -> Option<Self> {
        if !base.interfaces.keys().eq(now.interfaces.keys()) {
            return None;
        }
        let mut elsewhere = 0_u64;
        let (mut own, mut all_known) = (None, true);
        for (other, seen) in &now.interfaces {
            let before = base.interfaces.get(other)?;
            seen.received.checked_sub(before.received)?;
            let ran = match (seen.by_driver(), before.by_driver()) {
                (Some(now), Some(before)) => Some(now.checked_sub(before)?),
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => return None,
            };
            if other == name {
                own = ran.map(|ran| (ran, seen.every));
            } else {
                elsewhere = elsewhere.saturating_add(ran.unwrap_or_default());
                all_known &= seen.every && ran.is_some();
            }
        }
        if let Some((ran, true)) = own {
            return Some(Self {
                least: ran,
                most: ran,
            });
        }
        let counted = |from: u64, to: u64| to.saturating_sub(from).saturating_sub(elsewhere);
        now.before.checked_sub(base.before)?;
        let most = counted(base.before, now.after);
        // When another interface does not count for itself, the counted packets may be its own.
        let least = if all_known {
            counted(base.after, now.before)
        } else {
            0
        };
        let some = own.map_or(0, |(ran, _)| ran);
        Some(Self {
            least: least.max(some),
            most: most.max(some),
        })
    }
}

/// From a driver's counters: packets on which it ran a program, and whether that is all of them.
pub fn ran(counters: &[(String, u64)]) -> (Option<u64>, bool) {
    let every = sum(counters, |name| {
        name.ends_with("xdp_packets") || name == "xdp packets"
    });
    match every {
        Some(all) => (Some(all), true),
        None => (
            sum(counters, |name| name.contains("xdp") && is_received(name)),
            false,
        ),
    }
}

/// From a driver's counters: packets that it dropped by a program's verdict or in spite of one.
pub fn dropped(counters: &[(String, u64)]) -> Option<u64> {
    let is_drop = |name: &str| name.contains("xdp") && name.contains("drop") && is_received(name);
    let queue = |name: &str| is_drop(name) && name.chars().any(|it| it.is_ascii_digit());
    // Counters of single queues first: some drivers have the sum beside them, and some only the sum.
    sum(counters, queue).or_else(|| sum(counters, is_drop))
}

/// Is this a counter of received packets: not of sent ones, bytes or errors?
fn is_received(name: &str) -> bool {
    !["tx", "xmit", "byte", "err"]
        .iter()
        .any(|word| name.contains(word))
}

fn sum(counters: &[(String, u64)], wanted: impl Fn(&str) -> bool) -> Option<u64> {
    let mut found = counters.iter().filter(|(name, _)| wanted(name)).peekable();
    found.peek()?;
    Some(found.fold(0, |sum, (_, value)| sum.saturating_add(*value)))
}

#[cfg(test)]
mod tests;
