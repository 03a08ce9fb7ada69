//! A node: a daemon with a disk, a BPF file system and name servers of its own, in a mount namespace that outlives the daemon.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Output,
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use ober_programs::{Command, MOUNT, NSENTER, SH, SLEEP, UMOUNT, UNSHARE};
use ober_user::api::status::Status;

use super::{hold, texts};
use crate::{
    lab::{BPFFS, Host, Lab, Process, fabric::STORAGE, program, until},
    mounts,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// The size of the disk for its state.
const DISK: &str = "size=4m";
/// The file with the error of its daemon's wall clock, seconds.
const CLOCK: &str = "clock";

/// A node without its network.
pub(in crate::chaos) struct Node {
    pub(in crate::chaos) config: PathBuf,
    pub(in crate::chaos) directory: PathBuf,
    /// The configuration as it is when nothing is wrong with it.
    pub(in crate::chaos) text: String,
    instance: String,
    daemon: Mutex<Option<Process>>,
    /// Keeps the mount namespace alive.
    holder: Process,
}

impl Node {
    pub(super) fn new(lab: &Lab, host: &Host, number: usize, certificate: &str) -> Result<Self> {
        let instance = format!("{}-{}", lab.instance(), number % 2);
        let directory = lab.directory().join(format!("chaos-{number}"));
        for inner in ["", "state", "run"] {
            fs::create_dir(directory.join(inner))?;
        }
        let resolv = directory.join("resolv.conf");
        let names = format!("nameserver {STORAGE}\noptions attempts:1 timeout:1\n");
        fs::write(&resolv, names)?;
        fs::write(directory.join("s3.pem"), certificate)?;
        fs::write(directory.join(CLOCK), 0_i64.to_ne_bytes())?;
        let text = texts::node(number, &instance, &directory)?;
        let config = directory.join("ober.toml");
        fs::write(&config, &text)?;
        let holder = keep(host, &directory, &resolv)?;
        Ok(Self {
            config,
            directory,
            text,
            instance,
            daemon: Mutex::new(None),
            holder,
        })
    }

    /// A command as it sees the node's disks; to be run on its host.
    pub(in crate::chaos) fn inside(&self, command: &Command) -> Command {
        let holder = self.holder.pid().to_string();
        NSENTER.before(["--mount", "--target", &holder], command)
    }

    /// A path of the node, as this process sees it.
    pub(in crate::chaos) fn seen(&self, path: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.pid());
        Path::new(&root).join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(in crate::chaos) fn state(&self) -> PathBuf {
        self.seen(&self.directory.join("state"))
    }

    pub(in crate::chaos) fn pins(&self) -> PathBuf {
        self.seen(Path::new(BPFFS))
            .join("ober")
            .join(&self.instance)
    }

    /// `ober-user` with these arguments.
    pub(in crate::chaos) fn ober(&self, arguments: &[&str]) -> Result<Command> {
        let mut ober = Command::own(program("ober-user")?);
        ober.args(arguments).arg("--config").arg(&self.config);
        Ok(self.inside(&ober))
    }

    /// Starts the daemon; does not wait until it is healthy.
    pub(in crate::chaos) fn start(&self, host: &Host) -> Result<()> {
        let mut daemon = hold(&self.daemon);
        ensure!(daemon.is_none(), "a daemon runs already");
        let mut command = self.ober(&["run"])?;
        command.env("RUST_LOG", "info");
        command.env("OBER_CLOCK", self.directory.join(CLOCK));
        command.env("LD_PRELOAD", env!("OBER_CLOCK_SHIM"));
        *daemon = Some(host.spawn(&mut command)?);
        Ok(())
    }

    pub(in crate::chaos) fn kill(&self) -> Result<()> {
        self.with_daemon(|daemon| daemon.kill().map(drop))?;
        *hold(&self.daemon) = None;
        Ok(())
    }

    /// Stops the daemon with SIGTERM.
    pub(in crate::chaos) fn stop(&self) -> Result<()> {
        self.with_daemon(|daemon| {
            daemon.signal(Signal::SIGTERM)?;
            let end = daemon.wait(PATIENCE)?;
            ensure!(end.success(), "it ended with {end}:\n{}", daemon.tail());
            Ok(())
        })?;
        *hold(&self.daemon) = None;
        Ok(())
    }

    pub(in crate::chaos) fn signal(&self, signal: Signal) -> Result<()> {
        self.with_daemon(|daemon| daemon.signal(signal))
    }

    /// From now on its daemon's wall clock is wrong by this many seconds.
    pub(in crate::chaos) fn clock_jumps(&self, seconds: i64) -> Result<()> {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(self.directory.join(CLOCK))?;
        file.write_all_at(&seconds.to_ne_bytes(), 0)?;
        Ok(())
    }

    fn with_daemon<T>(&self, work: impl FnOnce(&mut Process) -> Result<T>) -> Result<T> {
        let mut daemon = hold(&self.daemon);
        work(daemon.as_mut().context("no daemon runs")?)
    }

    /// The daemon's process; `None`: there is none, or it ended.
    pub(in crate::chaos) fn pid(&self) -> Option<u32> {
        let mut daemon = hold(&self.daemon);
        let daemon = daemon.as_mut()?;
        let alive = daemon.ended().is_ok_and(|end| end.is_none());
        alive.then(|| daemon.pid())
    }

    /// The end of its log.
    pub(in crate::chaos) fn tail(&self) -> String {
        hold(&self.daemon)
            .as_ref()
            .map(Process::tail)
            .unwrap_or_default()
    }

    pub(in crate::chaos) fn cli(&self, host: &Host, arguments: &[&str]) -> Result<String> {
        let output = host.output(&mut self.ober(arguments)?)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(in crate::chaos) fn try_cli(&self, host: &Host, arguments: &[&str]) -> Result<Output> {
        host.try_output(&mut self.ober(arguments)?)
    }

    /// Whether its daemon runs and has finished its start.
    pub(in crate::chaos) fn answers(&self, host: &Host) -> bool {
        let status = self.status(host);
        status.is_ok_and(|it| it.pid.is_some() && it.pid == self.pid())
    }

    /// Also of an unhealthy daemon, and without one.
    pub(in crate::chaos) fn status(&self, host: &Host) -> Result<Status> {
        let output = self.try_cli(host, &["status", "--json"])?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("read `ober-user status --json`: {errors}")
        })
    }
}

/// Makes the mount namespace: a small disk for the state, a BPF file system without the machine's pins, a name server.
fn keep(host: &Host, directory: &Path, resolv: &Path) -> Result<Process> {
    let mounts = [
        UMOUNT.args(["--lazy", BPFFS]),
        MOUNT.args(["-t", "bpf", "bpf", BPFFS]),
        mounts::memory(DISK, &directory.join("state")),
        mounts::bind(resolv, Path::new("/etc/resolv.conf")),
    ];
    let sleep = SLEEP.args(["infinity"]);
    let all: Vec<&Command> = mounts.iter().chain([&sleep]).collect();
    let mut holder = host.spawn(&mut UNSHARE.before(["--mount"], &SH.in_turn(&all)))?;
    until("a node's mounts", PATIENCE, || {
        ensure!(holder.ended()?.is_none(), "{}", holder.tail());
        let name = fs::read_to_string(format!("/proc/{}/comm", holder.pid()))?;
        Ok((name.trim() == SLEEP.name()).then_some(()))
    })?;
    Ok(holder)
}
