//! The real `ober-user` on a host of a laboratory: its commands, its daemon, its status.

use std::{path::PathBuf, process::Output, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use ober_programs::Command;
use ober_user::api::status::Status;

use crate::lab::{Host, Process, program, until};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The node's configuration, and its daemon while it runs.
#[derive(Debug)]
pub struct Ingress {
    pub config: PathBuf,
    pub daemon: Option<Process>,
    /// Variables of the daemon and of the commands.
    pub environment: Vec<(String, String)>,
}

impl Ingress {
    pub fn new(config: PathBuf) -> Self {
        Self {
            config,
            daemon: None,
            environment: Vec::new(),
        }
    }

    /// Run the daemon on `host` and wait until it says that it is healthy.
    pub fn start(&mut self, host: &Host) -> Result<Status> {
        let mut command = self.ober(&["run"])?;
        self.start_by(host, &mut command)
    }

    /// The same by a command that becomes the daemon.
    pub fn start_by(&mut self, host: &Host, command: &mut Command) -> Result<Status> {
        ensure!(self.daemon.is_none(), "the daemon runs already");
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        let mut daemon = host.spawn(command.env("RUST_LOG", "info"))?;
        let status = self
            .healthy(host, &mut daemon)
            .with_context(|| format!("log of the daemon:\n{}", daemon.tail()));
        self.daemon = Some(daemon);
        status
    }

    fn healthy(&self, host: &Host, daemon: &mut Process) -> Result<Status> {
        let mut said = String::new();
        let status = until("a healthy daemon", PATIENCE, || {
            if let Some(end) = daemon.ended()? {
                return Ok(Some(Err(format!("the daemon ended: {end}"))));
            }
            let status = self.status(host)?;
            said = format!("{status:?}");
            let ready = status.pid == Some(daemon.pid()) && status.healthy;
            Ok(ready.then_some(Ok(status)))
        })
        .with_context(|| format!("its last status: {said}"))?;
        status.map_err(anyhow::Error::msg)
    }

    /// SIGKILL to the daemon alone.
    pub fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.kill()?;
        Ok(())
    }

    /// SIGTERM, and wait for its end.
    pub fn stop(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.signal(Signal::SIGTERM)?;
        let end = daemon.wait(PATIENCE)?;
        ensure!(end.success(), "the daemon ended: {end}:\n{}", daemon.tail());
        Ok(())
    }

    /// A command of the CLI, not yet run.
    pub fn ober(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::own(program("ober-user")?);
        command.args(arguments).arg("--config").arg(&self.config);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        Ok(command)
    }

    /// A command of the CLI; its standard output.
    pub fn cli(&self, host: &Host, arguments: &[&str]) -> Result<String> {
        let output = host.output(&mut self.ober(arguments)?)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A command of the CLI, whatever its exit status.
    pub fn try_cli(&self, host: &Host, arguments: &[&str]) -> Result<Output> {
        host.try_output(&mut self.ober(arguments)?)
    }

    pub fn status(&self, host: &Host) -> Result<Status> {
        // 1: no VIP is served.
        let output = self.try_cli(host, &["status", "--json"])?;
        let known = matches!(output.status.code(), Some(0 | 1)) && !output.stdout.is_empty();
        ensure!(known, "`ober-user status --json`: {output:?}");
        serde_json::from_slice(&output.stdout).context("read `ober-user status --json`")
    }

    /// The pids of the workers that serve.
    pub fn workers(&self, host: &Host) -> Result<Vec<i32>> {
        let workers = self.status(host)?.workers;
        Ok(workers
            .into_iter()
            .filter_map(|worker| worker.pid)
            .collect())
    }
}
