//! Does the thread of BFD and VRRP run ahead of ordinary work?

use std::time::Duration;

use crate::{config::Config, diagnose::finding::Finding, machine::realtime::Priority};

const PART: &str = "realtime";
/// How late ordinary scheduling may be on a busy machine: faster timers are not kept.
const KEPT: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealtimeFacts {
    /// Of the daemon's thread where it runs, otherwise what this process can have.
    pub priority: Priority,
}

pub(super) fn judge(config: &Config, facts: RealtimeFacts) -> Vec<Finding> {
    let advice = "give the daemon CAP_SYS_NICE, and its cgroup real-time time (`cpu.rt_runtime_us`) where those exist";
    let got = match facts.priority {
        Priority::Realtime => return vec![Finding::ok(PART, "SCHED_FIFO", "it can be had")],
        Priority::Nice => "cannot be had; nice -20 is, which is some milliseconds late when busy",
        Priority::Ordinary => "cannot be had, and no nice -20 either",
    };
    let mut findings = vec![Finding::warning(PART, "SCHED_FIFO", got).advice(advice)];
    findings.extend(hasty(config).into_iter().map(|(object, interval)| {
        let reason = format!("{interval:?} is not kept without SCHED_FIFO");
        Finding::failed(PART, object, reason)
            .advice(format!("{advice}; or take an interval of {KEPT:?} or more"))
    }));
    findings
}

/// Timers that are configured faster than an ordinary thread keeps.
fn hasty(config: &Config) -> Vec<(String, Duration)> {
    let neighbours = config.bgp.iter().flat_map(|bgp| &bgp.neighbours);
    let mut names: Vec<_> = neighbours
        .filter_map(|it| Some(&it.bfd.as_ref()?.profile))
        .collect();
    names.sort();
    names.dedup();
    let profiles = names.into_iter().filter_map(|name| {
        let profile = config.bfd.profiles.get(name)?;
        Some((
            format!("BFD profile {name}"),
            profile.timers.transmit.duration(),
        ))
    });
    let vrrp = config
        .vrrp
        .iter()
        .map(|vrrp| ("VRRP".to_owned(), vrrp.interval.duration()));
    profiles
        .chain(vrrp)
        .filter(|(_, interval)| *interval < KEPT)
        .collect()
}
