//! The processes of a node: its daemon and its HAProxy workers.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{chaos::world::World, lab::Host};

pub(super) fn kill_daemon(world: &World, node: usize) -> Result<()> {
    world.nodes[node].kill()
}

pub(super) fn start_daemon(world: &World, node: usize) -> Result<()> {
    world.nodes[node].start(world.host(node))
}

pub(super) fn restart_daemon(world: &World, node: usize) -> Result<()> {
    kill_daemon(world, node)?;
    start_daemon(world, node)
}

pub(super) fn stop_daemon(world: &World, node: usize) -> Result<()> {
    world.nodes[node].stop()
}

pub(super) fn freeze_daemon(world: &World, node: usize) -> Result<()> {
    world.nodes[node].signal(Signal::SIGSTOP)
}

pub(super) fn thaw_daemon(world: &World, node: usize) -> Result<()> {
    world.nodes[node].signal(Signal::SIGCONT)
}

/// By a day.
pub(super) fn clock_ahead(world: &World, node: usize) -> Result<()> {
    world.nodes[node].clock_jumps(24 * 3600)
}

/// By an hour.
pub(super) fn clock_back(world: &World, node: usize) -> Result<()> {
    world.nodes[node].clock_jumps(-3600)
}

pub(super) fn clock_right(world: &World, node: usize) -> Result<()> {
    world.nodes[node].clock_jumps(0)
}

/// A second daemon must refuse to start, and say that one runs.
pub(super) fn second_daemon(world: &World, node: usize) -> Result<()> {
    let output = world.nodes[node].try_cli(world.host(node), &["run"])?;
    ensure!(
        !output.status.success(),
        "a second daemon ended with success"
    );
    Ok(())
}

/// The workers of a node, oldest first: processes called `haproxy` in its network namespace.
pub(in crate::chaos) fn workers(host: &Host) -> Result<Vec<Pid>> {
    let inode = |pid: u32| fs::metadata(format!("/proc/{pid}/ns/net")).map(|data| data.ino());
    let ours = inode(host.pid())?;
    let mut found: Vec<u32> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "haproxy" && inode(*pid).is_ok_and(|other| other == ours)
        })
        .collect();
    found.sort_unstable();
    let pids: Result<Vec<Pid>, _> = found
        .into_iter()
        .map(|pid| i32::try_from(pid).map(Pid::from_raw))
        .collect();
    Ok(pids?)
}

fn signal_workers(world: &World, node: usize, signal: Signal, most: usize) -> Result<()> {
    for pid in workers(world.host(node))?.into_iter().rev().take(most) {
        match kill(pid, signal) {
            // A replaced worker may have finished and ended by itself.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("send {signal} to worker {pid}"));
            }
        }
    }
    Ok(())
}

pub(super) fn kill_worker(world: &World, node: usize) -> Result<()> {
    signal_workers(world, node, Signal::SIGKILL, 1)
}

pub(super) fn kill_workers(world: &World, node: usize) -> Result<()> {
    signal_workers(world, node, Signal::SIGKILL, usize::MAX)
}

pub(super) fn freeze_worker(world: &World, node: usize) -> Result<()> {
    signal_workers(world, node, Signal::SIGSTOP, 1)
}

pub(super) fn freeze_workers(world: &World, node: usize) -> Result<()> {
    signal_workers(world, node, Signal::SIGSTOP, usize::MAX)
}

pub(super) fn thaw_workers(world: &World, node: usize) -> Result<()> {
    signal_workers(world, node, Signal::SIGCONT, usize::MAX)
}
