//! A HAProxy process: started so that it outlives the daemon, held by its pidfd so that a signal never meets a
//! stranger and its end is seen at once.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStringExt, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use nix::{
    errno::Errno,
    sched::{CpuSet, sched_setaffinity},
    sys::{
        signal::Signal,
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    render::variable,
    worker::{Exit, Generation, Pid},
};

use crate::file;

/// Everything a process is started with.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) generation: Generation,
    pub(super) haproxy: PathBuf,
    pub(super) file: PathBuf,
    pub(super) cpu: u32,
    /// In the order of the configuration's variables.
    pub(super) sockets: Vec<Arc<OwnedFd>>,
}

/// A process that may have ended but whose number is not reused while this exists and it is our child.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    /// Start time in clock ticks since boot: with the number, the identity of a process.
    pub(super) started: u64,
    pidfd: Arc<AsyncFd<OwnedFd>>,
}

impl Process {
    /// Starts HAProxy, its output going to `log`.
    pub(super) fn spawn(launch: &Launch, log: &File) -> io::Result<Self> {
        let mut cpus = CpuSet::new();
        cpus.set(usize::try_from(launch.cpu).unwrap_or(usize::MAX))?;
        let mut command = Command::new(&launch.haproxy);
        command
            .arg("-db")
            .arg("-f")
            .arg(&launch.file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            // A signal to the daemon's group, such as ^C, is not for the workers.
            .process_group(0);
        hand_over(&mut command, &launch.sockets);
        // SAFETY: between fork and exec; the closure makes one system call and touches only memory it owns.
        unsafe {
            command.pre_exec(move || Ok(sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus)?))
        };
        let child = command.spawn()?;
        let pid = Pid(i32::try_from(child.id()).map_err(io::Error::other)?);
        Self::open(pid)
    }

    /// Takes hold of a process that runs already.
    pub(super) fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: takes and returns plain numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, libc::PIDFD_NONBLOCK) };
        // SAFETY: an OwnedFd is open as long as it lives, and AsyncFd never hands it out by value while registered.
        let pidfd = unsafe { AsyncFd::register_with_interest(owned(fd)?, Interest::READABLE) }?;
        Ok(Self {
            pid,
            started: start_time(pid)?,
            pidfd: Arc::new(pidfd),
        })
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
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
    pub(super) fn descriptor(&self, number: RawFd) -> io::Result<OwnedFd> {
        let fd = self.pidfd.get_ref().as_raw_fd();
        // SAFETY: takes and returns plain numbers.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, fd, number, 0) })
    }

    /// Waits for the end, and reaps the process if it is our child.
    pub(super) async fn ended(&self) -> Exit {
        loop {
            // Fails only when the runtime ends, and the watcher with it.
            let Ok(mut ready) = self.pidfd.readable().await else {
                return std::future::pending().await;
            };
            let id = Id::PIDFd(self.pidfd.get_ref().as_fd());
            match waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
                Ok(WaitStatus::Exited(_, code)) => return Exit::Code(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Exit::Signal(signal as i32),
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => ready.clear_ready(),
                // Not our child: adopted.
                Err(_) => return Exit::Unknown,
            }
        }
    }
}

/// Makes the child, and nobody else, inherit the sockets and find their numbers in its environment.
pub(super) fn hand_over(command: &mut Command, sockets: &[Arc<OwnedFd>]) {
    let numbers: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    for (index, number) in numbers.iter().enumerate() {
        command.env(variable(index), number.to_string());
    }
    let keep = move || {
        for number in &numbers {
            // SAFETY: changes a flag of a descriptor of this process; a closed one is an error.
            Errno::result(unsafe { libc::fcntl(*number, libc::F_SETFD, 0) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec; the closure makes system calls only and allocates nothing.
    unsafe { command.pre_exec(keep) };
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = Errno::result(result)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn start_time(pid: Pid) -> io::Result<u64> {
    let stat = file::kernel_text(format!("/proc/{}/stat", pid.0))?;
    parse_start_time(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Field 22 of `proc_pid_stat(5)`; the name in field 2 may hold anything, so counting begins after its end.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The arguments a process was started with; none if it has ended.
pub(super) fn arguments(pid: Pid) -> Vec<OsString> {
    let line = file::kernel(format!("/proc/{}/cmdline", pid.0)).unwrap_or_default();
    let words = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ober_programs::SLEEP;

    #[test]
    fn a_process_name_full_of_brackets_does_not_hide_the_start_time() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 10";
        assert_eq!(parse_start_time(stat), Some(4711));
        assert_eq!(parse_start_time("7 (a"), None);
    }

    #[tokio::test]
    #[expect(clippy::zombie_processes, reason = "reaping it is what is tested")]
    async fn the_end_of_a_child_is_seen_with_its_signal_and_a_foreign_descriptor_can_be_fetched() {
        let child = SLEEP.args(["60"]).spawn().unwrap();
        let process = Process::open(Pid(i32::try_from(child.id()).unwrap())).unwrap();
        assert!(process.descriptor(0).is_ok());
        assert!(process.descriptor(999).is_err());
        process.signal(Signal::SIGKILL).unwrap();
        assert_eq!(process.ended().await, Exit::Signal(libc::SIGKILL));
        assert!(process.signal(Signal::SIGKILL).is_err(), "it is reaped");
    }
}
