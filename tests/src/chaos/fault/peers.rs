//! The neighbours of the nodes: FRR and keepalived.

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::{
    chaos::world::{World, hold, keepalived, router},
    peers::Daemon,
};

fn signal(world: &World, daemon: Daemon, signal: Signal) -> Result<()> {
    hold(&world.frr).daemon(daemon)?.signal(signal)
}

fn start(world: &World, daemon: Daemon) -> Result<()> {
    let mut frr = hold(&world.frr);
    frr.restart(&world.fabric.router, daemon)?;
    frr.configure(&router())
}

pub(super) fn kill_bgpd(world: &World, _: usize) -> Result<()> {
    hold(&world.frr).daemon(Daemon::Bgpd)?.kill().map(drop)
}

pub(super) fn start_bgpd(world: &World, _: usize) -> Result<()> {
    start(world, Daemon::Bgpd)
}

pub(super) fn freeze_bgpd(world: &World, _: usize) -> Result<()> {
    signal(world, Daemon::Bgpd, Signal::SIGSTOP)
}

pub(super) fn thaw_bgpd(world: &World, _: usize) -> Result<()> {
    signal(world, Daemon::Bgpd, Signal::SIGCONT)
}

pub(super) fn kill_bfdd(world: &World, _: usize) -> Result<()> {
    hold(&world.frr).daemon(Daemon::Bfdd)?.kill().map(drop)
}

pub(super) fn start_bfdd(world: &World, _: usize) -> Result<()> {
    start(world, Daemon::Bfdd)
}

pub(super) fn reset(world: &World, _: usize) -> Result<()> {
    hold(&world.frr).command("clear bgp *").map(drop)
}

pub(super) fn kill_keepalived(world: &World, _: usize) -> Result<()> {
    if let Some(mut keepalived) = hold(&world.keepalived).take() {
        keepalived.kill()?;
    }
    Ok(())
}

pub(super) fn stop_keepalived(world: &World, _: usize) -> Result<()> {
    if let Some(mut keepalived) = hold(&world.keepalived).take() {
        keepalived.stop()?;
    }
    Ok(())
}

pub(super) fn start_keepalived(world: &World, _: usize) -> Result<()> {
    *hold(&world.keepalived) = Some(keepalived(&world.pair)?);
    Ok(())
}

pub(super) fn freeze_keepalived(world: &World, _: usize) -> Result<()> {
    match hold(&world.keepalived).as_mut() {
        Some(keepalived) => keepalived.signal(Signal::SIGSTOP),
        None => Ok(()),
    }
}

pub(super) fn thaw_keepalived(world: &World, _: usize) -> Result<()> {
    match hold(&world.keepalived).as_mut() {
        Some(keepalived) => keepalived.signal(Signal::SIGCONT),
        None => Ok(()),
    }
}
