//! The service manager of the machine, systemd: what it gives the daemon at its start, what the daemon reports to it
//! (`notify`), the listening sockets it keeps for a later daemon (`kept`), and the control groups it makes for processes that
//! outlive the daemon (`scope`).
//!
//! Without systemd each of these does nothing. Variables and descriptors are taken once, before the process opens a file: Rust
//! forbids to change variables while other threads run, and a child gets none of them in any case ([`super::child`]). The crate
//! sd-notify reads the variables at every call, so a test could not give it a socket of its own.

pub mod kept;
pub mod notify;
pub mod scope;

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use self::{
    kept::KeptSockets,
    notify::Notifier,
    scope::{Scopes, Unit},
};
use crate::system::file;

/// The first descriptor that systemd passes on: `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;
/// More descriptors than any unit keeps: a larger number is a mistake.
const MOST: RawFd = 1 << 16;
/// Exists where systemd is the manager of the machine: `sd_booted(3)`.
const BOOTED: &str = "/run/systemd/system";

/// Is systemd the manager of this machine?
pub fn runs_this_machine() -> bool {
    Path::new(BOOTED).is_dir()
}

/// The manager as the daemon knows it. Copies are the same manager; the default is none.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    pub notifier: Notifier,
    pub kept: KeptSockets,
    pub scopes: Scopes,
    /// The manager ends this process when it reports nothing for so long.
    pub watchdog: Option<Duration>,
}

/// What the variables of a process say of its manager.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
    /// The names of the descriptors from [`FIRST`] on.
    descriptors: Vec<String>,
    /// Is this process the one that the manager started, and no child of it?
    main: bool,
}

impl Manager {
    /// Takes what the manager gave this process. To be called once, before the process opens a file or starts a thread.
    pub fn take() -> Self {
        let said = Said::read(|name| std::env::var_os(name), std::process::id());
        let descriptors = said.descriptors.into_iter().zip(FIRST..);
        let kept = descriptors.filter_map(|(name, number)| Some((name, own(number)?)));
        let notifier = Notifier::new(said.socket.as_deref());
        let unit = (said.main && runs_this_machine())
            .then(|| file::kernel_text("/proc/self/cgroup").ok())
            .flatten()
            .and_then(|text| Unit::of(&text));
        Self {
            kept: KeptSockets::new(notifier.clone(), kept),
            scopes: Scopes::new(unit),
            notifier,
            watchdog: said.watchdog,
        }
    }
}

/// A descriptor that was passed on. Children do not get it.
fn own(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: asks about a number; one that is not open is an error.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, the manager opened it for this process before its first instruction, and `take` is called once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    Some(fd)
}

impl Said {
    fn read(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let text = |name: &str| variable(name)?.into_string().ok();
        let number = |name: &str| text(name)?.parse::<u64>().ok();
        // A variable may have been meant for a parent of this process.
        let ours = |name: &str| number(name) == Some(u64::from(pid));
        let for_others = |name: &str| text(name).is_some() && !ours(name);
        let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 0);
        let watchdog = micros.filter(|_| !for_others("WATCHDOG_PID"));
        let count = number("LISTEN_FDS").and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| ours("LISTEN_PID") && *count <= MOST as usize);
        let names = text("LISTEN_FDNAMES").unwrap_or_default();
        // Descriptors beyond the names have none, and are closed.
        let names = names.split(':').map(str::to_owned);
        let names = names.chain(std::iter::repeat(String::new()));
        Self {
            socket: variable("NOTIFY_SOCKET").filter(|socket| is_address(socket)),
            watchdog: watchdog.map(Duration::from_micros),
            descriptors: names.take(count.unwrap_or(0)).collect(),
            main: ours("SYSTEMD_EXEC_PID"),
        }
    }
}

/// A path, or the name of an abstract socket behind `@`.
fn is_address(socket: &OsStr) -> bool {
    matches!(socket.as_bytes(), [b'/' | b'@', _, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[(&str, &str)]) -> Said {
        let find = |name: &str| {
            let found = variables.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Said::read(find, 7)
    }

    #[test]
    fn what_the_manager_gave_is_read_from_its_variables() {
        let all = said(&[
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("WATCHDOG_USEC", "30000000"),
            ("WATCHDOG_PID", "7"),
            ("LISTEN_PID", "7"),
            ("LISTEN_FDS", "3"),
            ("LISTEN_FDNAMES", "s3.443.v4.0:s3.443.v6.0"),
            ("SYSTEMD_EXEC_PID", "7"),
        ]);
        let expected = Said {
            socket: Some("/run/systemd/notify".into()),
            watchdog: Some(Duration::from_secs(30)),
            descriptors: ["s3.443.v4.0", "s3.443.v6.0", ""].map(str::to_owned).into(),
            main: true,
        };
        assert_eq!(all, expected);
        assert_eq!(said(&[]), Said::default());
        let socket = said(&[("NOTIFY_SOCKET", "@abstract")]).socket;
        assert_eq!(socket, Some("@abstract".into()));
    }

    #[test]
    fn variables_that_are_meant_for_another_process_or_make_no_sense_are_not_used() {
        let of_parent = said(&[
            ("WATCHDOG_USEC", "30000000"),
            ("WATCHDOG_PID", "6"),
            ("LISTEN_PID", "6"),
            ("LISTEN_FDS", "3"),
            ("SYSTEMD_EXEC_PID", "6"),
        ]);
        assert_eq!(of_parent, Said::default());
        let nonsense = said(&[
            ("NOTIFY_SOCKET", "vsock:2:1234"),
            ("WATCHDOG_USEC", "0"),
            ("LISTEN_PID", "7"),
            ("LISTEN_FDS", "4294967295"),
            ("SYSTEMD_EXEC_PID", "seven"),
        ]);
        assert_eq!(nonsense, Said::default());
        let without_pid = said(&[("WATCHDOG_USEC", "2000000")]);
        assert_eq!(without_pid.watchdog, Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_not_taken() {
        assert!(own(MOST).is_none());
    }
}
