//! The clock, on which certificates and logs depend.

use crate::diagnose::finding::Finding;

const PART: &str = "clock";
/// The first of January 2026. A right clock cannot be earlier.
const EARLIEST: u64 = 1_767_225_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFacts {
    /// Seconds since 1970.
    pub now: u64,
    /// Is it disciplined by NTP or the like? `None`: the kernel does not say.
    pub synchronised: Option<bool>,
}

pub(super) fn judge(facts: &ClockFacts) -> Vec<Finding> {
    let ntp = "run chrony or systemd-timesyncd; `timedatectl` shows the state";
    let finding = match facts {
        ClockFacts { now, .. } if *now < EARLIEST => {
            let reason = format!(
                "it is {} days behind this program",
                (EARLIEST - now) / 86_400
            );
            Finding::failed(PART, "time", reason).advice(ntp)
        }
        ClockFacts {
            synchronised: Some(false),
            ..
        } => Finding::warning(PART, "time", "nothing keeps it right").advice(ntp),
        ClockFacts { .. } => Finding::ok(PART, "time", "it is kept right"),
    };
    vec![finding]
}
