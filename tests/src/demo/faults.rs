//! Processes killed under load.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_user::api::status::{Status, Worker};

use super::{Demo, SMALL, Script};
use crate::{
    lab::{VIP4, until},
    load::{Plan, Report, Running, Tally},
    sockets::pidfd_open,
};

/// Requests waited for before and after a fault.
const ENOUGH: u64 = 60;
/// How long a fault may take to be mended.
const MENDED: Duration = Duration::from_secs(8);

/// A worker killed with -9. Connections that it had accepted must die with it; new connections are served.
pub(super) fn worker(script: &mut Script, demo: &Demo) {
    script.step(
        "a worker killed with -9 under load, and no client is refused",
        || {
            let load = demo.load()?;
            let before = demo.worker(0)?;
            let pid = before.pid.context("worker 0 does not run")?;
            let dead = end(pid)?;
            let after = until("a successor of worker 0 in the ring", MENDED, || {
                let worker = demo.worker(0)?;
                Ok((worker.pid.is_some_and(|new| new != pid) && worker.in_ring).then_some(worker))
            })?;
            let back = dead.elapsed();
            more(&load)?;
            let connections = load.connections();
            let report = load.finish()?;
            let facts = judge_worker(&report, dead, connections)?;
            Ok(format!(
                "worker 0 pid {pid}, successor {} {} ms later; {facts}",
                after.pid.unwrap_or(0),
                back.as_millis()
            ))
        },
    );
}

fn judge_worker(report: &Report, dead: Instant, connections: usize) -> Result<String> {
    let all = report.tally();
    ensure!(
        all.refused + all.unanswered + all.local == 0,
        "connection attempts were turned away: {all}: {:?}",
        report.failures(3)
    );
    let since = report.count(|record| record.began >= dead);
    ensure!(
        since.failed() == 0 && since.ok > 0,
        "begun after the kill: {since}: {:?}",
        report.failures(3)
    );
    let lost = report.count(|record| record.began < dead);
    let in_flight = Tally {
        ok: lost.ok,
        handshake: lost.handshake,
        cut: lost.cut,
        truncated: lost.truncated,
        ..Tally::default()
    };
    ensure!(
        lost == in_flight && lost.failed() <= connections as u64,
        "begun before the kill: {lost}"
    );
    Ok(format!(
        "{} connection attempts, 0 refused; {} already accepted by the dead worker were cut in flight; all {} begun \
         after the kill served, the slowest in {} ms",
        all.ok + all.failed(),
        lost.failed(),
        since.ok,
        report.slowest_since(dead).as_millis()
    ))
}

/// SIGKILL to a process, and the moment it was gone.
fn end(pid: i32) -> Result<Instant> {
    let process = pidfd_open(pid).with_context(|| format!("open process {pid}"))?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    let mut watch = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let ended = poll(&mut watch, PollTimeout::try_from(Duration::from_secs(2))?)?;
    ensure!(ended == 1, "process {pid} survives SIGKILL");
    Ok(Instant::now())
}

/// The daemon killed with -9: traffic and filter go on, and its successor takes over workers and maps.
pub(super) fn daemon(script: &mut Script, demo: &mut Demo) {
    let mut scene = None;
    script.step(
        "the daemon killed with -9: traffic goes on, the filter stays",
        || {
            let before = demo.stage.status()?;
            let load = demo.load()?;
            demo.stage.kill()?;
            let done = more(&load)?;
            demo.unanswered(1, VIP4)?;
            let failed = load.failed();
            scene = Some((before, load));
            ensure!(failed == 0, "{failed} requests failed without the daemon");
            Ok(format!(
                "{done} more requests served without it, the unlisted client still dropped"
            ))
        },
    );
    script.step("a new daemon adopts the data plane and the workers without a failed request", || {
        let (before, load) = scene.context("the step before did not get that far")?;
        let after = demo.stage.start()?;
        more(&load)?;
        let report = load.finish()?;
        let tally = report.tally();
        ensure!(tally.failed() == 0, "requests failed: {tally}: {:?}", report.failures(3));
        same(&before, &after)?;
        Ok(format!(
            "worker pids {:?} and program ids {:?} as before; {} requests over the whole, 0 failed",
            pids(&after),
            programs(&after),
            tally.ok
        ))
    });
}

fn same(before: &Status, after: &Status) -> Result<()> {
    ensure!(
        after.data_plane.adopted,
        "the daemon says that it adopted nothing"
    );
    ensure!(
        pids(before) == pids(after),
        "worker pids were {:?}, are {:?}",
        pids(before),
        pids(after)
    );
    let (old, new) = (programs(before), programs(after));
    ensure!(
        !new.is_empty() && old == new,
        "program ids were {old:?}, are {new:?}"
    );
    Ok(())
}

fn pids(status: &Status) -> Vec<i32> {
    status
        .workers
        .iter()
        .filter_map(|worker| worker.pid)
        .collect()
}

fn programs(status: &Status) -> Vec<u32> {
    let mut ids: Vec<_> = status
        .data_plane
        .programs
        .iter()
        .map(|program| program.id)
        .collect();
    ids.sort_unstable();
    ids
}

impl Demo {
    /// A verified load over TLS, a new connection for every request, well under way.
    fn load(&self) -> Result<Running> {
        let client = self
            .stage
            .secure(VIP4)
            .limits(Duration::from_secs(8), Duration::from_secs(8));
        let load = Plan::get(client, SMALL.0, SMALL.1).start(&self.stage.cluster.clients[0])?;
        more(&load)?;
        Ok(load)
    }

    fn worker(&self, number: usize) -> Result<Worker> {
        let workers = self.stage.status()?.workers;
        workers
            .into_iter()
            .find(|worker| worker.number == number)
            .with_context(|| format!("there is no worker {number}"))
    }
}

/// Wait for [`ENOUGH`] more requests of the load; how many there were.
fn more(load: &Running) -> Result<u64> {
    let start = load.done();
    until("more requests served", MENDED, || {
        let done = load.done() - start;
        Ok((done >= ENOUGH).then_some(done))
    })
    .with_context(|| format!("{} served, {} failed so far", load.done(), load.failed()))
}
