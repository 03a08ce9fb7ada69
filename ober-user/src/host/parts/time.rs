//! The clock, on which certificates and logs depend. Changes nothing: which program keeps it right is the administrator's choice.

use crate::{
    host::{
        part::Part,
        plan::{PartPlan, Remark},
    },
    system::clock,
};

/// The first of January 2026. A right clock cannot be earlier.
const EARLIEST: u64 = 1_767_225_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFacts {
    /// Seconds since 1970.
    pub now: u64,
    /// Is it disciplined by NTP or the like? `None`: the kernel does not say.
    pub synchronised: Option<bool>,
}

pub fn look() -> ClockFacts {
    ClockFacts {
        now: clock::seconds(),
        synchronised: disciplined(),
    }
}

fn disciplined() -> Option<bool> {
    // SAFETY: plain numbers, for which zero is valid; mode zero asks and changes nothing.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the structure in.
    let answer = unsafe { libc::adjtimex(&raw mut clock) };
    (answer >= 0).then_some(clock.status & libc::STA_UNSYNC == 0)
}

pub fn plan(facts: Option<ClockFacts>) -> PartPlan {
    let mut plan = PartPlan::new(Part::Time);
    plan.remarks.extend(facts.map(|it| judge(&it)));
    plan
}

/// `doctor` judges by this as well. Refused: the clock is certainly wrong.
pub fn judge(facts: &ClockFacts) -> Remark {
    let object = "time";
    let ntp = "run chrony or systemd-timesyncd; `timedatectl` shows the state";
    match facts {
        ClockFacts { now, .. } if *now < EARLIEST => {
            let days = (EARLIEST - now) / 86_400;
            Remark::refused(object, format!("it is {days} days behind this program")).advice(ntp)
        }
        ClockFacts {
            synchronised: Some(false),
            ..
        } => Remark::warning(object, "nothing keeps it right").advice(ntp),
        ClockFacts { .. } => Remark::ok(object, "it is kept right"),
    }
}
