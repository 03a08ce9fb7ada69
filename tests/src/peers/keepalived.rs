//! keepalived, with its VRRP alone.

use std::{fmt::Write as _, net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_programs::KEEPALIVED;

use crate::lab::{Host, Lab, Process, until};

/// One `vrrp_instance`.
#[derive(Clone, Debug)]
pub struct Router {
    pub interface: String,
    /// 2 or 3.
    pub version: u8,
    pub vrid: u8,
    pub priority: u8,
    pub interval: Duration,
    pub vips: Vec<IpAddr>,
    pub source: IpAddr,
    /// Empty: multicast.
    pub peers: Vec<IpAddr>,
    pub preempt: bool,
    /// Further lines of the block.
    pub more: String,
}

impl Router {
    fn block(&self) -> Result<String> {
        let mut text = String::new();
        let (interval, vrid) = (self.interval.as_secs_f64(), self.vrid);
        writeln!(text, "vrrp_instance one {{")?;
        writeln!(text, "  state BACKUP\n  interface {}", self.interface)?;
        writeln!(
            text,
            "  version {}\n  virtual_router_id {vrid}",
            self.version
        )?;
        writeln!(
            text,
            "  priority {}\n  advert_int {interval}",
            self.priority
        )?;
        if !self.preempt {
            writeln!(text, "  nopreempt")?;
        }
        writeln!(text, "  {}", self.more)?;
        if self.peers.is_empty() {
            writeln!(text, "  mcast_src_ip {}", self.source)?;
        } else {
            writeln!(text, "  unicast_src_ip {}\n  unicast_peer {{", self.source)?;
            for peer in &self.peers {
                writeln!(text, "    {peer}")?;
            }
            writeln!(text, "  }}")?;
        }
        writeln!(text, "  virtual_ipaddress {{")?;
        for vip in &self.vips {
            let length = if vip.is_ipv4() { 32 } else { 128 };
            writeln!(text, "    {vip}/{length} dev {}", self.interface)?;
        }
        writeln!(text, "  }}\n}}")?;
        Ok(text)
    }
}

/// A running keepalived: a parent, and its child that does the work.
#[derive(Debug)]
pub struct Keepalived {
    process: Process,
    child: PathBuf,
}

impl Keepalived {
    /// Start it in the host and wait until its child is there.
    pub fn start(lab: &Lab, host: &Host, router: &Router) -> Result<Self> {
        let name = format!("keepalived-{}", host.name());
        let global = "global_defs {\n  vrrp_garp_master_delay 1\n}\n";
        let file = lab.write(
            &format!("{name}.conf"),
            format!("{global}{}", router.block()?),
        )?;
        let [parent, child] =
            ["pid", "vrrp"].map(|end| lab.directory().join(format!("{name}.{end}")));
        for old in [&parent, &child] {
            if old.exists() {
                std::fs::remove_file(old)?;
            }
        }
        let mut command = KEEPALIVED.command();
        command.args(["-n", "-l", "-D", "-P"]).arg("-f").arg(&file);
        command.arg("-p").arg(&parent).arg("-r").arg(&child);
        let process = host
            .spawn(&mut command)
            .context("start keepalived; install it (cargo xtask setup)")?;
        let started = Self { process, child };
        until("keepalived's child", Duration::from_secs(10), || {
            started.child_pid().map(Some)
        })
        .with_context(|| started.process.tail())?;
        Ok(started)
    }

    fn child_pid(&self) -> Result<Pid> {
        let text = std::fs::read_to_string(&self.child)?;
        Ok(Pid::from_raw(text.trim().parse()?))
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Signals the child, which does the work.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        kill(self.child_pid()?, signal).context("signal keepalived's child")
    }

    /// Ends it with SIGTERM; keepalived resigns first.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(Duration::from_secs(10))?;
        Ok(())
    }

    /// Kills it, so that it sends nothing more. The parent must not start another child.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)?;
        kill(self.child_pid()?, Signal::SIGKILL)?;
        self.process.kill()?;
        Ok(())
    }
}
