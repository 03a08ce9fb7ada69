//! The two sockets of a machine: the agent inside it, and QEMU's monitor. Every answer is waited for until a moment, never longer.

use anyhow::{Context, Result, bail, ensure};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// QEMU makes its sockets while it starts.
const START: Duration = Duration::from_secs(20);
/// How often a wait looks at the clock.
const LOOK: Duration = Duration::from_millis(100);

/// What a command in the machine wrote, and its exit status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: i32,
    pub(super) output: String,
}

/// A socket whose other end answers.
struct Line {
    socket: UnixStream,
    buffer: Vec<u8>,
}

impl Line {
    fn connect(path: &Path) -> Result<Self> {
        let end = Instant::now() + START;
        let socket = loop {
            match UnixStream::connect(path) {
                Ok(socket) => break socket,
                Err(_) if Instant::now() < end => std::thread::sleep(LOOK),
                Err(error) => {
                    return Err(error).with_context(|| format!("connect to {}", path.display()));
                }
            }
        };
        socket
            .set_read_timeout(Some(LOOK))
            .and_then(|()| socket.set_write_timeout(Some(START)))
            .context("limit the time of reading and writing")?;
        Ok(Self {
            socket,
            buffer: Vec::new(),
        })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).context("write to the machine")
    }

    /// Reads until the buffer holds what is looked for, and returns how long that is.
    fn until(&mut self, end: Instant, found: impl Fn(&[u8]) -> Option<usize>) -> Result<Vec<u8>> {
        let mut bytes = [0; 16384];
        loop {
            if let Some(length) = found(&self.buffer) {
                return Ok(self.buffer.drain(..length).collect());
            }
            ensure!(Instant::now() < end, "no answer in time");
            match self.socket.read(&mut bytes) {
                Ok(0) => bail!("the machine is gone"),
                Ok(count) => self
                    .buffer
                    .extend_from_slice(bytes.get(..count).unwrap_or_default()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("read from the machine"),
            }
        }
    }

    fn line(&mut self, end: Instant) -> Result<String> {
        let ends = |buffer: &[u8]| Some(buffer.iter().position(|byte| *byte == b'\n')? + 1);
        let line = self.until(end, ends)?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// The agent, which runs one command at a time.
pub(super) struct Agent {
    line: Line,
    /// Of the last request. An answer to an earlier one is passed over.
    nonce: u32,
}

impl Agent {
    pub(super) fn connect(path: &Path) -> Result<Self> {
        Ok(Self {
            line: Line::connect(path)?,
            nonce: 0,
        })
    }

    /// Which boot of the machine answers. Asks again until one does, since a question is lost in a reboot.
    pub(super) fn boot(&mut self, patience: Duration) -> Result<String> {
        let end = Instant::now() + patience;
        loop {
            let asked = self.ask("ping", &[])?;
            match self.answer(asked, end.min(Instant::now() + Duration::from_secs(5))) {
                Ok(answer) => return Ok(answer.output.trim().to_owned()),
                Err(error) if Instant::now() >= end => {
                    return Err(error).context("wait until the machine has booted");
                }
                Err(_) => {}
            }
        }
    }

    /// Runs a command of the shell there, which is killed after this time.
    pub(super) fn run(&mut self, command: &str, limit: Duration) -> Result<Answer> {
        let header = format!("run {} {}", limit.as_secs_f32(), command.len());
        let asked = self.ask(&header, command.as_bytes())?;
        // The machine's clock may be slower than ours by far.
        self.answer(asked, Instant::now() + limit * 3 + START)
            .with_context(|| format!("run `{command}` in the machine"))
    }

    pub(super) fn put(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let header = format!("put {mode:o} {} {path}", bytes.len());
        let asked = self.ask(&header, bytes)?;
        self.answer(asked, Instant::now() + Duration::from_mins(1))
            .with_context(|| format!("write {path} in the machine"))
            .map(drop)
    }

    fn ask(&mut self, header: &str, bytes: &[u8]) -> Result<u32> {
        self.nonce += 1;
        let text = format!("{} {header}\n", self.nonce);
        self.line.send(&[text.as_bytes(), bytes].concat())?;
        Ok(self.nonce)
    }

    fn answer(&mut self, nonce: u32, end: Instant) -> Result<Answer> {
        loop {
            let line = self.line.line(end)?;
            let Some((of, status, length)) = header(&line) else {
                continue;
            };
            let has = |buffer: &[u8]| (buffer.len() >= length).then_some(length);
            let output = self.line.until(end, has)?;
            if of == nonce {
                let output = String::from_utf8_lossy(&output).into_owned();
                return Ok(Answer { status, output });
            }
        }
    }
}

/// Nonce, status and length.
fn header(line: &str) -> Option<(u32, i32, usize)> {
    let mut words = line.split(' ');
    let header = (
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
    );
    words.next().is_none().then_some(header)
}

/// QEMU's monitor.
pub(super) struct Monitor(Line);

impl Monitor {
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let mut monitor = Self(Line::connect(path)?);
        monitor.prompt(START)?;
        Ok(monitor)
    }

    /// Gives a command that writes nothing when it works.
    pub(super) fn order(&mut self, command: &str, patience: Duration) -> Result<()> {
        self.0.send(format!("{command}\n").as_bytes())?;
        let said = self
            .prompt(patience)
            .with_context(|| format!("order `{command}` of QEMU"))?;
        // The monitor repeats what is typed, with the codes of a terminal, up to the end of the line.
        let said = said.split_once("\r\n").map_or("", |(_, more)| more);
        let said = said.trim_end_matches(PROMPT).trim();
        ensure!(said.is_empty(), "QEMU refused `{command}`: {said}");
        Ok(())
    }

    /// Ends QEMU, which writes its disk first.
    pub(super) fn quit(&mut self) -> Result<()> {
        self.0.send(b"quit\n")
    }

    fn prompt(&mut self, patience: Duration) -> Result<String> {
        let ends = |buffer: &[u8]| buffer.ends_with(PROMPT.as_bytes()).then_some(buffer.len());
        let said = self.0.until(Instant::now() + patience, ends)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

const PROMPT: &str = "(qemu) ";
