//! The formulas of VRRP, one function each.

use std::time::Duration;

use super::packet::{Interval, Version};

/// Advertisement intervals of silence that a backup tolerates.
const PATIENCE: u32 = 3;

/// RFC 3768 section 6.1: (256 - Priority) / 256 seconds. RFC 9568 section 6.1: that share of the master's interval.
pub(super) fn skew_time(version: Version, priority: u8, master: Interval) -> Duration {
    let whole = match version {
        Version::V2 => Duration::from_secs(1),
        Version::V3 => master.duration(),
    };
    whole * (256 - u32::from(priority)) / 256
}

/// RFC 9568 section 6.1: three of the master's intervals and the skew time.
pub(super) fn master_down_interval(version: Version, priority: u8, master: Interval) -> Duration {
    silence(master) + skew_time(version, priority, master)
}

/// The silence that every backup tolerates, even one without skew: a master that was silent for so long may have been replaced.
pub(super) fn silence(master: Interval) -> Duration {
    master.duration() * PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timing_formula_gives_the_value_of_its_own_vrrp_version() {
        let ms = Duration::from_millis;
        // version, priority, master's interval: skew, down
        for (version, priority, interval, skew, down) in [
            (
                Version::V3,
                254,
                1000,
                Duration::from_nanos(7_812_500),
                Duration::from_nanos(3_007_812_500),
            ),
            (Version::V3, 128, 100, ms(50), ms(350)),
            (Version::V3, 192, 40_000, ms(10_000), ms(130_000)),
            (Version::V2, 128, 4000, ms(500), ms(12_500)),
            (Version::V2, 64, 1000, ms(750), ms(3750)),
        ] {
            let interval = Interval::new(version, ms(interval)).unwrap();
            assert_eq!(
                skew_time(version, priority, interval),
                skew,
                "{version:?} {priority}"
            );
            assert_eq!(
                master_down_interval(version, priority, interval),
                down,
                "{version:?} {priority}"
            );
        }
    }
}
