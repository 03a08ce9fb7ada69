//! NSD, a name server with one zone, `test`.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use ober_programs::NSD;

use crate::lab::{Host, Lab, Process};

#[derive(Debug)]
pub struct Nsd {
    zone: PathBuf,
    config: PathBuf,
    process: Process,
}

impl Nsd {
    /// At most one a laboratory.
    pub fn start(lab: &Lab, host: &Host, address: SocketAddr, zone: &str) -> Result<Self> {
        let zone = lab.write("zone", zone)?;
        let directory = lab.directory().display();
        let config = lab.write(
            "nsd.conf",
            format!(
                "server:\n ip-address: {}\n port: {}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{directory}\"\n \
                 database: \"\"\n pidfile: \"{directory}/nsd.pid\"\n xfrdfile: \"{directory}/xfrd\"\n \
                 zonelistfile: \"{directory}/zones\"\n server-count: 1\n verbosity: 2\nremote-control:\n control-enable: no\n\
                 zone:\n name: \"test\"\n zonefile: \"{}\"\n",
                address.ip(),
                address.port(),
                zone.display()
            ),
        )?;
        let process = run(host, &config)?;
        Ok(Self {
            zone,
            config,
            process,
        })
    }

    /// Makes NSD read these records; when they are no zone, NSD keeps the zone it has.
    pub fn reload(&mut self, zone: &str) -> Result<()> {
        std::fs::write(&self.zone, zone)?;
        self.process.signal(Signal::SIGHUP)
    }

    /// Starts NSD, or ends it and starts it again, with these records; when they are no zone, every answer is SERVFAIL. An NSD
    /// that runs on would keep the zone it has.
    pub fn change(&mut self, host: &Host, zone: &str) -> Result<()> {
        std::fs::write(&self.zone, zone)?;
        if self.process.ended()?.is_none() {
            self.stop()?;
        }
        self.restart(host)
    }

    /// Signals all of its processes: a child answers.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let group = Pid::from_raw(i32::try_from(self.process.pid())?);
        killpg(group, signal).with_context(|| format!("send {signal} to NSD"))
    }

    /// Ends it, and its server process with it.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(std::time::Duration::from_secs(10))?;
        Ok(())
    }

    /// Starts it again after [`Nsd::stop`].
    pub fn restart(&mut self, host: &Host) -> Result<()> {
        self.process = run(host, &self.config)?;
        Ok(())
    }
}

fn run(host: &Host, config: &std::path::Path) -> Result<Process> {
    let mut command = NSD.command();
    host.spawn(command.arg("-d").arg("-c").arg(config))
}
