//! HAProxy without Ober: the same program on the same host, its processes sharing the address by `SO_REUSEPORT`. What
//! Ober is compared with.

use std::{
    fmt::Write, net::SocketAddr, os::unix::process::CommandExt, path::Path, process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{Host, Lab, Process, until};

/// What a plain HAProxy is to do.
#[derive(Clone, Copy, Debug)]
pub struct PlainHaproxy<'a> {
    pub binary: &'a Path,
    /// One process for each, pinned to it.
    pub cpus: &'a [usize],
    /// With TLS.
    pub secure: &'a [SocketAddr],
    /// Without.
    pub open: &'a [SocketAddr],
    /// Chain and key.
    pub certificate: &'a Path,
    pub servers: &'a [SocketAddr],
}

/// Run it on a host. The addresses must be there already. Returns when every process listens.
pub fn plain_haproxy(lab: &Lab, host: &Host, what: &PlainHaproxy<'_>) -> Result<Vec<Process>> {
    let config = lab.write(&format!("plain-{}.cfg", host.name()), what.config()?)?;
    let mut processes = what
        .cpus
        .iter()
        .map(|&cpu| what.start(host, &config, cpu))
        .collect::<Result<Vec<_>>>()?;
    for process in &mut processes {
        let pid = process.pid();
        until("a listening HAProxy", Duration::from_secs(5), || {
            listens(pid)
        })
        .with_context(|| format!("log of {}:\n{}", process.name(), process.tail()))?;
    }
    Ok(processes)
}

impl PlainHaproxy<'_> {
    fn start(&self, host: &Host, config: &Path, cpu: usize) -> Result<Process> {
        let mut command = Command::new(self.binary);
        command.arg("-db").arg("-f").arg(config);
        let mut set = CpuSet::new();
        set.set(cpu)?;
        // SAFETY: between fork and exec only the system call sched_setaffinity runs, on a set made before.
        unsafe {
            command.pre_exec(move || Ok(sched_setaffinity(Pid::from_raw(0), &set)?));
        }
        host.spawn(&mut command)
    }

    fn config(&self) -> Result<String> {
        let certificate = self.certificate.display();
        let mut text = String::from(
            "global\n    nbthread 1\n    maxconn 4000\ndefaults\n    mode http\n    \
             option http-keep-alive\n    option forwardfor\n    timeout connect 3s\n    timeout client 1m\n    \
             timeout server 1m\n    timeout http-request 10s\n    timeout http-keep-alive 10s\nfrontend s3\n",
        );
        for address in self.secure {
            writeln!(
                text,
                "    bind {address} ssl crt {certificate} alpn http/1.1"
            )?;
        }
        for address in self.open {
            writeln!(text, "    bind {address}")?;
        }
        text.push_str("    default_backend s3\nbackend s3\n    balance leastconn\n");
        for (number, server) in self.servers.iter().enumerate() {
            writeln!(text, "    server s{number} {server}")?;
        }
        Ok(text)
    }
}

/// Has the process a listening socket? Asked of its own descriptors, since its siblings listen on the same addresses.
fn listens(pid: u32) -> Result<Option<()>> {
    let table = listening(pid)?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .with_context(|| format!("process {pid} is gone"))?;
    let found = descriptors
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|target| {
            table
                .iter()
                .any(|inode| target.as_os_str() == inode.as_str())
        });
    Ok(found.then_some(()))
}

/// `socket:[INODE]` of every TCP socket in state LISTEN of the namespace a process is in.
fn listening(pid: u32) -> Result<Vec<String>> {
    const LISTEN: &str = "0A";
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}"))
            .with_context(|| format!("process {pid} is gone"))?;
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields.get(3) == Some(&LISTEN) {
                found.extend(fields.get(9).map(|inode| format!("socket:[{inode}]")));
            }
        }
    }
    Ok(found)
}
