//! The disk of a node, which holds its state.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};

use super::processes;
use crate::{chaos::world::World, mounts};

const FILLER: &str = "filler";

pub(super) fn fill(world: &World, node: usize) -> Result<()> {
    let path = world.nodes[node].state().join(FILLER);
    let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    // Up to the last page.
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}

pub(super) fn free(world: &World, node: usize) -> Result<()> {
    fs::remove_file(world.nodes[node].state().join(FILLER)).context("make room")
}

pub(super) fn read_only(world: &World, node: usize) -> Result<()> {
    remount(world, node, "ro")
}

pub(super) fn writable(world: &World, node: usize) -> Result<()> {
    remount(world, node, "rw")
}

fn remount(world: &World, node: usize, mode: &str) -> Result<()> {
    let node_ = &world.nodes[node];
    let command = mounts::become_mode(mode, &node_.directory.join("state"));
    world
        .host(node)
        .output(&mut node_.inside(&command))
        .map(drop)
}

pub(super) fn damage_list(world: &World, node: usize) -> Result<()> {
    damage(world, node, "lists")
}

/// Damages the record of the VIPs on `lo`, or else the hash key. There is no record beside keepalived, nor once it was damaged:
/// then those VIPs count as the operator's.
pub(super) fn damage_note(world: &World, node: usize) -> Result<()> {
    let vips = world.nodes[node].state().join("vips.json").exists();
    damage(world, node, if vips { "vips.json" } else { "cluster.key" })
}

/// Changes bytes in the middle of a file, or of all files of a directory, and kills the daemon, which reads them at its next
/// start.
fn damage(world: &World, node: usize, name: &str) -> Result<()> {
    let path = world.nodes[node].state().join(name);
    let files: Vec<PathBuf> = match fs::read_dir(&path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) if path.exists() => vec![path],
        Err(_) => Vec::new(),
    };
    ensure!(!files.is_empty(), "there is no {name} to damage");
    processes::kill_daemon(world, node)?;
    for file in files.into_iter().filter(|file| file.is_file()) {
        let mut bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let middle = bytes.len() / 2;
        for byte in bytes.iter_mut().skip(middle).take(8) {
            *byte ^= 0x55;
        }
        fs::write(&file, bytes).with_context(|| format!("damage {}", file.display()))?;
    }
    Ok(())
}
