//! Packets that drivers drop where XDP runs although the programs did not drop them: frames that do not fit a buffer,
//! packets that could not be sent on. A healthy node has none.

use std::collections::BTreeMap;

/// One reading of the counters: first the programs' drops, then the drivers', then the programs' again, because packets
/// arrive during the reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub before: u64,
    /// By interface; without those whose drivers do not count drops.
    pub drivers: BTreeMap<String, u64>,
    pub after: u64,
}

/// The count since it was begun.
#[derive(Clone, Debug, Default)]
pub struct DropCounts {
    base: Option<Sample>,
    /// The drops counted before the current base.
    settled: u64,
    beyond: u64,
}

impl DropCounts {
    /// Learns a sample. The count is never too high: a drop that may be the programs' counts as theirs.
    pub fn learn(&mut self, sample: &Sample) {
        let Some(base) = self.base.as_ref().filter(|base| continues(base, sample)) else {
            self.settled = self.beyond;
            self.base = Some(sample.clone());
            return;
        };
        let drivers = sample.drivers.iter().map(|(name, drops)| {
            let before = base.drivers.get(name).copied().unwrap_or_default();
            drops.saturating_sub(before)
        });
        let ours = sample.after.saturating_sub(base.before);
        let beyond = drivers.fold(0, u64::saturating_add).saturating_sub(ours);
        self.beyond = self.beyond.max(self.settled.saturating_add(beyond));
    }

    /// Packets that drivers dropped without a program's verdict.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }
}

/// Are the interfaces the same, and has no counter gone back?
fn continues(base: &Sample, sample: &Sample) -> bool {
    let same = base.drivers.keys().eq(sample.drivers.keys());
    let less = |(name, drops): (&String, &u64)| base.drivers.get(name).is_some_and(|it| it > drops);
    same && sample.before >= base.before && !sample.drivers.iter().any(less)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(before: u64, drivers: &[(&str, u64)], after: u64) -> Sample {
        let drivers = drivers
            .iter()
            .map(|(name, drops)| ((*name).to_owned(), *drops));
        Sample {
            before,
            drivers: drivers.collect(),
            after,
        }
    }

    #[test]
    fn driver_drops_in_excess_of_the_programs_drops_are_counted_and_never_overcounted() {
        let mut account = DropCounts::default();
        for (sample, beyond) in [
            // Drops before the first sample are not counted.
            (sample(100, &[("a", 90), ("b", 40)], 100), 0),
            (sample(110, &[("a", 95), ("b", 45)], 110), 0),
            // Packets arrived during the reading: some of these drops may be the programs'.
            (sample(110, &[("a", 100), ("b", 45)], 115), 0),
            (sample(115, &[("a", 129), ("b", 45)], 115), 29),
            // The programs' drops appear later than the drivers': the count does not go down.
            (sample(120, &[("a", 129), ("b", 45)], 120), 29),
            // One interface was made anew: the count goes on from a new base.
            (sample(130, &[("a", 3), ("b", 50)], 130), 29),
            (sample(130, &[("a", 5), ("b", 50)], 130), 31),
            (sample(130, &[("a", 5)], 130), 31),
            (sample(0, &[("a", 5)], 0), 31),
            (sample(0, &[("a", 6)], 0), 32),
        ] {
            account.learn(&sample);
            assert_eq!(account.beyond(), beyond, "{sample:?}");
        }
    }
}
