//! A machine of the laboratory: a network namespace.
//!
//! Processes enter it by `setns(CLONE_NEWNET)` alone. `ip netns exec` would also mount a private `/sys`, and pins made
//! there would vanish with the process.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use ober_programs::{Command, ETHTOOL, IP};

use super::{cleanup::Cleanup, process::Process, until};

/// One machine. Everything that runs in it ends with it.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: OwnedFd,
    cleanup: Cleanup,
    logs: PathBuf,
    started: AtomicU32,
}

impl Host {
    pub(super) fn new(name: &str, logs: &Path) -> Result<Self> {
        let namespace = std::thread::spawn(|| -> Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET)
                .context("make a network namespace; the laboratory needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)")?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        })
        .join()
        .map_err(|_panic| anyhow!("the thread that makes the namespace of {name} panicked"))??;
        let cleanup = Cleanup::inside(name, namespace.as_fd())?;
        let host = Self {
            name: name.to_owned(),
            namespace,
            cleanup,
            logs: logs.to_owned(),
            started: AtomicU32::new(0),
        };
        host.prepare()
            .with_context(|| format!("prepare host {name}"))?;
        Ok(host)
    }

    /// Addresses are to be usable at once (no duplicate detection), and a load may reuse its ports.
    fn prepare(&self) -> Result<()> {
        for scope in ["all", "default"] {
            self.sysctl(&format!("net.ipv6.conf.{scope}.accept_dad"), "0")?;
            self.sysctl(&format!("net.ipv6.conf.{scope}.accept_ra"), "0")?;
        }
        self.sysctl("net.ipv4.ip_local_port_range", "1024 65000")?;
        self.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
        self.ip(&["link set lo up"])
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A process that is always there: `nsenter -t PID -n` enters the host, `ip link set X netns PID` moves a link.
    pub fn pid(&self) -> u32 {
        self.cleanup.pid()
    }

    /// Lines for `ip -batch`, run inside the host.
    pub fn ip(&self, lines: &[impl AsRef<str>]) -> Result<()> {
        let mut command = IP.command();
        self.enter(command.args(["-batch", "-"]))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("run ip")?;
        let mut input = child.stdin.take().context("ip has no input")?;
        for line in lines {
            writeln!(input, "{}", line.as_ref())?;
        }
        drop(input);
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "ip on {}: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// Waits until the kernel calls these interfaces up. It finds the carrier of a veth pair in a queue of its own, on a busy
    /// machine up to a second after the command that brought the pair up.
    pub fn until_up(&self, interfaces: &[&str]) -> Result<()> {
        let is_up = |interface: &str| {
            let words = ["-oneline", "link", "show", "dev", interface];
            let shown = self.output(&mut IP.args(words))?.stdout;
            let up = String::from_utf8_lossy(&shown).contains(" state UP ");
            Ok(up.then_some(()))
        };
        let limit = Duration::from_secs(10);
        let mut all = interfaces.iter();
        all.try_for_each(|it| until(&format!("{it} is up"), limit, || is_up(it)))
    }

    /// Set a network sysctl of this host.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        self.run(|| fs::write(&path, value))?
            .with_context(|| format!("set {key} to {value} on {}", self.name))
    }

    /// One `ethtool` command; `what` is its arguments.
    pub fn ethtool(&self, what: &str) -> Result<()> {
        self.output(ETHTOOL.command().args(what.split_whitespace()))?;
        Ok(())
    }

    /// Turn transmit checksum offload off on an interface that sends to a node with XDP: a packet redirected to
    /// another CPU loses the mark "checksum still to be filled in" and would arrive broken.
    pub fn full_checksums(&self, interface: &str) -> Result<()> {
        self.ethtool(&format!("-K {interface} tx off"))
    }

    /// Run a program in the host to its end; a failure carries what it wrote.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        let output = self.try_output(command)?;
        if !output.status.success() {
            bail!(
                "{command:?} on {}: {}: {}{}",
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim(),
                String::from_utf8_lossy(&output.stdout).trim()
            );
        }
        Ok(output)
    }

    /// Run a program in the host to its end, whatever its exit status.
    pub fn try_output(&self, command: &mut Command) -> Result<Output> {
        self.enter(command)?;
        command
            .output()
            .with_context(|| format!("start {command:?} on {}", self.name))
    }

    /// Start a program in the host. It is killed when the handle is dropped; its output goes to a log.
    pub fn spawn(&self, command: &mut Command) -> Result<Process> {
        self.enter(command)?;
        let program = command.name();
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{program}-{number}", self.name);
        Process::start(command, name, &self.logs)
    }

    /// Call a function on a thread inside the host.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<T> {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("enter host {}", self.name))?;
                Ok(work())
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Run an async block on a runtime of its own, on a thread inside the host.
    pub fn tokio<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> Result<T> {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(work()))
        })?
    }

    /// The namespace itself, for threads that stay in it longer than a call.
    pub fn namespace(&self) -> Result<OwnedFd> {
        self.namespace
            .try_clone()
            .context("duplicate a namespace descriptor")
    }

    fn enter(&self, command: &mut Command) -> Result<()> {
        let namespace = self.namespace()?;
        // SAFETY: between fork and exec only the system call setns runs; it is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?));
        }
        Ok(())
    }
}
