//! The texts that a node reads: its configuration, its certificate.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::{
    chaos::world::World,
    lab::{VIP4, VIP6},
};

fn certificate(world: &World, node: usize) -> std::path::PathBuf {
    world.nodes[node].directory.join("s3.pem")
}

pub(super) fn break_certificate(world: &World, node: usize) -> Result<()> {
    fs::write(certificate(world, node), "-----BEGIN NOTHING-----\n").context("break a certificate")
}

pub(super) fn remove_certificate(world: &World, node: usize) -> Result<()> {
    fs::remove_file(certificate(world, node)).context("remove a certificate")
}

pub(super) fn renew_certificate(world: &World, node: usize) -> Result<()> {
    let pem = world.authority.server(&[VIP4, VIP6])?;
    let (file, beside) = (
        certificate(world, node),
        certificate(world, node).with_extension("new"),
    );
    fs::write(&beside, pem)?;
    fs::rename(beside, file).context("renew a certificate")
}

fn write(world: &World, node: usize, text: &str) -> Result<()> {
    fs::write(&world.nodes[node].config, text).context("write the configuration")
}

fn reload(world: &World, node: usize, text: &str) -> Result<()> {
    write(world, node, text)?;
    world.nodes[node]
        .cli(world.host(node), &["reload"])
        .map(drop)
}

/// The configuration with one line changed.
fn changed(world: &World, node: usize, from: &str, to: &str) -> Result<String> {
    let text = &world.nodes[node].text;
    ensure!(text.contains(from), "the configuration has no line {from}");
    Ok(text.replacen(from, to, 1))
}

pub(super) fn reload_workers(world: &World, node: usize) -> Result<()> {
    let text = changed(
        world,
        node,
        "max_connections = 2000",
        "max_connections = 1900",
    )?;
    reload(world, node, &text)
}

pub(super) fn reload_gate(world: &World, node: usize) -> Result<()> {
    let text = changed(
        world,
        node,
        "rise = 2\nfall = 2\nmin_up",
        "rise = 3\nfall = 3\nmin_up",
    )?;
    reload(world, node, &text)
}

pub(super) fn reload_service(world: &World, node: usize) -> Result<()> {
    let more = "[[services]]\nname = \"more\"\nvips = [\"10.77.9.77\"]\nbackend = \"rgw\"\n\n\
                [[services.listeners]]\nport = 81\naccess = \"frontend-http\"\n\n[backends.rgw]";
    let text = changed(world, node, "[backends.rgw]", more)?;
    reload(world, node, &text)
}

pub(super) fn reload_back(world: &World, node: usize) -> Result<()> {
    reload(world, node, &world.nodes[node].text)
}

pub(super) fn reload_nonsense(world: &World, node: usize) -> Result<()> {
    refused(world, node, "[node\ninstance = 1")
}

pub(super) fn reload_impossible(world: &World, node: usize) -> Result<()> {
    let more = "port = 443\nprotocol = \"https\"\ntls = { ciphers = \"NO-SUCH-CIPHER\" }";
    let text = changed(world, node, "port = 443", more)?;
    refused(world, node, &text)
}

fn refused(world: &World, node: usize, text: &str) -> Result<()> {
    write(world, node, text)?;
    let output = world.nodes[node].try_cli(world.host(node), &["reload"])?;
    ensure!(!output.status.success(), "a bad reload ended with success");
    Ok(())
}

/// Without the file a reload must fail, while `status` still answers the watchers.
pub(super) fn remove_configuration(world: &World, node: usize) -> Result<()> {
    fs::remove_file(&world.nodes[node].config).context("remove the configuration")?;
    let output = world.nodes[node].try_cli(world.host(node), &["reload"])?;
    ensure!(
        !output.status.success(),
        "a reload of no file ended with success"
    );
    Ok(())
}

pub(super) fn put_back(world: &World, node: usize) -> Result<()> {
    write(world, node, &world.nodes[node].text)
}
