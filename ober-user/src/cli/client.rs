//! Talks to the daemon over its socket. `Instance` alone decides when the pinned maps are asked in its place.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::UnixStream,
    time::timeout,
};

use super::Error as CommandError;
use crate::{
    api::{Answer, Question, Reply, Stream},
    config::{Location, paths},
    system::privilege,
};

/// A daemon that runs accepts at once; one that is stopped (SIGSTOP) leaves callers in the queue of its socket.
const CONNECT: Duration = Duration::from_secs(2);
/// The limit for answers that cost the daemon no work. A sync or a reload has no limit.
const QUICK: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the daemon of instance {instance} is not running: nothing answers on {socket}; start it with \
         `ober-user start`, or `ober-user run` without systemd"
    )]
    NotRunning { instance: String, socket: PathBuf },
    #[error(
        "instance {instance} is not here: no daemon answers on {socket} and nothing is pinned in {pins}; start it with \
         `ober-user start`, or `ober-user run` without systemd"
    )]
    Absent {
        instance: String,
        socket: PathBuf,
        pins: PathBuf,
    },
    #[error(
        "connect to the daemon on {socket}: permission denied; only root may talk to it: try sudo"
    )]
    Denied { socket: PathBuf },
    #[error("connect to the daemon on {socket}: {source}")]
    Connect { socket: PathBuf, source: io::Error },
    #[error(
        "ask the daemon on {socket}: no answer within {}s; is it stopped? see its log", .patience.as_secs()
    )]
    Silent { socket: PathBuf, patience: Duration },
    #[error("ask the daemon on {socket}: {source}")]
    Talk { socket: PathBuf, source: io::Error },
    #[error("ask the daemon on {socket}: it hung up; see its log")]
    HungUp { socket: PathBuf },
    #[error(
        "ask the daemon on {socket}: its answer makes no sense here ({source}); do command and daemon have one version?"
    )]
    Garbled {
        socket: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "ask the daemon: it answered another question than the one asked; do command and daemon have one version?"
    )]
    Astray,
}

/// Asks what only a daemon can answer.
pub(super) async fn ask_at(at: &Location, request: Question) -> Result<Reply, CommandError> {
    let mut line = reached(&at.instance, &paths::control_socket(&at.run)).await?;
    let answer = line.exchange(&request).await?;
    answer.map_err(CommandError::failed)
}

async fn reached(instance: &str, socket: &Path) -> Result<Line, Error> {
    let line = connect(socket).await?;
    line.ok_or_else(|| Error::NotRunning {
        instance: instance.to_owned(),
        socket: socket.to_owned(),
    })
}

/// An open connection to the daemon.
pub struct Line {
    socket: PathBuf,
    stream: Lines<BufReader<UnixStream>>,
}

/// Connects to the daemon; `None`: no daemon runs.
pub async fn connect(socket: &Path) -> Result<Option<Line>, Error> {
    let attempt = timeout(CONNECT, UnixStream::connect(socket)).await;
    let stream = match attempt {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return no_line(socket, source),
        Err(_) => {
            return Err(Error::Silent {
                socket: socket.into(),
                patience: CONNECT,
            });
        }
    };
    Ok(Some(Line {
        socket: socket.into(),
        stream: BufReader::new(stream).lines(),
    }))
}

fn no_line(socket: &Path, source: io::Error) -> Result<Option<Line>, Error> {
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
        io::ErrorKind::PermissionDenied => Err(Error::Denied { socket }),
        _ => Err(Error::Connect { socket, source }),
    }
}

impl Line {
    /// One request, one answer.
    pub async fn exchange(&mut self, request: &Question) -> Result<Answer, Error> {
        let slow = matches!(
            request,
            Question::Sync(_)
                | Question::Reload
                | Question::RestartWorkers
                | Question::Plan { .. }
                | Question::Apply { .. }
        );
        self.send(request).await?;
        if slow {
            return self.next().await;
        }
        self.quick().await
    }

    /// The next answer, which costs the daemon no work.
    async fn quick(&mut self) -> Result<Answer, Error> {
        match timeout(QUICK, self.next()).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Silent {
                socket: self.socket.clone(),
                patience: QUICK,
            }),
        }
    }

    /// Begins what lasts until this connection ends; the first answer.
    pub(super) async fn begin(&mut self, stream: &Stream) -> Result<Answer, Error> {
        self.send(stream).await?;
        self.quick().await
    }

    /// The process that listens, as the kernel knows it.
    pub(super) fn pid(&mut self) -> Option<i32> {
        let stream = self.stream.get_mut().get_ref();
        stream.peer_cred().ok()?.pid()
    }

    /// Waits until the daemon ends what [`Line::begin`] began; returns why.
    pub(super) async fn ended(&mut self) -> Error {
        loop {
            if let Err(why) = self.next().await {
                return why;
            }
        }
    }

    pub async fn send(&mut self, request: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_vec(request).map_err(|source| self.garbled(source))?;
        text.push(b'\n');
        let stream = self.stream.get_mut().get_mut();
        let sent = stream.write_all(&text).await;
        sent.map_err(|source| self.talk(source))
    }

    pub async fn next(&mut self) -> Result<Answer, Error> {
        let line = self
            .stream
            .next_line()
            .await
            .map_err(|source| self.talk(source))?
            .ok_or_else(|| Error::HungUp {
                socket: self.socket.clone(),
            })?;
        serde_json::from_str(&line).map_err(|source| self.garbled(source))
    }

    fn talk(&self, source: io::Error) -> Error {
        Error::Talk {
            socket: self.socket.clone(),
            source,
        }
    }

    fn garbled(&self, source: serde_json::Error) -> Error {
        Error::Garbled {
            socket: self.socket.clone(),
            source,
        }
    }
}

/// May this process use the maps itself, now that no daemon answers?
pub(super) fn may_use_maps() -> Result<(), CommandError> {
    Ok(privilege::require(&privilege::MAPS)?)
}
