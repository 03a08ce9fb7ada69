//! Does the attached program meet the packets? A link, a mode, a name are no proof: only what is counted is. Knows no clock
//! and no kernel; somebody samples, and tells.
//!
//! The kernel's own (generic) XDP always runs. A driver is blind when its packets grow by [`TELLING`] while next to none are
//! counted. It may tell of packets late, by up to [`LATE`]: so what was counted for that long before counts as well.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// So many packets that nobody counted are a proof.
pub const TELLING: u64 = 64;
/// The longest that a driver keeps its count of packets to itself.
pub const LATE: Duration = Duration::from_secs(4);
/// What came in longer ago says nothing of now.
const WINDOW: Duration = Duration::from_mins(10);
/// Of the packets of a blind interface, one in so many at most may have been counted, for all that is known: packets of
/// other interfaces go on while the counters are read.
const NEXT_TO_NONE: u64 = 8;

/// What one interface has counted, since whenever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Is the program run by the kernel itself?
    pub generic: bool,
    /// Packets it took in.
    pub received: u64,
    /// Packets its driver ran a program on; `None`: it does not count them. Where the kernel runs the program, this stands
    /// still and says nothing.
    pub ran: Option<u64>,
    /// Does `ran` count every such packet, or only those with some verdicts?
    pub every: bool,
}

impl Seen {
    fn by_driver(&self) -> Option<u64> {
        self.ran.filter(|_| !self.generic)
    }
}

/// All interfaces with a program, and what the programs counted on all of them, before and after the rest was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub before: u64,
    pub interfaces: BTreeMap<String, Seen>,
    pub after: u64,
}

/// How it is with one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Nothing has come in that would tell.
    Unknown,
    /// The program has met packets.
    Yes,
    /// So many came in, and it met none.
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

/// All interfaces.
#[derive(Clone, Debug, Default)]
pub struct Watch(BTreeMap<String, Watched>);

#[derive(Clone, Debug)]
struct Watched {
    runs: Runs,
    /// What was counted when the window began.
    base: Sample,
    since: Instant,
    /// Packets taken in when the window was as old as [`LATE`].
    received: Option<u64>,
}

impl Watch {
    /// Learns what was counted by now. Interfaces that are no longer in the sample are forgotten.
    pub fn learn(&mut self, now: Instant, sample: &Sample) {
        self.0
            .retain(|name, _| sample.interfaces.contains_key(name));
        for (name, seen) in &sample.interfaces {
            let fresh = || Watched::new(now, Runs::Unknown, sample);
            let watched = self.0.entry(name.clone()).or_insert_with(fresh);
            watched.learn(now, name, *seen, sample);
        }
    }

    /// A program was attached anew: nothing is proven.
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

/// Packets of one interface that the program met: surely, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    least: u64,
    most: u64,
}

impl Met {
    /// `None`: somebody has begun to count anew, or another interface has come.
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
        // Where others do not count for themselves, what was counted may be theirs.
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

/// From a driver's counters: packets that it ran a program on, and whether that is all of them.
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

/// Packets that it threw away because a program said so, or in spite of it.
pub fn dropped(counters: &[(String, u64)]) -> Option<u64> {
    let is_drop = |name: &str| name.contains("xdp") && name.contains("drop") && is_received(name);
    let queue = |name: &str| is_drop(name) && name.chars().any(|it| it.is_ascii_digit());
    // Of each queue; some drivers have the sum beside it, and some nothing else.
    sum(counters, queue).or_else(|| sum(counters, is_drop))
}

/// Not what was sent, and not counted in bytes.
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
