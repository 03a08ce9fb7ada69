//! A socket of the test's own in place of systemd's: it hears what a daemon reports, and keeps the descriptors that the daemon
//! has it keep.

use std::{
    collections::BTreeMap,
    io::IoSliceMut,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    cmsg_space,
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};
use ober_programs::{BASH, Command};

use crate::lab::until;

/// The first descriptor that a service gets.
const FIRST: RawFd = 3;

/// How long the thread that listens may go on without a further question.
const REST: Duration = Duration::from_millis(100);

/// A report, with the descriptor that came along.
type Report = (String, Option<OwnedFd>);

/// What a daemon reported so far, and what it has kept. A thread listens: the queue of a socket may be ten reports short.
#[derive(Debug)]
pub struct Manager {
    reports: mpsc::Receiver<Report>,
    path: PathBuf,
    /// Each report is one of them: lines of `NAME=value`.
    pub heard: Vec<String>,
    pub kept: BTreeMap<String, OwnedFd>,
    /// The thread ends without it.
    _alive: Arc<()>,
}

impl Manager {
    /// Listens in this directory.
    pub fn new(directory: &Path) -> Result<Self> {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).context("listen as a service manager")?;
        socket.set_read_timeout(Some(REST))?;
        let (sender, reports) = mpsc::channel();
        let alive = Arc::new(());
        let needed = Arc::downgrade(&alive);
        std::thread::spawn(move || -> Result<()> {
            while needed.strong_count() > 0 {
                if let Some(report) = receive(&socket)? {
                    sender.send(report)?;
                }
            }
            Ok(())
        });
        Ok(Self {
            reports,
            path,
            heard: Vec::new(),
            kept: BTreeMap::new(),
            _alive: alive,
        })
    }

    /// The variable that names its socket.
    pub fn variable(&self) -> (String, String) {
        let path = self.path.display().to_string();
        ("NOTIFY_SOCKET".to_owned(), path)
    }

    /// Takes in all reports that have come.
    pub fn listen(&mut self) -> Result<()> {
        while let Ok((text, descriptor)) = self.reports.try_recv() {
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            if text.starts_with("FDSTORE=1") {
                let (name, descriptor) = name.zip(descriptor).context("a nameless descriptor")?;
                self.kept.insert(name.to_owned(), descriptor);
            } else if text.starts_with("FDSTOREREMOVE=1") {
                let gone = self.kept.remove(name.context("a name")?);
                ensure!(gone.is_some(), "{text}: nothing of that name is kept");
            }
            self.heard.push(text);
        }
        Ok(())
    }

    /// Waits for a report that begins with this text; returns it. What was heard before counts.
    pub fn until(&mut self, begin: &str, limit: Duration) -> Result<String> {
        let found = until(&format!("the report {begin:?}"), limit, || {
            self.listen()?;
            let mut heard = self.heard.iter();
            Ok(heard.find(|text| text.starts_with(begin)).cloned())
        });
        found.with_context(|| format!("heard: {:?}", self.heard))
    }

    /// How many reports beginning with this text come in that time.
    pub fn count(&mut self, begin: &str, time: Duration) -> Result<usize> {
        self.listen()?;
        let before = self.heard.len();
        std::thread::sleep(time);
        self.listen()?;
        let new = self.heard.iter().skip(before);
        Ok(new.filter(|text| text.starts_with(begin)).count())
    }

    /// The command as a service manager starts it: with copies of what is kept.
    pub fn start(&self, command: &Command) -> Result<Command> {
        let names: Vec<&str> = self.kept.keys().map(String::as_str).collect();
        let kept: Vec<OwnedFd> = self.kept.values().map(aside).collect::<Result<_>>()?;
        let places = (FIRST..).zip(&kept).map(|(place, fd)| {
            let number = fd.as_raw_fd();
            format!("{place}<&{number} {number}<&-")
        });
        let places = places.collect::<Vec<_>>().join(" ");
        // Only the process itself knows its number; the shell becomes it.
        let text = format!("export LISTEN_PID=$$ PATH=\"$1\"; shift; exec \"$@\" {places}");
        let mut shell = BASH.script(&text, &[]);
        let path = std::env::var("PATH").context("read PATH")?;
        shell.arg("bash").arg(path).args(command.words());
        shell.env("LISTEN_FDS", kept.len().to_string());
        shell.env("LISTEN_FDNAMES", names.join(":"));
        // SAFETY: between fork and exec only the system call fcntl runs; it is async-signal-safe and allocates nothing.
        unsafe {
            shell.pre_exec(move || {
                for fd in &kept {
                    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
                }
                Ok(())
            });
        }
        Ok(shell)
    }
}

/// The next report, if one comes in time.
fn receive(socket: &UnixDatagram) -> Result<Option<Report>> {
    let mut bytes = [0; 4096];
    let mut space = cmsg_space!([RawFd; 4]);
    let (length, descriptor) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let fd = socket.as_raw_fd();
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(fd, &mut parts, Some(&mut space), flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            message => message?,
        };
        let passed = message.cmsgs()?.find_map(|it| match it {
            ControlMessageOwned::ScmRights(numbers) => numbers.first().copied(),
            _ => None,
        });
        (message.bytes, passed)
    };
    // SAFETY: the kernel has just made this descriptor for us.
    let descriptor = descriptor.map(|number| unsafe { OwnedFd::from_raw_fd(number) });
    let text = String::from_utf8(bytes[..length].to_vec())?;
    Ok(Some((text, descriptor)))
}

/// A copy with a number beyond those that a service gets.
fn aside(fd: &OwnedFd) -> Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(100))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
