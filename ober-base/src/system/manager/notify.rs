//! Reports to the manager: one datagram of `NAME=value` lines each, as `sd_notify(3)` describes them.

use std::{
    ffi::OsStr,
    io::{self, IoSlice},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd},
        unix::{ffi::OsStrExt as _, net::UnixDatagram},
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg},
    time::{ClockId, clock_gettime},
};

/// How long a report may wait while the manager does not read. After that it is lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of a status line. The manager takes 4 KiB of everything.
const LONGEST: usize = 1000;

/// Reports to the manager; the default reports nothing.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Line>>);

/// A change that the manager hears of.
#[derive(Debug)]
pub struct Reload(Notifier);

impl Drop for Reload {
    fn drop(&mut self) {
        self.0.ready();
    }
}

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    /// Named in each datagram: a connection would end when the manager makes its socket anew.
    manager: UnixAddr,
    /// The last report failed, and that was logged.
    failing: AtomicBool,
}

impl Notifier {
    /// For the socket that `NOTIFY_SOCKET` names.
    pub fn new(socket: Option<&OsStr>) -> Self {
        let Some(name) = socket else {
            return Self::default();
        };
        match Line::new(name) {
            Ok(line) => Self(Some(Arc::new(line))),
            Err(error) => {
                tracing::warn!(?name, %error, "report to the service manager");
                Self::default()
            }
        }
    }

    /// Is there a manager that hears of this process?
    pub fn reports(&self) -> bool {
        self.0.is_some()
    }

    /// The daemon serves.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// A change has begun. It is over when the value is dropped.
    #[must_use]
    pub fn reload(&self) -> Reload {
        // Every kernel has this clock, so an error cannot happen.
        let clock = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let micros = clock.unwrap_or_default().as_micros();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        Reload(self.clone())
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// A line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.send(&format!("STATUS={}", one_line(line)));
    }

    /// A start that goes on, and how long the next step may take.
    pub fn starting(&self, line: &str, more: Duration) {
        let (line, micros) = (one_line(line), more.as_micros());
        self.send(&format!("STATUS={line}\nEXTEND_TIMEOUT_USEC={micros}"));
    }

    /// The process is not stuck.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Has the manager keep a descriptor.
    pub(super) fn keep(&self, name: &str, fd: BorrowedFd<'_>) {
        self.send_with(&format!("FDSTORE=1\nFDNAME={name}"), &[fd.as_raw_fd()]);
    }

    /// Has the manager close a descriptor that it keeps.
    pub(super) fn close(&self, name: &str) {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    fn send(&self, text: &str) {
        self.send_with(text, &[]);
    }

    fn send_with(&self, text: &str, descriptors: &[RawFd]) {
        let Some(line) = &self.0 else {
            return;
        };
        let sent = line.send(text, descriptors);
        let failed = sent.is_err();
        let before = line.failing.swap(failed, Ordering::Relaxed);
        if let Err(error) = sent
            && !before
        {
            tracing::warn!(%error, report = text, "report to the service manager");
        }
    }
}

impl Line {
    fn new(name: &OsStr) -> io::Result<Self> {
        let manager = match name.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
            name => UnixAddr::new(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            manager,
            failing: AtomicBool::new(false),
        })
    }

    fn send(&self, text: &str, descriptors: &[RawFd]) -> io::Result<()> {
        let passed = [ControlMessage::ScmRights(descriptors)];
        let passed: &[_] = if descriptors.is_empty() { &[] } else { &passed };
        sendmsg(
            self.socket.as_fd().as_raw_fd(),
            &[IoSlice::new(text.as_bytes())],
            passed,
            MsgFlags::MSG_NOSIGNAL,
            Some(&self.manager),
        )?;
        Ok(())
    }
}

/// The text as one line: a line end would begin another assignment.
fn one_line(text: &str) -> String {
    let plain = |letter: char| {
        if letter.is_control() { ' ' } else { letter }
    };
    let mut line = String::new();
    for letter in text.chars().map(plain) {
        if line.len() + letter.len_utf8() > LONGEST {
            break;
        }
        line.push(letter);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;

    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 5000];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn every_report_is_one_datagram_to_a_path_or_to_an_abstract_socket() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("ober-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, name) in [
            (at_path, path.into_os_string()),
            (at_name, format!("@{name}").into()),
        ] {
            let notifier = Notifier::new(Some(&name));
            assert!(notifier.reports());
            notifier.ready();
            assert_eq!(received(&socket), "READY=1");
            notifier.status("2 of 3 VIPs announced\nREADY=1");
            assert_eq!(received(&socket), "STATUS=2 of 3 VIPs announced READY=1");
            notifier.starting("step 1", Duration::from_secs(2));
            let expected = "STATUS=step 1\nEXTEND_TIMEOUT_USEC=2000000";
            assert_eq!(received(&socket), expected);
            let reload = notifier.reload();
            let text = received(&socket);
            let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0, "{text}");
            drop(reload);
            assert_eq!(received(&socket), "READY=1");
            notifier.alive();
            assert_eq!(received(&socket), "WATCHDOG=1");
            notifier.stopping();
            assert_eq!(received(&socket), "STOPPING=1");
        }
    }

    #[test]
    fn a_manager_that_is_away_costs_its_reports_and_hears_the_next_ones() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let notifier = Notifier::new(Some(path.as_os_str()));
        notifier.ready();
        let socket = UnixDatagram::bind(&path).unwrap();
        notifier.alive();
        assert_eq!(received(&socket), "WATCHDOG=1");
        assert!(!Notifier::new(None).reports());
        let long = "a".repeat(200);
        assert!(!Notifier::new(Some(OsStr::new(&format!("/{long}")))).reports());
    }

    #[test]
    fn a_status_of_any_length_is_cut_between_two_letters() {
        assert_eq!(one_line(&"ä".repeat(1000)).len(), LONGEST);
        assert_eq!(one_line("a\tb\r\n"), "a b  ");
    }
}
