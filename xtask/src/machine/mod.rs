//! `cargo xtask machine`: our package on a real Debian with systemd, in QEMU, made of Debian's packages.
//!
//! ```text
//! image      the disk, made once, with its snapshots: each check begins with one, seconds after it asked
//! node       a running machine; channel: the agent in it (a virtio port, so no network is needed) and QEMU's monitor
//! packages   ours, made by `cargo xtask dist`
//! serving    a node in service, and clients with a download and a request every 100 ms, which count what failed
//! checks/    one file a subject
//! ```
//!
//! Inside, clients and the storage server are in a network namespace behind a veth pair, so what a client sends meets XDP, the
//! socket lookup and a worker, and what it meets is Debian's kernel.

mod channel;
mod checks;
mod image;
mod node;
mod packages;
mod serving;
#[cfg(test)]
mod tests;

use crate::setup;
use anyhow::{Context, Result, bail};
use checks::{Begin, CHECKS, Check};
use clap::Args;
use image::Image;
use node::Node;
use packages::Packages;
use std::path::PathBuf;
use std::time::Instant;

/// What `cargo xtask machine` is given.
#[derive(Args)]
pub(crate) struct Machine {
    /// The checks to run; all unless named
    checks: Vec<String>,
    /// The Debian release of the machine
    #[arg(long, default_value = "bookworm")]
    release: String,
    /// A program to package, already built, in place of building it for release
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Only install, restart under load and remove
    #[arg(long, conflicts_with = "checks")]
    quick: bool,
    /// Name the checks and their laws, and run none
    #[arg(long)]
    list: bool,
    /// Show each command that is run on the machine, and how long it took
    #[arg(long)]
    verbose: bool,
    /// Run this command of the shell on a node in service, in place of a check, and show what it writes
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["checks", "quick"])]
    run: Option<String>,
}

/// The snapshot of a machine that has booted and has nothing of ours.
const READY: &str = "ready";
/// Beginning of the names of snapshots with a package in service.
const SERVING: &str = "serving-";

impl Machine {
    pub(crate) fn run(&self) -> Result<()> {
        if self.list {
            for check in CHECKS {
                println!("{:<8} {}", check.name, check.law);
            }
            return Ok(());
        }
        let wanted = self.wanted()?;
        setup::ensure(&setup::WORK)?;
        let packages = Packages::make(self.program.clone())?;
        let image = Image::of(&self.release)?;
        let house = House {
            image: &image,
            packages: &packages,
            verbose: self.verbose,
        };
        if let Some(command) = &self.run {
            let mut node = house.enter(Begin::Serving)?;
            let answer = node.ask(command)?;
            print!("{}", answer.output);
            node.stop()?;
            if answer.status != 0 {
                bail!("`{command}` ended with {}", answer.status);
            }
            return Ok(());
        }
        house.check_all(&wanted, &self.release)
    }

    /// The checks that are named.
    fn wanted(&self) -> Result<Vec<&'static Check>> {
        for name in &self.checks {
            if !CHECKS.iter().any(|check| check.name == name) {
                let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
                bail!("there is no check {name}; there are {}", names.join(", "));
            }
        }
        let is_wanted = |check: &&Check| {
            let is_named = self.checks.iter().any(|name| name == check.name);
            is_named || (self.checks.is_empty() && (check.quick || !self.quick))
        };
        Ok(CHECKS.iter().filter(is_wanted).collect())
    }
}

/// Where machines come from.
struct House<'a> {
    image: &'a Image,
    packages: &'a Packages,
    verbose: bool,
}

impl House<'_> {
    /// Runs the checks one after the other, also after one that fails.
    fn check_all(&self, checks: &[&Check], release: &str) -> Result<()> {
        let began = Instant::now();
        let mut failed = Vec::new();
        for check in checks {
            let began = Instant::now();
            let result = self.check(check);
            let seconds = began.elapsed().as_secs();
            match result {
                Ok(said) => println!("ok {} ({seconds} s): {said}", check.name),
                Err(error) => {
                    println!("FAILED {} ({seconds} s): {error:#}", check.name);
                    failed.push(check.name);
                }
            }
        }
        println!(
            "machine: Debian {release}: {} passed, {} failed in {} s",
            checks.len() - failed.len(),
            failed.len(),
            began.elapsed().as_secs()
        );
        if !failed.is_empty() {
            bail!("failed on Debian {release}: {}", failed.join(", "));
        }
        Ok(())
    }

    fn check(&self, check: &Check) -> Result<String> {
        let mut node = self.enter(check.begin)?;
        let result = (check.run)(&mut node, self.packages);
        if result.is_err() {
            let journal = node.ask("journalctl --no-pager -o short-monotonic -n 40 -u 'ober*'");
            let journal = journal.map_or_else(|error| format!("{error:#}"), |it| it.output);
            println!(
                "-- its journal\n{journal}\n-- its console\n{}",
                node.console()
            );
        }
        node.stop()?;
        result
    }

    /// A machine in this state, out of a snapshot; the snapshot is made first if there is none.
    fn enter(&self, begin: Begin) -> Result<Node> {
        match begin {
            Begin::Bare => self.bare(),
            Begin::Serving => self.serving(),
        }
    }

    fn bare(&self) -> Result<Node> {
        if !self.image.snapshots()?.iter().any(|name| name == READY) {
            let began = Instant::now();
            let mut node =
                Node::start(self.image, None, self.verbose).context("boot the machine")?;
            node.wait(
                "its services have started",
                "systemctl is-system-running --wait | grep -E 'running|degraded'",
                std::time::Duration::from_mins(3),
            )?;
            serving::remember(&mut node)?;
            node.save(READY)?;
            node.stop()?;
            println!(
                "machine: booted and kept after {} s",
                began.elapsed().as_secs()
            );
        }
        Node::start(self.image, Some(READY), self.verbose)
    }

    fn serving(&self) -> Result<Node> {
        let name = format!("{SERVING}{}", self.packages.name()?);
        let snapshots = self.image.snapshots()?;
        if !snapshots.contains(&name) {
            for old in snapshots.iter().filter(|it| it.starts_with(SERVING)) {
                self.image.forget(old)?;
            }
            let began = Instant::now();
            let mut node = self.bare()?;
            serving::prepare(&mut node, self.packages.first())
                .context("bring a node into service for the checks that begin with one")?;
            node.save(&name)?;
            node.stop()?;
            println!(
                "machine: in service and kept after {} s",
                began.elapsed().as_secs()
            );
        }
        Node::start(self.image, Some(&name), self.verbose)
    }
}
