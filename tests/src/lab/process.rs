//! A program running in a host, with its log.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_programs::Command;

use super::until;

/// Lines of a log that are shown when something failed.
const TAIL: usize = 60;

/// Killed when dropped. The log is shown if a test is failing at that moment.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    pub(super) fn start(command: &mut Command, name: String, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let errors = out.try_clone()?;
        let child = command
            .stdout(out)
            .stderr(errors)
            // Ctrl-C in a terminal is for the laboratory, which ends its processes itself.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self {
            name,
            child,
            log,
            ended: None,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far, standard output and error together.
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |error| format!("(log {}: {error})", self.log.display()),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Where the log is.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The last lines of the log.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .with_context(|| format!("look after {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Wait for its end, at most for `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        until(&what, limit, || self.ended())
    }

    /// Send a signal. Never to a process that has been waited for: another process may have its number by now.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// End it with SIGKILL and wait.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(5))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- log of {} (pid {}):\n{}\n---",
                self.name,
                self.pid(),
                self.tail()
            );
        }
        if let Err(error) = self.kill() {
            eprintln!("laboratory: {} could not be ended: {error:#}", self.name);
        }
    }
}
