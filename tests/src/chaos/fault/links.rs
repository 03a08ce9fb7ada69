//! The links of a node, broken at their other ends: the node sees its carrier go, as with a cable that is pulled.

use anyhow::Result;

use crate::{
    chaos::world::{World, past},
    lab::Host,
};

/// The other end of the uplink and its name there.
fn uplink(world: &World, node: usize) -> (&Host, String) {
    match node {
        2 => (&world.pair.switch, world.host(node).name().to_owned()),
        other => (&world.fabric.router, format!("n{other}")),
    }
}

fn storage(world: &World, node: usize) -> (&Host, String) {
    match node {
        2 => (&world.pair.storage, "s0".to_owned()),
        other => (&world.fabric.storage, format!("s{other}")),
    }
}

fn set((host, link): (&Host, String), what: &str) -> Result<()> {
    host.ip(&[format!("link set {link} {what}")])
}

pub(super) fn cut_uplink(world: &World, node: usize) -> Result<()> {
    set(uplink(world, node), "down")
}

pub(super) fn mend_uplink(world: &World, node: usize) -> Result<()> {
    set(uplink(world, node), "up")?;
    match node {
        2 => Ok(()),
        other => past(&world.fabric, u8::try_from(other)?),
    }
}

pub(super) fn cut_storage(world: &World, node: usize) -> Result<()> {
    set(storage(world, node), "down")
}

pub(super) fn mend_storage(world: &World, node: usize) -> Result<()> {
    set(storage(world, node), "up")
}

/// A router reports packets that are too long for the next link; a switch drops them silently. So the MTU behind the switch
/// only grows.
pub(super) fn change_mtu(world: &World, node: usize) -> Result<()> {
    mtu(world, node, if node == 2 { 1600 } else { 1400 })
}

pub(super) fn restore_mtu(world: &World, node: usize) -> Result<()> {
    mtu(world, node, 1500)
}

/// Changes the node's end first when the MTU grows: an end silently drops packets that are longer than it takes.
fn mtu(world: &World, node: usize, bytes: u32) -> Result<()> {
    let ours = || world.host(node).ip(&[format!("link set in0 mtu {bytes}")]);
    let other = || set(uplink(world, node), &format!("mtu {bytes}"));
    if bytes < 1500 {
        other()?;
        return ours();
    }
    ours()?;
    other()
}
