//! One round of probes: what was found at each worker, and what it comes to.

use std::collections::BTreeSet;

use super::state::Reason;
use crate::config::gate::Gate as Settings;

/// The servers of a backend as one worker sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    pub up: usize,
    pub all: usize,
}

/// What a probe found at one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub worker: usize,
    /// Did every listener of the VIP answer as it should? If not, the words of the first that did not.
    pub answer: Result<(), String>,
    /// Every backend behind the VIP. Empty where they were not asked for.
    pub backends: Vec<Live>,
}

/// What a round came to, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Workers that serve.
    pub serving: usize,
    /// Servers up, in the eyes of the worker that sees the fewest.
    pub servers: Option<usize>,
}

/// Whether a worker serves: it answers, and it sees enough servers. If not, why.
fn serves(finding: &Finding, settings: &Settings) -> Result<(), Fault> {
    finding.answer.clone().map_err(Fault::Answer)?;
    for live in &finding.backends {
        let needed = settings.min_backends.of(live.all);
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
    Answer(String),
    Servers { up: usize, needed: usize },
}

/// Judges a round. Only workers in the ring count, whatever was found at others.
pub(super) fn judge(
    findings: &[Finding],
    running: &BTreeSet<usize>,
    needed: usize,
    settings: &Settings,
) -> (Tally, Result<(), Reason>) {
    let (mut tally, mut first) = (Tally::default(), None);
    for finding in findings.iter().filter(|it| running.contains(&it.worker)) {
        let up = finding.backends.iter().map(|live| live.up).min();
        tally.servers = tally.servers.into_iter().chain(up).min();
        match serves(finding, settings) {
            Ok(()) => tally.serving += 1,
            Err(fault) => first = first.or(Some((finding.worker, fault))),
        }
    }
    let good = tally.serving;
    let verdict = match first {
        _ if good >= needed => Ok(()),
        Some((_, Fault::Servers { up, needed })) => Err(Reason::Backend { up, needed }),
        Some((worker, Fault::Answer(words))) => Err(Reason::Probe {
            good,
            needed,
            first: format!("worker {worker}: {words}"),
        }),
        None => Err(Reason::Silent),
    };
    (tally, verdict)
}
