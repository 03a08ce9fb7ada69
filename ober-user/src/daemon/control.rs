//! The control socket: one request a line, one answer a line.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::broadcast::error::RecvError,
    time::timeout,
};

use super::{Daemon, sync::log_changes};
use crate::{
    api::{
        Answer, Failure, Question, Reply, Sampling, Stream, Text,
        connections::{Open, Served},
        http::Source as _,
    },
    config::LONGEST_PERIOD,
    lists,
    plan::history::{Origin, Reason},
    system::memory,
};

/// A request is one line; lists of a million names are a third of this. In bytes.
const LONGEST: u64 = 64 << 20;
/// How long to wait for a request; less when more callers come than there is room for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn serve(listener: Arc<UnixListener>, daemon: Arc<Daemon>) {
    let talk = |stream, served| talk(stream, Arc::clone(&daemon), served);
    accept(&listener, talk).await;
}

/// Every connection gets a task of its own; there is a limit on their number.
pub(super) async fn accept<T>(listener: &UnixListener, talk: impl Fn(UnixStream, Served) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let mut open = Open::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => open.add(|served| talk(stream, served)).await,
            Err(error) => {
                tracing::warn!(%error, "accept a control connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn talk(stream: UnixStream, daemon: Arc<Daemon>, served: Served) {
    let caller = stream.peer_cred().map(|peer| peer.uid()).ok();
    let (read, mut write) = stream.into_split();
    if let Err(error) = Box::pin(answer_all(
        BufReader::new(read),
        &mut write,
        &daemon,
        caller,
        &served,
    ))
    .await
    {
        tracing::debug!(%error, "a connection to the control socket ended early");
    }
    memory::release();
}

async fn answer_all(
    mut requests: BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
    daemon: &Daemon,
    caller: Option<u32>,
    served: &Served,
) -> io::Result<()> {
    let mut line = String::new();
    while asked(&mut requests, &mut line).await? {
        served.set(true);
        match serde_json::from_str(&line) {
            Ok(question) => say(write, &daemon.answer(question, caller).await).await?,
            Err(error) => match serde_json::from_str(&line) {
                Ok(Stream::Watch) => return watch(write, daemon).await,
                Ok(Stream::Leave { seconds }) => {
                    let within = Duration::from_secs(seconds).min(LONGEST_PERIOD);
                    return leave(&mut requests, write, daemon, (within, caller)).await;
                }
                Err(_) => say(write, &usage(&error)).await?,
            },
        }
        line.clear();
        served.set(false);
    }
    Ok(())
}

/// Is there one more request?
pub(super) async fn asked(
    requests: &mut BufReader<OwnedReadHalf>,
    line: &mut String,
) -> io::Result<bool> {
    let mut limited = requests.take(LONGEST);
    let read = timeout(PATIENCE, limited.read_line(line)).await;
    let length = read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    if length as u64 == LONGEST {
        let words = format!("a request of more than {LONGEST} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    Ok(length > 0)
}

pub(super) async fn say(write: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

async fn watch(write: &mut OwnedWriteHalf, daemon: &Daemon) -> io::Result<()> {
    let mut drops = daemon.drops.subscribe();
    let node = &daemon.config().node;
    let sampling = Sampling {
        one_in: node.sample,
        rate: node.event_rate,
    };
    say(write, &Ok(Reply::Watching(sampling))).await?;
    loop {
        match drops.recv().await {
            Ok(event) => say(write, &Ok(Reply::Drop(event))).await?,
            // A slow reader misses events; they are samples anyway.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// The VIPs are given up for as long as the caller stays: it stops the daemon, or changes its mind.
async fn leave(
    requests: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
    daemon: &Daemon,
    (within, by): (Duration, Option<u32>),
) -> io::Result<()> {
    tracing::info!(
        by,
        seconds = within.as_secs(),
        "every VIP is given up before a stop"
    );
    let number = daemon.announcer.leave(within).await;
    let gates = daemon.announcer.gates().iter().map(Into::into).collect();
    let stayed = match say(write, &Ok(Reply::Gate(gates))).await {
        // Whatever it says: only its end counts.
        Ok(()) => tokio::io::copy_buf(requests, &mut tokio::io::sink())
            .await
            .map(drop),
        Err(error) => Err(error),
    };
    daemon.announcer.stay(number).await;
    tracing::info!(
        by,
        "the stop was given up; VIPs that are served are announced again"
    );
    stayed
}

fn usage(error: &serde_json::Error) -> Answer {
    Err(Failure {
        message: format!(
            "understand the request: {error}; are ober-user and the daemon of one version?"
        ),
        usage: true,
    })
}

impl Daemon {
    async fn answer(&self, question: Question, caller: Option<u32>) -> Answer {
        let origin = |reason, note| Origin {
            reason,
            of: None,
            by: caller,
            note,
        };
        let reply = match question {
            Question::Status => Ok(Reply::Status(Box::new(self.status().await))),
            Question::Backends => Ok(Reply::Backends(self.describe_backends())),
            Question::Counters => Ok(Reply::Counters(self.counters().await)),
            Question::Sync(sync) => {
                let done = self.sync(&sync).await;
                if let Ok(synced) = &done
                    && !sync.dry_run
                {
                    log_changes(synced, caller);
                }
                done.map(Reply::Synced)
            }
            Question::Show { list } => {
                let lists = self.access_lists.facts();
                apart(move || lists.show(list.as_deref()).map(Reply::Lists)).await
            }
            Question::Check { address } => {
                let lists = self.access_lists.facts();
                apart(move || Ok(Reply::Checked(lists.check(address)))).await
            }
            Question::Reload => {
                let origin = origin(Reason::Reload, None);
                let done = self.change(&Text::Own, None, origin).await;
                done.map(Reply::Reloaded)
            }
            Question::RestartWorkers => Ok(Reply::Restarted(self.restart_workers(caller).await)),
            Question::Plan { of } => self.plan(&of).await.map(Reply::Plan),
            Question::Apply { of, note, over } => {
                let reason = match of {
                    Text::Own | Text::File(_) => Reason::Apply,
                    Text::Snapshot(_) => Reason::Rollback,
                };
                let done = self.change(&of, over, origin(reason, note)).await;
                done.map(Reply::Reloaded)
            }
            Question::Gate { vip, order } => {
                let done = self.order(vip, order).await;
                if done.is_ok() {
                    let vip = vip.map_or_else(|| "all".to_owned(), |vip| vip.to_string());
                    tracing::info!(by = caller, vip, %order, "an order for the gates");
                }
                done.map(Reply::Gate)
            }
        };
        reply.map_err(|error| crate::api::failure(&error))
    }
}

/// Reads the kernel's lists on a blocking thread, since that may take long.
async fn apart(
    read: impl FnOnce() -> Result<Reply, lists::Error> + Send + 'static,
) -> anyhow::Result<Reply> {
    Ok(tokio::task::spawn_blocking(read).await??)
}
