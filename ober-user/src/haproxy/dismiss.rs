//! The end of workers that no daemon watches.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use nix::sys::signal::Signal;
use tokio::{
    select,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use super::{
    finishing::{self, Finishing},
    worker::{adopt, process::Process},
};
use crate::certificates::copies;

/// How often the caller hears what is left.
const EVERY: Duration = Duration::from_secs(1);

/// What is left of workers that got the signal to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub workers: usize,
    /// Their connections of clients; `None`: the kernel does not say.
    pub connections: Option<usize>,
    pub since: Duration,
}

/// Ends every worker of a run directory that no daemon watches: each may finish its connections for `drain`, then it is
/// killed. `tell` hears every second what is left; `ports`: those of listeners, for workers whose record does not have them. Returns how many
/// workers there were. Removes their records, sockets, configurations and certificates too.
pub async fn dismiss(
    run: &Path,
    drain: Duration,
    ports: &BTreeSet<u16>,
    mut tell: impl FnMut(Left),
) -> usize {
    let workers = adopt::running(run);
    let finishing = finish(run, ports, &workers);
    let (began, count) = (Instant::now(), workers.len());
    let all = futures_util::future::join_all(workers.iter().map(|(_, process)| process.ended()));
    let mut all = std::pin::pin!(all);
    let mut over = std::pin::pin!(sleep(drain));
    let mut rounds = interval_at(began + EVERY, EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            _ = &mut all => break,
            () = &mut over => {
                kill(run);
                break;
            }
            _ = rounds.tick() => tell(left(finishing.clone(), began.elapsed()).await),
        }
    }
    copies::clear(run);
    forget(run);
    count
}

fn finish(run: &Path, ports: &BTreeSet<u16>, workers: &[(usize, Process)]) -> Vec<Finishing> {
    let one = |(worker, process): &(usize, Process)| {
        if let Err(error) = process.signal(Signal::SIGUSR1) {
            tracing::warn!(worker, pid = process.pid.0, %error, "send a worker the signal to finish");
        }
        let mut ports = ports.clone();
        ports.extend(adopt::recorded_ports(run, *worker, process.pid));
        Finishing {
            pid: process.pid.0,
            since: 0,
            ports,
        }
    };
    workers.iter().map(one).collect()
}

async fn left(finishing: Vec<Finishing>, since: Duration) -> Left {
    let alive = |it: &&Finishing| fs::exists(format!("/proc/{}", it.pid)).unwrap_or(true);
    let workers = finishing.iter().filter(alive).count();
    let counted = spawn_blocking(move || finishing::connections(&finishing)).await;
    Left {
        workers,
        connections: counted
            .ok()
            .and_then(Result::ok)
            .map(|it| it.values().sum()),
        since,
    }
}

fn kill(run: &Path) {
    for (worker, process) in adopt::running(run) {
        tracing::warn!(worker, pid = process.pid.0, "its time to finish is over");
        if let Err(error) = process.signal(Signal::SIGKILL) {
            tracing::warn!(worker, pid = process.pid.0, %error, "end a worker");
        }
    }
}

/// Removes the files of workers that have ended.
fn forget(run: &Path) {
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kept = [".json", ".cfg", ".sock"];
        if !name.starts_with("worker-") || !kept.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::debug!(%name, %error, "remove what was kept of a worker");
        }
    }
}
