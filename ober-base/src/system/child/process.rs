//! A process, held by its pidfd: a signal cannot hit another process that got the same number, and the end is seen at once.

use std::{
    ffi::OsString,
    fmt, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStringExt as _,
    },
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
};
use tokio::io::{Interest, unix::AsyncFd};

use super::tree;
use crate::system::file;

/// A process number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// This daemon is not the parent (an adopted worker), and only a parent learns the status.
    Unknown,
}

impl Exit {
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit status: {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(out, "signal: {number} ({signal})"),
                Err(_) => write!(out, "signal: {number}"),
            },
            Self::Unknown => out.write_str("ended"),
        }
    }
}

/// A process that may have ended; while this value exists and the process is a child of the daemon, its number is not reused.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: Pid,
    /// Start time in clock ticks since boot: together with the number it identifies the process.
    pub started: u64,
    pidfd: Arc<AsyncFd<OwnedFd>>,
}

impl Process {
    /// Opens a process that already runs.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: takes and returns plain numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, libc::PIDFD_NONBLOCK) };
        // SAFETY: an OwnedFd is open as long as it lives, and AsyncFd never hands it out by value while registered.
        let pidfd = unsafe { AsyncFd::register_with_interest(owned(fd)?, Interest::READABLE) }?;
        Ok(Self {
            pid,
            started: Stat::of(pid)?.started,
            pidfd: Arc::new(pidfd),
        })
    }

    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let none = std::ptr::null::<libc::siginfo_t>();
        let fd = self.pidfd.get_ref().as_raw_fd();
        // SAFETY: a null siginfo is allowed and means what kill(2) does.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd,
                signal as libc::c_int,
                none,
                0,
            )
        };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }

    /// A copy of the descriptor that has this number in the process.
    pub fn descriptor(&self, number: RawFd) -> io::Result<OwnedFd> {
        let fd = self.pidfd.get_ref().as_raw_fd();
        // SAFETY: takes and returns plain numbers.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, fd, number, 0) })
    }

    /// Waits for the end. A child keeps its number until [`Process::ended`].
    pub(super) async fn over(&self) {
        // Fails only when the runtime ends, which ends this task too.
        if self.pidfd.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the end, and reaps the process if it is a child of the daemon.
    pub async fn ended(&self) -> Exit {
        loop {
            // Fails only when the runtime ends, which ends this task too.
            let Ok(mut ready) = self.pidfd.readable().await else {
                return std::future::pending().await;
            };
            let id = Id::PIDFd(self.pidfd.get_ref().as_fd());
            let exit = match waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
                Ok(WaitStatus::Exited(_, code)) => Exit::Code(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signal(signal as i32),
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {
                    ready.clear_ready();
                    continue;
                }
                // Not a child of this daemon: adopted.
                Err(_) => Exit::Unknown,
            };
            tree::forget(self.pid);
            return exit;
        }
    }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = Errno::result(result)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Fields of `proc_pid_stat(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// It has ended, and waits to be reaped.
    pub(super) over: bool,
    pub(super) parent: i32,
    pub(super) session: i32,
    pub(super) started: u64,
}

impl Stat {
    pub(super) fn of(pid: Pid) -> io::Result<Self> {
        let text = file::kernel_text(format!("/proc/{}/stat", pid.0))?;
        Self::read(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// The name in field 2 may contain any byte, so counting begins after its closing parenthesis.
    fn read(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3);
        Some(Self {
            over: matches!(*field(3)?, "Z" | "X"),
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
        })
    }
}

/// The arguments a process was started with; none if it has ended.
pub fn arguments(pid: Pid) -> Vec<OsString> {
    let line = file::kernel(format!("/proc/{}/cmdline", pid.0)).unwrap_or_default();
    let words = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect()
}

/// The account whose rights the process has; `None` if it has ended.
pub fn user(pid: Pid) -> Option<u32> {
    let status = file::kernel_text(format!("/proc/{}/status", pid.0)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    // Real, effective, saved and file-system user: the most powerful of them counts.
    let users = line
        .split_ascii_whitespace()
        .filter_map(|it| it.parse().ok());
    users.min()
}

#[cfg(test)]
mod tests {
    use ober_programs::SLEEP;

    use super::*;

    #[test]
    fn a_process_name_full_of_brackets_does_not_hide_the_start_time() {
        let stat = "7 (a) b) S 1 7 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 10";
        let expected = Stat {
            over: false,
            parent: 1,
            session: 9,
            started: 4711,
        };
        assert_eq!(Stat::read(stat), Some(expected));
        assert_eq!(Stat::read("7 (a"), None);
    }

    #[test]
    fn the_end_of_a_process_is_described_by_its_status_or_signal() {
        for (exit, words) in [
            (Exit::Code(3), "exit status: 3"),
            (Exit::Signal(9), "signal: 9 (SIGKILL)"),
            (Exit::Unknown, "ended"),
        ] {
            assert_eq!(exit.to_string(), words);
        }
    }

    #[tokio::test]
    #[expect(clippy::zombie_processes, reason = "reaping it is what is tested")]
    async fn a_childs_end_gives_its_signal_and_a_descriptor_of_another_process_can_be_fetched() {
        let child = SLEEP.args(["60"]).spawn().unwrap();
        let process = Process::open(Pid(i32::try_from(child.id()).unwrap())).unwrap();
        assert!(process.descriptor(0).is_ok());
        assert!(process.descriptor(999).is_err());
        process.signal(Signal::SIGKILL).unwrap();
        assert_eq!(process.ended().await, Exit::Signal(libc::SIGKILL));
        assert!(process.signal(Signal::SIGKILL).is_err(), "it is reaped");
    }
}
