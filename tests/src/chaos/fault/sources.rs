//! The servers that nodes ask: the name server of a site, and its source of servers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::{
    chaos::world::{Back, Mood, World, hold},
    lab::Host,
};

/// Nearly as long as a node waits for an answer.
const SLOW: Duration = Duration::from_millis(700);
const QUICK: Duration = Duration::from_millis(50);

fn host(world: &World, site: usize) -> &Host {
    match site {
        0 => &world.fabric.storage,
        _ => &world.pair.storage,
    }
}

pub(super) fn kill_names(world: &World, site: usize) -> Result<()> {
    hold(&world.backs[site].names).stop()
}

pub(super) fn start_names(world: &World, site: usize) -> Result<()> {
    hold(&world.backs[site].names).restart(host(world, site))
}

pub(super) fn freeze_names(world: &World, site: usize) -> Result<()> {
    hold(&world.backs[site].names).signal(Signal::SIGSTOP)
}

pub(super) fn thaw_names(world: &World, site: usize) -> Result<()> {
    hold(&world.backs[site].names).signal(Signal::SIGCONT)
}

/// Lets the name server run for a moment every [`SLOW`], so that its answers come late; for ten seconds at most.
#[expect(clippy::unnecessary_wraps, reason = "every deed has this form")]
pub(super) fn slow_names(world: &World, site: usize) -> Result<()> {
    world.backs[site].slow.store(true, Ordering::Relaxed);
    let (slow, names) = (
        Arc::clone(&world.backs[site].slow),
        Arc::clone(&world.backs[site].names),
    );
    std::thread::spawn(move || {
        let began = Instant::now();
        while slow.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(10) {
            let mut held = hold(&names);
            let paused = held.signal(Signal::SIGSTOP).is_ok();
            if paused {
                std::thread::sleep(SLOW);
            }
            if held.signal(Signal::SIGCONT).is_err() {
                return;
            }
            drop(held);
            std::thread::sleep(QUICK);
        }
    });
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "every deed has this form")]
pub(super) fn quick_names(world: &World, site: usize) -> Result<()> {
    world.backs[site].slow.store(false, Ordering::Relaxed);
    Ok(())
}

pub(super) fn fail_names(world: &World, site: usize) -> Result<()> {
    hold(&world.backs[site].names).change(host(world, site), "no zone\n")
}

pub(super) fn restore_names(world: &World, site: usize) -> Result<()> {
    hold(&world.backs[site].names).change(host(world, site), &Back::zone())
}

#[expect(clippy::unnecessary_wraps, reason = "every deed has this form")]
fn mood(world: &World, site: usize, mood: Mood) -> Result<()> {
    world.backs[site].source.become_of(mood);
    Ok(())
}

pub(super) fn good(world: &World, site: usize) -> Result<()> {
    mood(world, site, Mood::Good)
}

pub(super) fn dead(world: &World, site: usize) -> Result<()> {
    mood(world, site, Mood::Dead)
}

pub(super) fn lie(world: &World, site: usize) -> Result<()> {
    mood(world, site, Mood::Liar)
}

pub(super) fn nonsense(world: &World, site: usize) -> Result<()> {
    mood(world, site, Mood::Nonsense)
}

pub(super) fn empty(world: &World, site: usize) -> Result<()> {
    mood(world, site, Mood::Empty)
}

pub(super) fn stall(world: &World, site: usize) -> Result<()> {
    mood(world, site, Mood::Stalled)
}

pub(super) fn flood(world: &World, site: usize) -> Result<()> {
    mood(world, site, Mood::Flood)
}
