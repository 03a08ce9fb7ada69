//! Brings a running worker to another configuration by its command socket, and keeps the servers that finish in it.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    config::paths::Files,
    haproxy::{
        Pool, Stage,
        live::{
            Command, Comparison, Key, Leaving, Server, Text, Verb, compare, deviations, left,
            observe,
        },
        runtime_api,
        sockets::Set,
        worker::{
            Event, Pid,
            world::{Answer, Handle, LaunchOrder, Note},
        },
    },
    machine::drive::now,
    system::file,
};

/// The servers that are finishing in a process, each with the time since when.
#[derive(Debug, Default)]
pub(crate) struct Parting {
    /// The process they are in. Another process does not have them.
    pid: Option<i32>,
    servers: BTreeMap<Key, Gone>,
}

#[derive(Debug)]
struct Gone {
    since: Instant,
    /// The server as it was; `None`: it is not in the worker's configuration.
    server: Option<Server>,
}

/// How a worker got a configuration.
pub(crate) enum Applied {
    /// The worker had it already.
    Unchanged,
    ChangedLive,
    Replaced,
}

/// Why HAProxy did not do a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("`{command}` was answered by {answer:?}")]
    Refused { command: String, answer: String },
    #[error("`{command}` had no answer: {source}")]
    Silent { command: String, source: io::Error },
}

/// One worker, or one that only finishes.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) worker: usize,
    pub(super) files: Files,
    pub(super) handle: Handle,
    pub(super) parting: Parting,
    pub(super) sockets: Set,
    /// False when there are fewer workers now and this one only finishes.
    pub(super) active: bool,
}

impl Slot {
    fn want(&self, order: LaunchOrder) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        self.handle.send(Note::Want(order, answer));
        answered
    }

    pub(super) fn took(&mut self, sockets: Set) {
        self.sockets = sockets;
        self.active = true;
    }
}

impl Slot {
    /// How the running process gets to a configuration. The comparison of thousands of servers takes time and has a
    /// thread of its own.
    pub(crate) async fn change(&self, wanted: &str, order: &LaunchOrder) -> Comparison {
        let snapshot = self.handle.snapshot();
        let generation = match (self.active, snapshot.stage, snapshot.generation) {
            (true, Stage::Running, Some(generation)) => generation,
            (true, Stage::Running | Stage::Starting | Stage::Replacing | Stage::Backoff, _) => {
                return Comparison::Replace("it does not run steadily".to_owned());
            }
            (false, _, _) | (true, Stage::Stopped, _) => {
                return Comparison::Replace("there is no such worker yet".to_owned());
            }
        };
        if generation == order.launch.generation {
            return Comparison::Unchanged;
        }
        let (file, wanted) = (self.files.config(generation.0), wanted.to_owned());
        let leaving = self.parting.leaving(snapshot.pid);
        let compared =
            tokio::task::spawn_blocking(move || match file::text(&file, file::Kind::Own) {
                Ok(has) => compare(&has, &wanted, &leaving),
                Err(error) => {
                    Comparison::Replace(format!("what it was started with cannot be read: {error}"))
                }
            });
        compared
            .await
            .unwrap_or_else(|ended| Comparison::Replace(format!("it was not compared: {ended}")))
    }

    /// Brings the worker to the order's configuration: by commands where HAProxy allows it, otherwise by another
    /// process. A worker that took only a part of the commands is replaced.
    pub(crate) async fn bring_to(
        &mut self,
        order: LaunchOrder,
    ) -> (Applied, oneshot::Receiver<Answer>) {
        let change = match file::text(&order.launch.file, file::Kind::Own) {
            Ok(wanted) => self.change(&wanted, &order).await,
            Err(error) => Comparison::Replace(format!("its configuration cannot be read: {error}")),
        };
        let commands = match change {
            Comparison::Unchanged => return (Applied::Unchanged, self.want(order)),
            Comparison::Live(commands) => commands,
            Comparison::Replace(why) => {
                tracing::info!(worker = self.worker, why, "the worker is replaced");
                return (Applied::Replaced, self.want(order));
            }
        };
        let Some(pid) = self.handle.snapshot().pid else {
            return (Applied::Replaced, self.want(order));
        };
        match self.tell(pid, &commands).await {
            Ok(()) => {
                let (answer, answered) = oneshot::channel();
                self.handle.send(Note::ChangedLive(order, Pid(pid), answer));
                (Applied::ChangedLive, answered)
            }
            Err(refusal) => {
                tracing::warn!(worker = self.worker, %refusal, "the worker refuses a change and is replaced");
                (Applied::Replaced, self.want(order))
            }
        }
    }

    /// Does the commands, and remembers the servers that leave by them.
    pub(crate) async fn tell(&mut self, pid: i32, commands: &[Command]) -> Result<(), Refusal> {
        self.parting.of(pid);
        let socket = self.files.cli();
        let leave = commands.iter().any(|command| command.verb == Verb::Leave);
        let mut known = if leave {
            self.servers()
        } else {
            Leaving::new()
        };
        for command in commands {
            do_in_place(&socket, command).await?;
            let key = &command.key;
            match command.verb {
                Verb::Leave => self.parting.leaves(key, known.remove(key)),
                Verb::Ready | Verb::Maintain => drop(self.parting.servers.remove(key)),
                Verb::Add(..)
                | Verb::Check
                | Verb::Delete
                | Verb::Cut
                | Verb::Address(..)
                | Verb::Weight(_)
                | Verb::WholeWeight
                | Verb::Connections(_) => {}
            }
        }
        Ok(())
    }

    /// Deletes the servers whose connections have finished, and ends the connections of those whose time is over.
    async fn sweep(&mut self, patience: Duration) {
        let Some(pid) = self.handle.snapshot().pid else {
            return;
        };
        self.parting.of(pid);
        let socket = self.files.cli();
        let mut finished = Vec::new();
        for (key, gone) in &self.parting.servers {
            // Another program may have made the server ready meanwhile; it must leave all the same.
            let mut verbs = vec![Verb::Maintain];
            if now().saturating_duration_since(gone.since) >= patience {
                tracing::warn!(worker = self.worker, server = %key, "its time to finish connections is over");
                verbs.push(Verb::Cut);
            }
            for verb in verbs {
                let command = Command {
                    key: key.clone(),
                    verb,
                };
                if let Err(refusal) = do_command(&socket, &command).await {
                    tracing::debug!(worker = self.worker, %refusal, "a server that leaves");
                }
            }
            let delete = Command {
                key: key.clone(),
                verb: Verb::Delete,
            };
            match do_command(&socket, &delete).await {
                Ok(()) => finished.push(key.clone()),
                Err(Refusal::Refused { answer, .. }) if answer.contains("No such server") => {
                    finished.push(key.clone());
                }
                // There are connections to it.
                Err(_) => {}
            }
        }
        for key in finished {
            tracing::debug!(worker = self.worker, server = %key, "a server has left");
            self.parting.servers.remove(&key);
        }
    }

    /// The servers in the configuration of the running process.
    fn servers(&self) -> Leaving {
        let generation = self.handle.snapshot().generation;
        let text = generation.and_then(|generation| {
            file::text(&self.files.config(generation.0), file::Kind::Own).ok()
        });
        let text = Text::read(text.as_deref().unwrap_or_default());
        let servers = text.servers().into_iter();
        servers
            .map(|(key, (_, server))| (key, server.clone()))
            .collect()
    }
}

impl Slot {
    /// Undoes a change that failed after some of its commands.
    pub(crate) async fn as_before(&mut self) {
        let worker = self.worker;
        match self.reconcile().await {
            Ok(undone) if undone.is_empty() => {}
            Ok(undone) => tracing::warn!(worker, ?undone, "a failed change was undone"),
            Err(error) => tracing::error!(worker, %error, "undo a failed change of the worker"),
        }
    }

    /// Corrects what another program changed in the worker.
    async fn reconcile(&mut self) -> Result<Vec<ReconciledServer>, ReconcileError> {
        let snapshot = self.handle.snapshot();
        let (Stage::Running, Some(pid), Some(generation)) =
            (snapshot.stage, snapshot.pid, snapshot.generation)
        else {
            return Ok(Vec::new());
        };
        let worker = self.worker;
        let read = |source| ReconcileError::Asked { worker, source };
        let text = file::text(&self.files.config(generation.0), file::Kind::Own).map_err(read)?;
        let socket = self.files.cli();
        let states = runtime_api::ask(&socket, "show servers state")
            .await
            .map_err(read)?;
        let stat = runtime_api::ask(&socket, "show stat -1 4 -1")
            .await
            .map_err(read)?;
        let observed = observe(&states, &stat)
            .ok_or_else(|| read(io::Error::from(io::ErrorKind::InvalidData)))?;
        self.parting.of(pid);
        let text = Text::read(&text);
        for key in left(&text, &observed) {
            self.parting.leaves(&key, None);
        }
        let findings = deviations(&text, &observed, |key| {
            self.parting.servers.contains_key(key)
        });
        let mut reconciled = Vec::new();
        for finding in findings {
            let taken = self.tell(pid, &finding.commands).await;
            let renew = finding.commands.is_empty() || taken.is_err();
            if let Err(refusal) = taken {
                tracing::warn!(worker, %refusal, "the worker refuses a correction and is replaced");
            }
            reconciled.push(ReconciledServer {
                server: format!("{} in worker {worker}", finding.key),
                found: finding.found,
                set: finding.set,
            });
            if renew {
                self.handle.send(Note::Happened(Event::Renew));
                break;
            }
        }
        Ok(reconciled)
    }
}

/// A server that another program changed in a worker, and that was corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconciledServer {
    /// The server's name, with its worker.
    pub server: String,
    pub found: String,
    pub set: String,
}

/// Why a worker could not be compared with its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("compare worker {worker} with its configuration: {source}")]
    Asked { worker: usize, source: io::Error },
}

impl Parting {
    /// Forgets the servers of another process.
    fn of(&mut self, pid: i32) {
        if self.pid.replace(pid) != Some(pid) {
            self.servers.clear();
        }
    }

    pub(in crate::haproxy) fn leaves(&mut self, key: &Key, server: Option<Server>) {
        let since = now();
        let gone = || Gone { since, server };
        self.servers.entry(key.clone()).or_insert_with(gone);
    }

    /// The leaving servers whose lines are known.
    fn leaving(&self, pid: Option<i32>) -> Leaving {
        let servers = self.servers.iter().filter(|_| self.pid == pid);
        servers
            .filter_map(|(key, gone)| Some((key.clone(), gone.server.clone()?)))
            .collect()
    }
}

impl Pool {
    /// Compares every running worker with its configuration, and corrects the differences.
    pub async fn reconcile(&mut self) -> Vec<Result<ReconciledServer, ReconcileError>> {
        let mut all = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.active) {
            match slot.reconcile().await {
                Ok(reconciled) => all.extend(reconciled.into_iter().map(Ok)),
                Err(error) => all.push(Err(error)),
            }
        }
        all
    }

    /// Deletes servers that left from the workers when no client is connected to them; after `patience` their
    /// connections are ended, as those of a replaced worker are.
    pub async fn sweep(&mut self, patience: Duration) {
        for slot in self
            .slots
            .iter_mut()
            .filter(|slot| !slot.parting.servers.is_empty())
        {
            slot.sweep(patience).await;
        }
    }
}

/// Does a command. A server to be added may still be there, finishing by the command of an earlier daemon, of which
/// there is no record: then it is deleted first. HAProxy refuses to delete a server that serves or has connections.
async fn do_in_place(socket: &Path, command: &Command) -> Result<(), Refusal> {
    let refusal = match (do_command(socket, command).await, &command.verb) {
        (Err(refusal @ Refusal::Refused { .. }), Verb::Add(..)) => refusal,
        (done, _) => return done,
    };
    let delete = Command {
        key: command.key.clone(),
        verb: Verb::Delete,
    };
    match do_command(socket, &delete).await {
        Ok(()) => do_command(socket, command).await,
        Err(_) => Err(refusal),
    }
}

async fn do_command(socket: &Path, command: &Command) -> Result<(), Refusal> {
    let asked = command.to_string();
    match runtime_api::ask(socket, &asked).await {
        Ok(answer) if command.done(&answer) => Ok(()),
        Ok(answer) => Err(Refusal::Refused {
            command: asked,
            answer: answer.trim().to_owned(),
        }),
        Err(source) => Err(Refusal::Silent {
            command: asked,
            source,
        }),
    }
}
