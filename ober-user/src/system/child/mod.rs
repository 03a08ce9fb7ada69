//! The one way to start another program. What is not said here does not reach it: neither an environment nor a descriptor
//! of the daemon's, nor its rights, its terminal or its working directory. `clippy.toml` forbids the ways of the standard
//! library in this package.
//!
//! ```text
//! kind      runs as                environment      capabilities          limits
//! worker    root, then its account OBER_FD_0, ...   what that takes       no core
//! -c, -v    root                   OBER_FD_0, ...   what that takes       no core
//! program   `user`, else nobody    PATH, a secret   none                  below
//! ```
//! A program of the administrator's is ended with everything it started: [`crate::system::command`].
//!
//! `confine` is what a child gives up, `output` what it says, `tied` the thread it ends with, `tree` what it left behind,
//! `process` a process held by its pidfd. A child never gets a variable, a descriptor or a right that this table does not give
//! its kind.

mod confine;
pub mod output;
pub mod process;
mod tied;
mod tree;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use nix::sched::CpuSet;

use self::{
    confine::{Capabilities, Confined, Limit},
    process::{Pid, Process},
};
use crate::system::account::Account;

/// What is to be started, and with what.
#[derive(Clone, Debug)]
pub struct Child {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    handed: Vec<Arc<OwnedFd>>,
    /// `None`: it runs as this process.
    account: Option<Account>,
    keeps: Capabilities,
    limits: &'static [Limit],
    cpu: Option<u32>,
    /// Is it ended with everything it started? HAProxy starts nothing.
    whole: bool,
}

impl Child {
    /// HAProxy, which gives up what root may once it has opened its files.
    pub fn haproxy(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            handed: Vec::new(),
            account: None,
            keeps: Capabilities::TO_DROP,
            limits: confine::NO_CORE,
            cpu: None,
            whole: false,
        }
    }

    /// A program of the administrator's.
    pub fn of_administrator(program: &Path, account: &Account) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_else(|| confine::PATH.into());
        Self {
            // Who writes `root` means everything that root may.
            keeps: if account.user == 0 {
                Capabilities::ALL
            } else {
                Capabilities::NONE
            },
            account: Some(account.clone()),
            limits: confine::PROGRAM,
            whole: true,
            ..Self::haproxy(program)
        }
        .variable("PATH", path)
    }

    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|word| word.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// It gets this descriptor under the number it has here, which the variable tells.
    #[must_use]
    pub fn hand_over(self, variable: impl Into<OsString>, fd: Arc<OwnedFd>) -> Self {
        let number = fd.as_raw_fd().to_string();
        self.variable(variable, number).inherit(fd)
    }

    /// It gets this descriptor under the number it has here.
    #[must_use]
    pub fn inherit(mut self, fd: Arc<OwnedFd>) -> Self {
        self.handed.push(fd);
        self
    }

    /// It runs on this CPU alone.
    #[must_use]
    pub fn on(mut self, cpu: u32) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// Ready to be started; its output is still to be said where to. What is tied ends with the thread that starts it: [`tied`].
    #[expect(clippy::disallowed_methods, reason = "this is the starter")]
    fn command(&self, tied: bool) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir("/")
            .stdin(Stdio::null());
        let confined = Confined {
            handed: self.numbers(),
            account: self.account.as_ref().map_or(Ok(None), confine::to_become)?,
            keeps: self.keeps,
            limits: confine::within(self.limits)?,
            cpus: self.cpu.map(cpus).transpose()?,
            tied,
        };
        let handed = self.handed.clone();
        let enter = move || {
            // Held here, so that they are open when the child is made.
            debug_assert_eq!(handed.len(), confined.handed.len());
            confined.enter()
        };
        // SAFETY: between fork and exec; the closure makes system calls only and allocates nothing.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// Starts a process that may outlive this one; its output goes to `log`.
    pub fn start(&self, log: &File) -> io::Result<Process> {
        let ((), process) = tree::start(false, || {
            let mut command = self.command(false)?;
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
            Ok(((), hold(&mut command.spawn()?)?))
        })?;
        Ok(process)
    }

    fn numbers(&self) -> Vec<RawFd> {
        self.handed.iter().map(AsRawFd::as_raw_fd).collect()
    }
}

/// May this process start HAProxy so that it becomes another account in a root of its own?
pub fn may_confine() -> bool {
    confine::holds(Capabilities::TO_CONFINE)
}

/// The effective capabilities of this process, as bits; `None` without `/proc`.
pub fn capabilities() -> Option<u64> {
    confine::effective()
}

/// What cannot be held is not left running.
fn hold(child: &mut std::process::Child) -> io::Result<Process> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other);
    let held = pid.and_then(|pid| Process::open(Pid(pid)));
    if held.is_err() {
        child.kill()?;
        child.wait()?;
    }
    held
}

fn cpus(cpu: u32) -> io::Result<CpuSet> {
    let mut cpus = CpuSet::new();
    cpus.set(usize::try_from(cpu).unwrap_or(usize::MAX))?;
    Ok(cpus)
}

#[cfg(test)]
mod tests;
