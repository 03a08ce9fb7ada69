//! Changes that an operator makes by hand in a node's kernel, behind the daemon's back.

use std::fs;

use anyhow::{Context, Result, ensure};
use ober_programs::{BPFTOOL, MOUNT, UMOUNT};

use crate::{
    chaos::world::World,
    lab::{BPFFS, VIP4},
};

pub(super) fn remove_vip(world: &World, node: usize) -> Result<()> {
    let host = world.host(node);
    // A VRRP backup has no VIP to remove.
    let device = if node == 2 { "in0" } else { "lo" };
    host.ip(&[format!("addr del {VIP4}/32 dev {device}")])
        .or_else(|error| {
            let has_none = error
                .to_string()
                .contains("Cannot assign requested address");
            has_none.then_some(()).ok_or(error)
        })
}

pub(super) fn detach_xdp(world: &World, node: usize) -> Result<()> {
    detach(world, node, "link_xdp")
}

pub(super) fn detach_lookup(world: &World, node: usize) -> Result<()> {
    detach(world, node, "link_lookup")
}

fn detach(world: &World, node: usize, prefix: &str) -> Result<()> {
    let (host, pins) = (world.host(node), world.nodes[node].pins());
    let names = names(world, node)?.into_iter();
    let links: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    ensure!(!links.is_empty(), "there is no pin {prefix}*");
    for link in links {
        let mut bpftool = BPFTOOL.args(["link", "detach", "pinned"]);
        host.output(bpftool.arg(pins.join(link)))?;
    }
    Ok(())
}

fn names(world: &World, node: usize) -> Result<Vec<String>> {
    let pins = world.nodes[node].pins();
    let entries = fs::read_dir(&pins).with_context(|| format!("read {}", pins.display()))?;
    Ok(entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect())
}

pub(super) fn remove_pins(world: &World, node: usize) -> Result<()> {
    let pins = world.nodes[node].pins();
    for name in names(world, node)? {
        fs::remove_file(pins.join(&name)).with_context(|| format!("remove the pin {name}"))?;
    }
    fs::remove_dir(&pins).with_context(|| format!("remove {}", pins.display()))
}

pub(super) fn unmount_bpffs(world: &World, node: usize) -> Result<()> {
    let mut command = world.nodes[node].inside(&UMOUNT.args(["--lazy", BPFFS]));
    world.host(node).output(&mut command).map(drop)
}

/// The pins are gone with the file system that they were in: the daemon must make them anew.
pub(super) fn mount_bpffs(world: &World, node: usize) -> Result<()> {
    let mount = MOUNT.args(["-t", "bpf", "bpf", BPFFS]);
    let mut command = world.nodes[node].inside(&mount);
    world.host(node).output(&mut command).map(drop)
}
