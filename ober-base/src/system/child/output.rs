//! Runs a child to its end and collects its output. When the caller drops it, or it ends, nothing that it started is left.

use std::{io, os::fd::OwnedFd, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid as Number,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::unix::pipe::Receiver,
    runtime::Handle,
    time::sleep,
};

use super::{
    Child,
    process::{Exit, Process},
    tied, tree,
};

/// How long output written just before the end may take to arrive.
const REST: Duration = Duration::from_secs(1);
/// Bytes of one read.
const PIECE: usize = 8 << 10;

/// How a child ended, and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    pub out: Vec<u8>,
    /// The end of what it wrote to standard error.
    pub errors: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Start(io::Error),
    #[error(transparent)]
    Read(io::Error),
    #[error("it wrote more than {most} bytes")]
    TooMuch { most: usize },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Start(source) | Error::Read(source) => source,
            Error::TooMuch { .. } => Self::other(error),
        }
    }
}

impl Child {
    /// Runs it to its end; dropping the future kills it. `most`: bytes it may write to standard output; of standard error the
    /// last `most` are kept.
    pub async fn output(&self, most: usize) -> Result<Ended, Error> {
        let child = self.clone();
        let made = tied::make(move || child.run()).await;
        let (started, _tie) = made.map_err(Error::Start)?;
        let Started {
            mut running,
            out,
            errors,
        } = started;
        let mut ended = std::pin::pin!(running.ended());
        let mut out = Stream::of(out).map_err(Error::Read)?;
        let mut errors = Stream::of(errors).map_err(Error::Read)?;
        let mut exit = None;
        while exit.is_none() || out.open() || errors.open() {
            tokio::select! {
                ended = &mut ended, if exit.is_none() => exit = Some(ended),
                read = out.read(), if out.open() => {
                    read.map_err(Error::Read)?;
                    if out.text.len() > most {
                        return Err(Error::TooMuch { most });
                    }
                }
                read = errors.read(), if errors.open() => {
                    read.map_err(Error::Read)?;
                    errors.keep_last(most);
                }
                () = sleep(REST), if exit.is_some() => break,
            }
        }
        Ok(Ended {
            exit: exit.unwrap_or(Exit::Unknown),
            out: out.text,
            errors: errors.text,
        })
    }

    fn run(&self) -> io::Result<Started> {
        let (mut child, process) = tree::start(self.whole, || {
            let mut command = self.command(true)?;
            let mut child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let process = super::hold(&mut child)?;
            Ok((child, process))
        })?;
        Ok(Started {
            running: Running {
                process: Some(process),
                whole: self.whole,
            },
            out: child.stdout.take().map(OwnedFd::from),
            errors: child.stderr.take().map(OwnedFd::from),
        })
    }
}

/// A child, and the pipes from its output.
struct Started {
    running: Running,
    out: Option<OwnedFd>,
    errors: Option<OwnedFd>,
}

/// A pipe and what came out of it.
struct Stream {
    pipe: Option<Receiver>,
    text: Vec<u8>,
}

impl Stream {
    fn of(fd: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            pipe: fd.map(Receiver::from_owned_fd).transpose()?,
            text: Vec::new(),
        })
    }

    fn open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads one piece more, or the end. Dropped while it waits, it has read nothing.
    async fn read(&mut self) -> io::Result<()> {
        if let Some(pipe) = &mut self.pipe
            && piece(pipe, &mut self.text).await? == 0
        {
            self.pipe = None;
        }
        Ok(())
    }

    fn keep_last(&mut self, most: usize) {
        if self.text.len() > 2 * most {
            self.text.drain(..self.text.len() - most);
        }
    }
}

async fn piece(pipe: &mut (impl AsyncRead + Unpin), text: &mut Vec<u8>) -> io::Result<usize> {
    text.reserve(PIECE);
    pipe.read_buf(text).await
}

/// A child that leads its own session, until it has been waited for.
struct Running {
    process: Option<Process>,
    /// Is it ended with everything it started?
    whole: bool,
}

impl Running {
    /// Its process number, which is also that of its group, stays taken until the group is killed.
    async fn ended(&mut self) -> Exit {
        let Some(process) = self.process.clone() else {
            return Exit::Unknown;
        };
        process.over().await;
        kill(&process);
        let exit = process.ended().await;
        self.process = None;
        if self.whole {
            tree::sweep().await;
        }
        exit
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        kill(&process);
        let whole = self.whole;
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                process.ended().await;
                if whole {
                    tree::sweep().await;
                }
            });
        }
    }
}

fn kill(leader: &Process) {
    if let Err(error) = killpg(Number::from_raw(leader.pid.0), Signal::SIGKILL) {
        tracing::debug!(leader = leader.pid.0, %error, "a process group had ended");
    }
}
