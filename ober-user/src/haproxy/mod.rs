//! The HAProxy workers: independent processes on sockets that the daemon owns.
//!
//! ```text
//! Config + servers -> render/ -> prepare (haproxy -c) -> Pool -> worker/world (one task a worker) -> worker/ (machine)
//!                     sockets ---------------------------^        |        pidfd: end seen at once
//!                     worker/adopt: record beside each worker ----+        runtime_api: ready or not
//! live/, pool/slot       servers changed in a running worker       pool/preview   what a reload would do to each
//! certificates, health   certificates and verdicts, by the command socket
//! version, outdated, limits, validate   which HAProxy is installed and running, open files, `validate`
//! ```
//! A worker outlives the daemon. The daemon must hold its instance's lock before it makes a [`Pool`]: each of two pools
//! on one run directory would take the other's workers for strays.
//!
//! It never binds a VIP, and never changes the kernel's maps: the daemon puts the sockets and rings there.

use std::{
    collections::BTreeSet,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

pub mod certificates;
pub mod health;
mod limits;
mod live;
mod outdated;
pub mod pool;
mod prepare;
pub mod render;
mod runtime_api;
pub mod sockets;
mod validate;
pub mod version;
pub mod worker;

pub use self::worker::snapshot::{Snapshot, Stage};
pub use self::{
    limits::{allow, files},
    pool::preview::Preview,
    runtime_api::{BUFFER, ask, who},
};
pub(crate) use outdated::outdated;
pub use sockets::{Family, Listening};
pub use validate::validate;
pub use worker::Exit;

use self::{
    pool::slot::{Applied, Parting},
    prepare::prepare,
    sockets::{Key, Set, complete, keys},
    worker::{
        Event, Pid, Policy,
        adopt::{Adopted, adopt, strays},
        process::Process,
        world::{Answer, Handle, LaunchOrder, Note},
    },
};
use crate::{
    backends::server::Servers,
    certificates::copies,
    config::{Config, paths::Files},
    system::{
        file::{self, directory},
        store::{Kind, Pending},
    },
};

/// A worker may get connections, or no longer. Sent as soon as the slot knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerEvent {
    pub worker: usize,
    pub in_ring: bool,
}

/// What a reload did, by worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub replaced: Vec<usize>,
    /// They took the change without a restart.
    pub changed_live: Vec<usize>,
    /// They had this configuration already.
    pub unchanged: Vec<usize>,
    /// The old process, if there is one, goes on serving.
    pub failed: Vec<(usize, String)>,
    /// Finishing, because there are fewer workers now.
    pub stopped: Vec<usize>,
}

/// Why workers could not be started or reloaded. Workers that served before go on serving.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Render(#[from] render::Error),
    #[error(transparent)]
    Certificates(#[from] crate::certificates::copies::Error),
    #[error("read the certificates: {0}; nothing was changed")]
    Unread(io::Error),
    #[error(transparent)]
    Account(#[from] crate::certificates::acme::AccountError),
    #[error(
        "run HAProxy: there is no {}; `apt-get install haproxy`, or name another in `workers.haproxy`",
        haproxy.display()
    )]
    Missing { haproxy: PathBuf },
    #[error("{} is no HAProxy: name another in `workers.haproxy`", haproxy.display())]
    NoHaproxy { haproxy: PathBuf },
    #[error(
        "{key} needs HAProxy {needed}, and {} is older; install that or remove the key",
        haproxy.display()
    )]
    TooOld {
        haproxy: PathBuf,
        key: String,
        needed: &'static str,
    },
    #[error(
        "{key} needs HAProxy built with {feature}, and {} is not; install one that is (Debian's is) or remove the key",
        haproxy.display()
    )]
    NotBuilt {
        haproxy: PathBuf,
        key: String,
        feature: &'static str,
    },
    #[error("write the configuration of the workers: {source}")]
    Ended { source: tokio::task::JoinError },
    #[error("run {} to check the configuration: {source}", haproxy.display())]
    Check { haproxy: PathBuf, source: io::Error },
    #[error(
        "HAProxy refuses the configuration made for it, and nothing was changed; it is kept in {} and HAProxy \
         says:\n{words}",
        file.display()
    )]
    Refused { file: PathBuf, words: String },
    #[error("HAProxy refuses the text made from this configuration, and says:\n{words}")]
    RefusedText { words: String },
    #[error(
        "open the listening sockets of worker {worker}: {source}; each worker needs one a port and address family: \
         raise LimitNOFILE of the service if there are too many files open"
    )]
    Sockets { worker: usize, source: io::Error },
    #[error("write {}: {source}; HAProxy's files need a directory that root can write and space in it", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "worker {worker} does not start with the new configuration, and nothing was changed: {why}"
    )]
    NotServing { worker: usize, why: String },
}

impl Error {
    /// The error when a program could not be run.
    fn not_run(haproxy: &Path, source: io::Error) -> Self {
        let haproxy = haproxy.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { haproxy },
            _ => Self::Check { haproxy, source },
        }
    }
}

/// The command socket of a worker, for [`ask`].
pub fn command_socket(run: &Path, worker: usize) -> PathBuf {
    Files::new(run, worker).cli()
}

/// Is there a worker of this run directory, or a record of one?
pub fn known(run: &Path) -> bool {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_record = |name: String| {
        let middle = name.strip_prefix("worker-");
        middle.is_some_and(|rest| rest.strip_suffix(".json").is_some())
    };
    names.any(is_record) || !worker::adopt::running(run).is_empty()
}

/// Ends every worker of a run directory that no daemon watches: each may finish its connections for `drain`, then it is
/// killed. Returns how many there were. Removes their records, sockets, configurations and certificates too.
pub async fn dismiss(run: &Path, drain: Duration) -> usize {
    let workers = worker::adopt::running(run);
    for (worker, process) in &workers {
        if let Err(error) = process.signal(Signal::SIGUSR1) {
            tracing::warn!(worker, pid = process.pid.0, %error, "tell a worker to finish");
        }
    }
    let all = futures_util::future::join_all(workers.iter().map(|(_, process)| process.ended()));
    if timeout(drain, all).await.is_err() {
        for (worker, process) in worker::adopt::running(run) {
            tracing::warn!(worker, pid = process.pid.0, "its time to finish is over");
            if let Err(error) = process.signal(Signal::SIGKILL) {
                tracing::warn!(worker, pid = process.pid.0, %error, "end a worker");
            }
        }
    }
    copies::clear(run);
    forget(run);
    workers.len()
}

/// Removes the files of workers that have ended.
fn forget(run: &Path) {
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kept = [".json", ".cfg", ".sock"];
        if !name.starts_with("worker-") || !kept.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::debug!(%name, %error, "remove what was kept of a worker");
        }
    }
}

/// All workers of this instance. When the pool is dropped, the workers go on running, as after a crash of the daemon;
/// [`Pool::leave`] also waits for the slots, whose records are up to date then.
#[derive(Debug)]
pub struct Pool {
    run: PathBuf,
    ring: mpsc::UnboundedSender<WorkerEvent>,
    slots: Vec<Slot>,
    /// Running workers of this run directory that are in no record.
    strays: Vec<(usize, Process)>,
    workers: Arc<Workers>,
}

/// The workers for readers that do not change them.
#[derive(Debug, Default)]
pub struct Workers {
    slots: Vec<(bool, watch::Receiver<Snapshot>)>,
    sockets: BTreeSet<SocketAddr>,
}

impl Workers {
    /// The present state of every slot; those that only finish come last.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let snapshots = self.slots.iter();
        let snapshots = snapshots.map(|(active, slot)| (*active, slot.borrow().clone()));
        snapshots
            .filter(|(active, snapshot)| *active || !snapshot.draining.is_empty())
            .map(|(_, it)| it)
            .collect()
    }

    /// The loopback addresses of their sockets.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().copied()
    }
}

#[derive(Debug)]
struct Slot {
    worker: usize,
    files: Files,
    handle: Handle,
    parting: Parting,
    sockets: Set,
    /// False when there are fewer workers now and this one only finishes.
    active: bool,
}

impl Pool {
    /// Takes over the running workers and starts the others. Does not wait for them: see [`Pool::ready`]. After an
    /// error nothing has changed and running workers go on.
    pub async fn start(
        config: &Config,
        servers: &Servers,
        ring: mpsc::UnboundedSender<WorkerEvent>,
    ) -> Result<Self, Error> {
        let run = config.node.run.clone();
        directory::make(&run).map_err(|source| Error::Write {
            path: run.clone(),
            source,
        })?;
        let found: Vec<_> = (0..config.workers.cpus.len())
            .map(|worker| adopt(&Files::new(&run, worker)))
            .collect();
        let have = found.iter().map(|adopted| match adopted {
            Some(adopted) => adopted.sockets.iter().cloned().collect(),
            None => Set::new(),
        });
        let sets = complete_all(&keys(config), have)?;
        let orders = prepare(config, servers, &sets).await?;
        let mut pool = Self {
            strays: strays(&run, &accounted(&found)),
            run,
            ring,
            slots: Vec::new(),
            workers: Arc::default(),
        };
        for ((adopted, set), order) in found.into_iter().zip(sets).zip(orders) {
            let mut slot = pool.slot(config, set);
            if let Some(adopted) = adopted {
                let earlier = as_adopted(&slot.files, &config.workers.haproxy, &adopted);
                slot.handle.send(Note::Adopt(adopted, earlier));
                // Then the configuration it runs with is known, and it can be changed by commands.
                slot.handle.in_ring().await;
            }
            // The answer is not awaited; the slot goes on trying.
            slot.bring_to(order).await;
            pool.slots.push(slot);
        }
        pool.show();
        Ok(pool)
    }

    /// The workers for readers that do not change them.
    pub fn workers(&self) -> Arc<Workers> {
        Arc::clone(&self.workers)
    }

    /// Publishes the slots and sockets. To be called when they have changed.
    fn show(&mut self) {
        let slots = self.slots.iter();
        let slots = slots.map(|slot| (slot.active, slot.handle.watch()));
        let sockets = self.sockets();
        self.workers = Arc::new(Workers {
            slots: slots.collect(),
            sockets: sockets
                .iter()
                .filter_map(|socket| socket.address().ok())
                .collect(),
        });
    }

    /// Tells the processes without a record to finish. They may have served until now: call it when the workers of the
    /// pool serve.
    pub fn retire_strays(&mut self) {
        self.strays.drain(..).for_each(worker::adopt::retire);
    }

    /// Waits until every worker is in the ring, at most `patience`; returns how many are.
    pub async fn ready(&self, patience: Duration) -> usize {
        let all = async {
            for slot in self.active() {
                slot.handle.in_ring().await;
            }
        };
        // After a timeout, the number below shows that some are missing.
        timeout(patience, all).await.unwrap_or_default();
        self.active()
            .filter(|slot| slot.handle.snapshot().in_ring)
            .count()
    }

    /// The sockets for the SOCKMAP. They change only with [`Pool::reload`].
    pub fn sockets(&self) -> Vec<Listening> {
        let active = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.active);
        active
            .flat_map(|(worker, slot)| {
                slot.sockets
                    .iter()
                    .map(move |(key, fd)| Listening::new(worker, key, fd))
            })
            .collect()
    }

    /// The present state of every slot; those that only finish come last.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        self.workers.snapshot()
    }

    /// Changes every worker by commands, or replaces it on the same sockets where commands cannot do it. One worker
    /// goes first; if it fails, the others are not touched. The caller removes services that go from the kernel's maps
    /// before this, and adds new ones after it.
    pub async fn reload(&mut self, config: &Config, servers: &Servers) -> Result<Report, Error> {
        let wanted = keys(config);
        let count = config.workers.cpus.len();
        let have = (0..count).map(|worker| {
            self.slots
                .get(worker)
                .map(|slot| slot.sockets.clone())
                .unwrap_or_default()
        });
        let sets = complete_all(&wanted, have)?;
        let orders = prepare(config, servers, &sets).await?;
        while self.slots.len() < count {
            let slot = self.slot(config, Set::new());
            self.slots.push(slot);
        }
        self.show();
        let mut report = Report::default();
        let mut waiting = Vec::new();
        let policy = Policy::of(&config.workers);
        for (worker, (slot, (set, order))) in self
            .slots
            .iter_mut()
            .zip(sets.into_iter().zip(orders))
            .enumerate()
        {
            slot.handle.send(Note::Happened(Event::Configure(policy)));
            let (way, answer) = slot.bring_to(order).await;
            if worker == 0 {
                if let Err(why) = served(answer).await {
                    slot.as_before().await;
                    return Err(Error::NotServing { worker, why });
                }
                slot.took(set);
                report.add(worker, way, Ok(()));
            } else {
                waiting.push((worker, way, set, answer));
            }
        }
        for (worker, way, set, answer) in waiting {
            let answer = served(answer).await;
            match (&answer, self.slots.get_mut(worker)) {
                (Ok(()), Some(slot)) => slot.took(set),
                (Err(_), Some(slot)) => slot.as_before().await,
                (_, None) => {}
            }
            report.add(worker, way, answer);
        }
        report.stopped = self.shrink(count, config.workers.drain);
        self.show();
        Ok(report)
    }

    /// Ends the pool and leaves the workers serving; the next [`Pool::start`] takes them over.
    pub async fn leave(self) {
        self.end(|| Note::Leave).await;
    }

    /// Stops all workers, which may finish their connections for `drain`. No VIP may lead here any more.
    pub async fn stop_all(self, drain: Duration) {
        self.end(|| Note::Stop(Event::Stop { drain })).await;
        copies::clear(&self.run);
    }

    async fn end(&self, note: impl Fn() -> Note) {
        for slot in &self.slots {
            slot.handle.send(note());
        }
        for slot in &self.slots {
            slot.handle.ended().await;
        }
    }

    fn active(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.active)
    }

    fn slot(&self, config: &Config, sockets: Set) -> Slot {
        let worker = self.slots.len();
        let (files, policy) = (Files::new(&self.run, worker), Policy::of(&config.workers));
        let handle = Handle::new(files.clone(), worker, policy, self.ring.clone());
        Slot {
            worker,
            files,
            handle,
            parting: Parting::default(),
            sockets,
            active: true,
        }
    }

    fn shrink(&mut self, count: usize, drain: Duration) -> Vec<usize> {
        let surplus = self
            .slots
            .iter_mut()
            .enumerate()
            .skip(count)
            .filter(|(_, slot)| slot.active);
        let stop = |(worker, slot): (usize, &mut Slot)| {
            slot.active = false;
            slot.sockets.clear();
            slot.handle.send(Note::Happened(Event::Stop { drain }));
            worker
        };
        surplus.map(stop).collect()
    }
}

impl Slot {
    fn want(&self, order: LaunchOrder) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        self.handle.send(Note::Want(order, answer));
        answered
    }

    fn took(&mut self, sockets: Set) {
        self.sockets = sockets;
        self.active = true;
    }
}

impl Report {
    fn add(&mut self, worker: usize, way: Applied, answer: Answer) {
        match (answer, way) {
            (Ok(()), Applied::Unchanged) => self.unchanged.push(worker),
            (Ok(()), Applied::ChangedLive) => self.changed_live.push(worker),
            (Ok(()), Applied::Replaced) => self.replaced.push(worker),
            (Err(why), _) => self.failed.push((worker, why)),
        }
    }
}

async fn served(answer: oneshot::Receiver<Answer>) -> Answer {
    answer
        .await
        .unwrap_or_else(|_| Err("another reload came in between".to_owned()))
}

fn complete_all(wanted: &[Key], have: impl Iterator<Item = Set>) -> Result<Vec<Set>, Error> {
    let complete = |(worker, have)| {
        complete(wanted, &have).map_err(|source| Error::Sockets { worker, source })
    };
    have.enumerate().map(complete).collect()
}

fn accounted(found: &[Option<Adopted>]) -> BTreeSet<Pid> {
    let adopted = found.iter().flatten();
    adopted
        .flat_map(|adopted| {
            adopted
                .leaving
                .iter()
                .map(|process| process.pid)
                .chain([adopted.process.pid])
        })
        .collect()
}

/// The order with which an adopted worker could be started again.
fn as_adopted(files: &Files, haproxy: &Path, adopted: &Adopted) -> LaunchOrder {
    LaunchOrder {
        launch: worker::process::Launch {
            generation: adopted.generation,
            haproxy: haproxy.to_owned(),
            file: files.config(adopted.generation.0),
            cpu: adopted.cpu,
            sockets: adopted.sockets.iter().map(|(_, fd)| fd.clone()).collect(),
        },
        keys: adopted.sockets.iter().map(|(key, _)| key.clone()).collect(),
    }
}

/// Writes a text to a file, whole or not at all. A file that has the text already is not written, so a full disk does
/// not matter.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    if file::read(path, file::Kind::Own).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let written = Pending::write(Kind::WorkerText, path, text.as_bytes());
    let placed = written.and_then(Pending::commit);
    placed.map_err(|error| Error::Write {
        path: path.to_owned(),
        source: error.into(),
    })
}
