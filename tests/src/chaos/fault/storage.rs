//! The second of the S3 servers of a site; the first keeps serving.

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::{
    chaos::world::{World, hold},
    lab::Host,
};

/// The one that discovery names.
const SECOND: usize = 1;

fn host(world: &World, site: usize) -> &Host {
    match site {
        0 => &world.fabric.storage,
        _ => &world.pair.storage,
    }
}

fn signal(world: &World, site: usize, signal: Signal) -> Result<()> {
    match hold(&world.backs[site].servers[SECOND]).as_mut() {
        Some(server) => server.signal(signal),
        None => Ok(()),
    }
}

pub(super) fn kill(world: &World, site: usize) -> Result<()> {
    signal(world, site, Signal::SIGKILL)
}

pub(super) fn start(world: &World, site: usize) -> Result<()> {
    *hold(&world.backs[site].servers[SECOND]) = None;
    world.backs[site].serve(host(world, site), SECOND)
}

pub(super) fn freeze(world: &World, site: usize) -> Result<()> {
    signal(world, site, Signal::SIGSTOP)
}

pub(super) fn thaw(world: &World, site: usize) -> Result<()> {
    signal(world, site, Signal::SIGCONT)
}
