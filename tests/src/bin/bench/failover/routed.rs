//! A node that announces by BGP to FRR: how soon the router hears of a change, and how soon its kernel has it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_tests::{
    lab::{VIP4, fabric::node4, routes::Routes},
    nodes::routed::{Routed, Settings},
};

use super::{PATIENCE, TRIALS, rest};
use crate::{
    report::{Part, Target},
    series::Series,
};

/// How long BFD must not flap.
const BUSY: Duration = Duration::from_mins(1);

pub(super) fn measure() -> Result<Part> {
    let settings = Settings {
        workers: 1,
        ..Settings::default()
    };
    let mut routed = Routed::new("failover", &settings)?;
    let routes = routed.routes()?;
    routed.start(0)?;
    routes.until(VIP4, 1, PATIENCE)?;
    let mut part = Part::default();
    routed.frr.log_updates()?;
    for (ended, limit) in [
        (workers(&routed, &routes)?, 20.0),
        (frozen(&routed, &routes)?, 160.0),
    ] {
        part.add(&ended.received, limit);
        part.measures.push(ended.gone.measure());
    }
    let flaps = flaps(&routed)?;
    let name = "false BFD flaps in 60 s at 50 ms x 3 with every CPU busy".to_owned();
    part.targets
        .push(Target::at_most(name, flaps, 0.0, "flaps"));
    Ok(part)
}

/// The two ends of a withdrawal: FRR logs it, and the router's kernel has no route any more. Between them is FRR alone.
struct Withdrawn {
    received: Series,
    gone: Series,
}

impl Withdrawn {
    fn new(what: &str, received: &str) -> Self {
        Self {
            received: Series::new(format!("{what} to {received}"), "ms"),
            gone: Series::new(format!("{what} to route gone from FRR's kernel"), "ms"),
        }
    }

    /// One trial: does `harm` and waits for both ends, the first of which is the log line with these words.
    fn trial(
        &mut self,
        routed: &Routed,
        routes: &Routes,
        words: &[&str],
        harm: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        routes.forget();
        let (wall, began) = (SystemTime::now(), Instant::now());
        harm()?;
        self.gone
            .push_time(routes.until(VIP4, 0, PATIENCE)? - began);
        self.received.push_time(routed.frr.logged(wall, words)?);
        Ok(())
    }
}

fn workers(routed: &Routed, routes: &Routes) -> Result<Withdrawn> {
    let mut withdrawn = Withdrawn::new("last worker killed with -9", "withdrawal at FRR");
    let route = format!("{VIP4}/32");
    for trial in 0..TRIALS {
        rest(trial);
        let workers = routed.ober[0].workers(routed.node(0))?;
        let worker = *workers.first().context("no worker runs")?;
        withdrawn.trial(routed, routes, &["withdrawn", &route], || {
            Ok(kill(Pid::from_raw(worker), Signal::SIGKILL)?)
        })?;
        routes.until(VIP4, 1, PATIENCE)?;
    }
    Ok(withdrawn)
}

fn frozen(routed: &Routed, routes: &Routes) -> Result<Withdrawn> {
    let mut withdrawn = Withdrawn::new("node frozen, BFD 50 ms x 3,", "session ended by FRR");
    let daemon = routed.ober[0].daemon.as_ref().context("no daemon runs")?;
    let daemon = Pid::from_raw(i32::try_from(daemon.pid())?);
    let node = node4(0).to_string();
    for trial in 0..TRIALS {
        rest(trial);
        let result = withdrawn.trial(routed, routes, &[&node, "went from Established"], || {
            Ok(kill(daemon, Signal::SIGSTOP)?)
        });
        kill(daemon, Signal::SIGCONT)?;
        result?;
        routes.until(VIP4, 1, PATIENCE)?;
    }
    Ok(withdrawn)
}

/// How often FRR saw the session go down while two threads for each CPU compute without a pause.
fn flaps(routed: &Routed) -> Result<f64> {
    let before = downs(routed)?;
    let burning = Burners::start();
    std::thread::sleep(BUSY);
    drop(burning);
    Ok(downs(routed)? - before)
}

/// The sessions of FRR that went down so far, all added up.
fn downs(routed: &Routed) -> Result<f64> {
    let counters = routed.frr.show("bfd peers counters")?;
    let peers = counters.as_array().context("FRR's answer is no list")?;
    let downs = peers.iter().map(|peer| peer["session-down"].as_f64());
    downs
        .sum::<Option<f64>>()
        .context("FRR counts no `session-down`")
}

/// Threads that compute until they are dropped.
struct Burners {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Burners {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = 2 * std::thread::available_parallelism().map_or(1, usize::from);
        let burn = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(stop.as_ptr());
                }
            })
        };
        let threads = (0..count).map(burn).collect();
        Self { stop, threads }
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The thread only counts and cannot panic.
            thread.join().unwrap_or_default();
        }
    }
}
