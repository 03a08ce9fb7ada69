//! One round of probes: the findings at each worker, and the verdict on them.

use std::collections::BTreeSet;

use super::state::Reason;
use crate::{config::sections::gate::Gate as Settings, system::fact};

/// Servers as one worker sees them: of a backend, or of all that a service can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    pub up: usize,
    pub all: usize,
}

/// Why a worker was not found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It answered wrongly or not at all.
    Bad(String),
    /// This node lacked a descriptor or memory to ask it, which says nothing about the worker.
    Unasked(String),
}

impl Trouble {
    /// `words`: the failure, as it is shown.
    pub fn of(error: &std::io::Error, words: String) -> Self {
        if fact::is_shortage(error) {
            Self::Unasked(words)
        } else {
            Self::Bad(words)
        }
    }
}

/// What a probe found at one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    pub worker: usize,
    /// Did every listener of the VIP answer as it should? If not, what was wrong at the first that did not.
    pub answer: Result<(), Trouble>,
    /// The servers that each service of the VIP can reach. Empty where they were not asked for.
    pub services: Vec<Live>,
}

/// The result of a round, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Workers that serve.
    pub serving: usize,
    /// Servers up, as counted by the worker that sees the fewest.
    pub servers: Option<usize>,
}

/// Whether a worker serves: it answers, and it sees enough servers. If not, why.
fn serves(finding: &ProbeResult, settings: &Settings) -> Result<(), Fault> {
    finding.answer.clone().map_err(Fault::Trouble)?;
    for live in &finding.services {
        let needed = settings.min_servers.of(live.all);
        if live.up < needed {
            return Err(Fault::Servers {
                up: live.up,
                needed,
            });
        }
    }
    Ok(())
}

enum Fault {
    Trouble(Trouble),
    Servers { up: usize, needed: usize },
}

/// The verdict of a round on the VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad(Reason),
    /// Too many workers could not be asked, and why: it is neither good nor bad.
    Unknown(String),
}

/// Judges a round. Only workers in the ring count, whatever was found at others.
pub(super) fn judge(
    findings: &[ProbeResult],
    running: &BTreeSet<usize>,
    needed: usize,
    settings: &Settings,
) -> (Tally, Verdict) {
    let (mut tally, mut first) = (Tally::default(), None);
    let (mut unasked, mut why) = (0, String::new());
    for finding in findings.iter().filter(|it| running.contains(&it.worker)) {
        let up = finding.services.iter().map(|live| live.up).min();
        tally.servers = tally.servers.into_iter().chain(up).min();
        match serves(finding, settings) {
            Ok(()) => tally.serving += 1,
            Err(Fault::Trouble(Trouble::Unasked(words))) => (unasked, why) = (unasked + 1, words),
            Err(fault) => first = first.or(Some((finding.worker, fault))),
        }
    }
    let good = tally.serving;
    if good >= needed {
        return (tally, Verdict::Good);
    }
    if unasked > 0 && good + unasked >= needed {
        return (tally, Verdict::Unknown(why));
    }
    let reason = match first {
        Some((_, Fault::Servers { up, needed })) => Reason::Backend { up, needed },
        Some((worker, Fault::Trouble(Trouble::Bad(words) | Trouble::Unasked(words)))) => {
            Reason::Probe {
                good,
                needed,
                first: format!("worker {worker}: {words}"),
            }
        }
        None => Reason::Silent,
    };
    (tally, Verdict::Bad(reason))
}
