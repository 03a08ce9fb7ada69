//! The list of clients that may use plain HTTP. The client of this world is on it all the time.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::processes;
use crate::{chaos::world::World, lab::until};

/// How long a daemon may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
const LISTED: &str = "10.78.0.11,friend.test";

fn sync(world: &World, node: usize, sources: &str) -> Result<()> {
    let words = ["acl", "sync", "--frontend-http", sources];
    world.nodes[node].cli(world.host(node), &words).map(drop)
}

pub(super) fn grow(world: &World, node: usize) -> Result<()> {
    sync(world, node, &format!("{LISTED},10.99.[0-15].[0-255]"))
}

pub(super) fn as_it_was(world: &World, node: usize) -> Result<()> {
    sync(world, node, LISTED)
}

/// After [`super::disks::damage_list`]: the daemon starts without a list that it cannot read, and takes a new one. Before the
/// daemon answers, the command itself would become the one writer of the instance, and the daemon could not start.
pub(super) fn mend(world: &World, node: usize) -> Result<()> {
    processes::start_daemon(world, node)?;
    let (it, host) = (&world.nodes[node], world.host(node));
    until("a daemon that takes a list", PATIENCE, || {
        Ok(it.answers(host).then_some(()))
    })?;
    as_it_was(world, node)
}

pub(super) fn one_by_one(world: &World, node: usize) -> Result<()> {
    for number in 1..=5 {
        let address = format!("10.98.0.{number}");
        for verb in ["add", "remove"] {
            let words = ["acl", verb, "frontend-http", &address];
            world.nodes[node].cli(world.host(node), &words)?;
        }
    }
    Ok(())
}

pub(super) fn nonsense(world: &World, node: usize) -> Result<()> {
    let words = ["acl", "sync", "--frontend-http", "n[3-1],,]["];
    let output = world.nodes[node].try_cli(world.host(node), &words)?;
    ensure!(!output.status.success(), "a list without sense was taken");
    Ok(())
}
