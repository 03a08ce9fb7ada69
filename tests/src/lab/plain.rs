//! HAProxy without Ober: the same program on the same host, its processes sharing the address by `SO_REUSEPORT`. Ober is
//! compared with it, so its configuration is the one Ober would write, but for the `bind` lines.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use ober_programs::HAPROXY;
use ober_user::{
    backends::server::Servers,
    certificates::copies,
    config::Config,
    haproxy::{
        Family,
        render::{WorkerContext, render, variable},
        sockets::{Key, keys},
    },
    system::clock,
};

use super::{Host, Lab, Process, until};

/// Run one pinned HAProxy process for each of the configuration's workers. The VIPs must be addresses of the host
/// already. Returns when every process listens.
pub fn plain_haproxy(
    lab: &Lab,
    host: &Host,
    config: &Config,
    servers: &Servers,
) -> Result<Vec<Process>> {
    let mut processes = (0..)
        .zip(&config.workers.cpus)
        .map(|(worker, &cpu)| {
            let file = write(lab, config, servers, worker, cpu)?;
            start(host, config, file, cpu)
        })
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

fn write(
    lab: &Lab,
    config: &Config,
    servers: &Servers,
    worker: usize,
    cpu: u32,
) -> Result<PathBuf> {
    let place = WorkerContext {
        worker,
        cpu,
        cli: &lab.directory().join(format!("plain-{worker}.cli")),
        stats: &lab.directory().join(format!("plain-{worker}.stats")),
        root: None,
        thumbprint: None,
    };
    copies::fill(config, clock::seconds())?;
    let mut text = render(config, servers, place)?.text;
    for (index, key) in keys(config).iter().enumerate() {
        text = text.replace(
            &format!("\"fd@${{{}}}\"", variable(index)),
            &addresses(config, key)?,
        );
    }
    lab.write(&format!("plain-{worker}.cfg"), text)
}

/// The VIPs that one of Ober's sockets serves.
fn addresses(config: &Config, key: &Key) -> Result<String> {
    let services = config
        .services
        .iter()
        .filter(|service| service.name == key.service);
    let mut text = String::new();
    for vip in services.flat_map(|service| &service.vips) {
        let family = match vip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        if family == key.family {
            let comma = if text.is_empty() { "" } else { "," };
            write!(text, "{comma}{}", SocketAddr::new(*vip, key.port.get()))?;
        }
    }
    Ok(text)
}

fn start(host: &Host, config: &Config, file: PathBuf, cpu: u32) -> Result<Process> {
    let mut command = HAPROXY.at(&config.workers.haproxy);
    command.arg("-db").arg("-f").arg(file);
    let mut set = CpuSet::new();
    set.set(usize::try_from(cpu)?)?;
    // SAFETY: between fork and exec only the system call sched_setaffinity runs, on a set made before.
    unsafe {
        command.pre_exec(move || Ok(sched_setaffinity(Pid::from_raw(0), &set)?));
    }
    host.spawn(&mut command)
}

/// Whether the process has a listening socket, by its own descriptors: its siblings listen on the same addresses.
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
