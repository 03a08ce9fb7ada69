//! Orders of an operator, and changes that one makes by hand in place of an order.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{chaos::world::World, lab::VIP4};

fn order(world: &World, node: usize, words: &[&str]) -> Result<()> {
    world.nodes[node].cli(world.host(node), words).map(drop)
}

pub(super) fn drain(world: &World, node: usize) -> Result<()> {
    order(world, node, &["drain"])
}

pub(super) fn undrain(world: &World, node: usize) -> Result<()> {
    order(world, node, &["undrain"])
}

pub(super) fn disable(world: &World, node: usize) -> Result<()> {
    order(world, node, &["disable", &VIP4.to_string()])
}

pub(super) fn enable(world: &World, node: usize) -> Result<()> {
    order(world, node, &["enable", &VIP4.to_string()])
}

pub(super) fn weigh_by_hand(world: &World, node: usize) -> Result<()> {
    let state = tell(world, node, "show servers state rgw")?;
    let names: Vec<&str> = state
        .lines()
        .skip(2)
        .filter_map(|line| line.split(' ').nth(3))
        .filter(|name| !name.is_empty())
        .collect();
    ensure!(!names.is_empty(), "worker 0 names no server: {state}");
    for name in names {
        tell(world, node, &format!("set server rgw/{name} weight 9"))?;
    }
    Ok(())
}

fn tell(world: &World, node: usize, words: &str) -> Result<String> {
    let path = world.nodes[node].directory.join("run/worker-0.sock");
    let mut socket =
        UnixStream::connect(&path).with_context(|| format!("connect to {}", path.display()))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(format!("{words}\n").as_bytes())?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}
