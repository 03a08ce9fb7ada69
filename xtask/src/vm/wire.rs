//! The cable: a four-queue tap in its own network namespace, in which the clients run. Removed when dropped.

use crate::shell::{at_root, command, quiet, read};
use anyhow::{Context, Result, bail};
use ober_programs::{Command, IP, NSENTER};
use std::path::Path;
use std::process::id;

pub(super) struct Wire {
    namespace: String,
}

/// Prefix of the namespaces' names; the number of the process follows.
const PREFIX: &str = "ober-vm-";
/// The clients' addresses: of each family one on the guest's list, and one that is not.
const ADDRESSES: [&str; 4] = ["10.77.0.1/24", "10.77.0.2/24", "fd77::1/64", "fd77::2/64"];

/// The VIPs, and the node by which they are reached.
const ROUTES: [(&str, &str); 2] = [("10.77.9.1", "10.77.0.10"), ("fd77:9::1", "fd77::10")];

impl Wire {
    pub(super) fn new() -> Result<Self> {
        if !Path::new("/dev/net/tun").exists() {
            bail!(
                "/dev/net/tun is missing: load the module tun, or give the container that device"
            );
        }
        sweep()?;
        let wire = Self {
            namespace: format!("{PREFIX}{}", id()),
        };
        quiet(command(&IP).args(["netns", "add", &wire.namespace]))
            .context("make a network namespace")?;
        wire.ip(&["link", "set", "lo", "up"])?;
        wire.cable("tap0", true, &ADDRESSES)?;
        for (vip, node) in ROUTES {
            wire.ip(&["route", "add", vip, "via", node, "dev", "tap0"])?;
        }
        Ok(wire)
    }

    /// Adds another cable, with these addresses at this end.
    pub(super) fn cable(
        &self,
        name: &str,
        several_queues: bool,
        addresses: &[impl AsRef<str>],
    ) -> Result<()> {
        let add = ["tuntap", "add", "dev", name, "mode", "tap"];
        let more: &[&str] = if several_queues {
            &["multi_queue"]
        } else {
            &[]
        };
        self.ip(&[&add, more].concat())?;
        for address in addresses.iter().map(AsRef::as_ref) {
            let more: &[&str] = if address.contains(':') {
                &["nodad"]
            } else {
                &[]
            };
            self.ip(&[&["address", "add", address, "dev", name], more].concat())?;
        }
        self.ip(&["link", "set", name, "up"])
    }

    fn ip(&self, words: &[&str]) -> Result<()> {
        quiet(command(&IP).args(["-n", &self.namespace]).args(words))
    }

    /// A command that runs at the clients' end.
    pub(super) fn inside(&self, command: &Command) -> Command {
        let namespace = format!("--net=/run/netns/{}", self.namespace);
        at_root(NSENTER.before([namespace], command))
    }
}

/// Removes the namespaces of killed runs.
fn sweep() -> Result<()> {
    for line in read(command(&IP).args(["netns", "list"]))?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if super::is_left_over(name, PREFIX) {
            quiet(command(&IP).args(["netns", "del", name]))?;
        }
    }
    Ok(())
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Err(error) = quiet(command(&IP).args(["netns", "del", &self.namespace])) {
            eprintln!("vm: {error:#}");
        }
    }
}
