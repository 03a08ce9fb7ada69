//! The one way to start another program. A child gets only what is stated here: no environment and no descriptor of the daemon,
//! nor its rights, its terminal or its working directory. `clippy.toml` forbids the standard library's ways to start programs
//! in this package.
//!
//! ```text
//! kind      runs as                environment      capabilities          limits
//! worker    root, then its account OBER_FD_0, ...   to change account     no core
//! -c, -v    root                   OBER_FD_0, ...   to change account     no core
//! program   `user`, else nobody    PATH, a secret   none                  `confine::PROGRAM`
//! of root   root                   PATH, LC_ALL     all                   no core
//! tool      root                   none             none                  `confine::PROGRAM`
//! editor    as the command         as the command   as the command        as the command
//! ```
//! [`become_program`] starts no child: a command becomes the program that shows what was asked for.
//!
//! An administrator's program is ended with everything it started: [`crate::system::command`].
//!
//! The editor is a command's, never the daemon's: `interactive` gives it the terminal of the person who typed the command.
//! `confine` removes rights, `output` collects output, `tied` binds a child to a thread, `tree` ends what a program left behind,
//! `process` holds a process by its pidfd. A child never gets a variable, a descriptor or a right that this table does not give
//! its kind.

mod confine;
mod interactive;
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

pub use self::interactive::interactive;
use self::{
    confine::{Capabilities, Confined, Limit},
    process::{Pid, Process},
};
use crate::system::account::Account;

/// A program to start, with its arguments, environment and rights.
#[derive(Clone, Debug)]
pub struct Child {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    handed: Vec<Arc<OwnedFd>>,
    /// `None`: it runs with the account of this process.
    account: Option<Account>,
    keeps: Capabilities,
    limits: &'static [Limit],
    cpu: Option<u32>,
    /// Is it ended with everything it started? HAProxy starts no processes.
    whole: bool,
}

impl Child {
    /// HAProxy, which drops root's rights itself once it has opened its files.
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

    /// A program of the operating system that is asked for something as root and needs none of root's rights.
    pub fn tool(program: &Path) -> Self {
        Self {
            keeps: Capabilities::NONE,
            limits: confine::PROGRAM,
            whole: true,
            ..Self::haproxy(program)
        }
    }

    /// A program of the administrator.
    pub fn of_administrator(program: &Path, account: &Account) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_else(|| confine::PATH.into());
        Self {
            // An administrator who writes `root` wants all of root's rights.
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

    /// A program that a command of root's starts to look at this machine or to change it, such as `tc` or `apt-get`.
    pub fn of_root(program: &Path) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [path.as_os_str(), confine::PATH.as_ref()].join(OsStr::new(":"));
        Self {
            keeps: Capabilities::ALL,
            ..Self::haproxy(program)
        }
        .variable("PATH", path)
        .variable("LC_ALL", "C")
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

    /// Passes this descriptor to the child under the same number, and the number in this variable.
    #[must_use]
    pub fn hand_over(self, variable: impl Into<OsString>, fd: Arc<OwnedFd>) -> Self {
        let number = fd.as_raw_fd().to_string();
        self.variable(variable, number).inherit(fd)
    }

    /// Passes this descriptor to the child under the same number.
    #[must_use]
    pub fn inherit(mut self, fd: Arc<OwnedFd>) -> Self {
        self.handed.push(fd);
        self
    }

    /// Runs the child on this CPU alone.
    #[must_use]
    pub fn on(mut self, cpu: u32) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// The command without its output, which the caller sets. With `tied`, the child ends with the thread that starts it:
    /// [`tied`].
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
            weighted: confine::is_weighted(),
            cpus: self.cpu.map(cpus).transpose()?,
            tied,
        };
        let handed = self.handed.clone();
        let enter = move || {
            // The closure owns the descriptors, so that they are still open at the fork.
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

/// This process becomes another program, with its arguments, environment, rights and terminal: for a command that is nothing
/// but another program with other arguments. Returns only if that fails.
#[expect(clippy::disallowed_methods, reason = "this is the starter")]
pub fn become_program(program: &str, arguments: &[String]) -> io::Error {
    Command::new(program).args(arguments).exec()
}

/// May this process start HAProxy so that it becomes another account in a root of its own?
pub fn may_confine() -> bool {
    confine::holds(Capabilities::TO_CONFINE)
}

/// The effective capabilities of this process, as bits; `None` without `/proc`.
pub fn capabilities() -> Option<u64> {
    confine::effective()
}

/// Opens the child by its pidfd; when that fails the child is killed.
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
