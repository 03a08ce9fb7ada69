//! A terminal for a program that behaves otherwise before a person.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use ober_programs::Command;

/// A new terminal: the end that reads what a program writes, and the end for the program. Once no process holds the latter,
/// reading ends with an error instead of an end of file.
pub fn open() -> io::Result<(File, OwnedFd)> {
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: two out parameters; names, modes and sizes are left to the kernel.
    let made = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    Errno::result(made)?;
    // SAFETY: both were just opened for us.
    let ends = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    Ok(ends)
}

/// How long a program may take to write what a person waits for.
const PATIENCE: Duration = Duration::from_mins(2);

/// A program at a terminal, with a person who reads and types.
pub struct Session {
    terminal: File,
    child: Child,
    said: Vec<u8>,
    /// What was read up to here was waited for.
    read: usize,
}

impl Session {
    /// Starts a program whose input, output and errors are a new terminal of 60 lines and 200 columns. `start`: starts the
    /// command, in the namespace that it is for.
    pub fn begin(
        command: &mut Command,
        start: impl FnOnce(&mut Command) -> io::Result<Child>,
    ) -> io::Result<Self> {
        let (terminal, theirs) = open()?;
        let size = libc::winsize {
            ws_row: 60,
            ws_col: 200,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the descriptor is open, and the structure lives through the call.
        let sized = unsafe { libc::ioctl(theirs.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        Errno::result(sized)?;
        command
            .env("TERM", "xterm")
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs);
        let child = start(command)?;
        // The command's own copies of the terminal are closed, so that reading ends with the program.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self {
            terminal,
            child,
            said: Vec::new(),
            read: 0,
        })
    }

    /// Waits for these words behind those that were waited for before.
    pub fn wait_for(&mut self, words: &str) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let new = self.said.get(self.read..).unwrap_or_default();
            let found = new
                .windows(words.len())
                .position(|it| it == words.as_bytes());
            if let Some(at) = found {
                self.read += at + words.len();
                return Ok(());
            }
            if !self.more(deadline)? {
                let said = String::from_utf8_lossy(self.said.get(self.read..).unwrap_or_default());
                let words = format!("{words:?} was not written before the end: {said:?}");
                return Err(io::Error::other(words));
            }
        }
    }

    /// Waits for a question and answers it, with Enter at the end.
    pub fn answer(&mut self, question: &str, answer: &str) -> io::Result<()> {
        self.wait_for(question)?;
        self.keys(&format!("{answer}\r"))
    }

    /// Presses keys.
    pub fn keys(&mut self, keys: &str) -> io::Result<()> {
        self.terminal.write_all(keys.as_bytes())
    }

    /// Waits for the end: the exit status, and all that was written.
    pub fn end(mut self) -> io::Result<(Option<i32>, String)> {
        let deadline = Instant::now() + PATIENCE;
        while self.more(deadline)? {}
        let status = self.child.wait()?;
        let said = String::from_utf8_lossy(&self.said).into_owned();
        Ok((status.code(), said))
    }

    /// Reads what comes until the deadline; `false`: the program has ended.
    fn more(&mut self, deadline: Instant) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, wait)? == 0 {
            self.child.kill()?;
            let said = String::from_utf8_lossy(&self.said);
            return Err(io::Error::other(format!(
                "it is silent and does not end: {said:?}"
            )));
        }
        let mut piece = [0; 4096];
        match self.terminal.read(&mut piece) {
            Ok(0) | Err(_) => Ok(false),
            Ok(length) => {
                self.said
                    .extend_from_slice(piece.get(..length).unwrap_or_default());
                Ok(true)
            }
        }
    }
}
