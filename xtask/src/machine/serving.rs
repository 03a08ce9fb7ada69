//! A node in service: the package installed, a VIP served, clients that ask.

use super::node::Node;
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const CONFIGURATION: &str = "/etc/ober/ober.toml";
pub(super) const TEXT: &str = include_str!("guest/ober.toml");
/// What a client does once: ends well if it is answered.
pub(super) const ANSWERED: &str =
    "nsenter --net=/run/netns/outside curl -sS -m 5 http://10.77.9.1/small | grep -qx ok";
/// The process of the daemon.
pub(super) const DAEMON: &str = "systemctl show --value -p MainPID ober";
/// A file as old as the machine without the package, and the names of all files then.
pub(super) const MARK: &str = "/root/mark";
pub(super) const BEFORE: &str = "/root/before";
/// The names of all files.
pub(super) const PATHS: &str = "find / -xdev | LC_ALL=C sort";
const LIMIT: Duration = Duration::from_mins(3);

/// Writes down what a machine without the package has.
pub(super) fn remember(node: &mut Node) -> Result<()> {
    node.run_within(&format!("{PATHS} >{BEFORE}; touch {MARK}; sleep 1"), LIMIT)
        .map(drop)
}

/// Installs a package on a machine without one; returns what dpkg took.
pub(super) fn install(node: &mut Node, package: &Path) -> Result<Duration> {
    node.bring(package, "/root/ober.deb")?;
    node.timed("dpkg -i /root/ober.deb", LIMIT)
}

/// Configures it and starts the daemon; returns how long it took until a client was answered.
pub(super) fn serve(node: &mut Node) -> Result<Duration> {
    node.put(CONFIGURATION, TEXT.as_bytes())?;
    let began = Instant::now();
    node.run_within("systemctl start ober", LIMIT)?;
    node.run("systemctl is-active ober")?;
    node.wait("the VIP is served", ANSWERED, LIMIT)?;
    Ok(began.elapsed())
}

/// A client is answered, now.
pub(super) fn answered(node: &mut Node) -> Result<()> {
    node.run(ANSWERED).context("ask by the VIP").map(drop)
}

pub(super) fn daemon(node: &mut Node) -> Result<String> {
    node.run(DAEMON)
}

/// The processes of the workers.
pub(super) fn workers(node: &mut Node) -> Result<Vec<String>> {
    let said = node.run("pgrep -f '[h]aproxy -db -f /run/ober/main/'")?;
    let mut pids: Vec<String> = said.lines().map(str::to_owned).collect();
    pids.sort();
    Ok(pids)
}

/// Clients that download and ask meanwhile.
pub(super) struct Load {
    limit: Duration,
}

impl Load {
    pub(super) fn start(node: &mut Node, seconds: u32) -> Result<Self> {
        node.run(&format!(
            "rm -f /run/load; systemd-run --quiet --collect --unit=load -p NetworkNamespacePath=/run/netns/outside \
             -p StandardOutput=file:/run/load -p StandardError=file:/run/load.errors \
             python3 /usr/local/lib/machine/load.py 10.77.9.1 {seconds}"
        ))?;
        Ok(Self {
            limit: Duration::from_secs(u64::from(seconds)) * 3,
        })
    }

    /// Waits for their end.
    pub(super) fn finish(self, node: &mut Node) -> Result<Counts> {
        node.wait(
            "the clients have finished",
            "! systemctl is-active load",
            self.limit,
        )?;
        let said = node.run("cat /run/load /run/load.errors")?;
        Counts::read(&said).with_context(|| format!("read the clients' counts in {said:?}"))
    }
}

/// What the clients counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counts {
    requests: u32,
    failed: u32,
    whole: bool,
    line: String,
}

impl Counts {
    /// Reads the line of `load.py`.
    pub(super) fn read(said: &str) -> Option<Self> {
        let line = said.lines().next()?;
        let value = |key: &str| {
            let (_, rest) = line.split_once(key)?;
            rest.split(' ').next()
        };
        Some(Self {
            requests: value("requests=")?.parse().ok()?,
            failed: value("failed=")?.parse().ok()?,
            whole: value("download=")? == "'whole'",
            line: line.to_owned(),
        })
    }

    /// There were requests, none failed, and the download came whole.
    pub(super) const fn is_clean(&self) -> bool {
        self.requests > 0 && self.failed == 0 && self.whole
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return write!(out, "{} requests, 0 failed, download whole", self.requests);
        }
        self.line.fmt(out)
    }
}

/// Keeps a serving machine for the next checks.
pub(super) fn prepare(node: &mut Node, package: &Path) -> Result<()> {
    install(node, package)?;
    serve(node)?;
    ensure!(!workers(node)?.is_empty(), "no worker runs");
    Ok(())
}
