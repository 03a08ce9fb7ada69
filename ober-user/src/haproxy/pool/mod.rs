//! All workers of a node.
//!
//! `slot` brings a running worker to another configuration; `preview` finds out how that would be done and never
//! changes a worker.

pub(crate) mod preview;
pub(crate) mod slot;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use self::slot::{Applied, Parting, Slot};
use super::{
    Error, Listening, Snapshot, WorkerEvent,
    prepare::prepare,
    sockets::{Key, Set, complete, given, kept_name, keys},
    worker::{
        self, Event, Pid, Policy,
        adopt::{Adopted, adopt, strays},
        process::{Launch, Process},
        world::{Answer, Handle, LaunchOrder, Note},
    },
};
use crate::{
    backends::server::Servers,
    certificates::copies,
    config::{Config, paths::Files},
    system::{file::directory, manager::Manager},
};

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
    manager: Manager,
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
        let snapshots = self
            .slots
            .iter()
            .map(|(active, slot)| (*active, slot.borrow().clone()));
        snapshots
            .filter(|(active, snapshot)| *active || !snapshot.finishing.is_empty())
            .map(|(_, it)| it)
            .collect()
    }

    /// The loopback addresses of their sockets.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().copied()
    }
}

impl Pool {
    /// Takes over the running workers and starts the others. Does not wait for them: see [`Pool::ready`]. After an
    /// error nothing has changed and running workers go on. Sockets that no worker has come from the manager, if it kept
    /// them.
    pub async fn start(
        config: &Config,
        servers: &Servers,
        ring: mpsc::UnboundedSender<WorkerEvent>,
        manager: &Manager,
    ) -> Result<Self, Error> {
        let run = config.node.run.clone();
        directory::make(&run).map_err(|source| Error::Write {
            path: run.clone(),
            source,
        })?;
        let found: Vec<_> = (0..config.workers.cpus.len())
            .map(|worker| adopt(&Files::new(&run, worker)))
            .collect();
        let wanted = keys(config);
        let have = found.iter().enumerate().map(|(worker, adopted)| {
            let mut have = given(&wanted, worker, &manager.kept);
            have.extend(adopted.iter().flat_map(|it| it.sockets.iter().cloned()));
            have
        });
        let sets = complete_all(&wanted, have)?;
        let orders = prepare(config, servers, &sets).await?;
        let mut pool = Self {
            strays: strays(&run, &accounted(&found)),
            run,
            ring,
            slots: Vec::new(),
            workers: Arc::default(),
            manager: manager.clone(),
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
        let slots = self
            .slots
            .iter()
            .map(|slot| (slot.active, slot.handle.watch()));
        let sockets = self.sockets();
        self.workers = Arc::new(Workers {
            slots: slots.collect(),
            sockets: sockets
                .iter()
                .filter_map(|socket| socket.address().ok())
                .collect(),
        });
    }

    /// Has the manager keep the sockets of the workers, and no others.
    pub fn keep_sockets(&self) {
        let sockets = self.slots.iter().enumerate().flat_map(|(worker, slot)| {
            let named = slot.sockets.iter();
            named.map(move |(key, fd)| (kept_name(worker, key), fd))
        });
        self.manager.kept.keep(&sockets.collect());
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
        self.keep_sockets();
        Ok(report)
    }

    /// Replaces every worker by another process of the same configuration, one at a time. After the first that fails no other
    /// is touched.
    pub async fn renew(&mut self) -> Report {
        let mut report = Report::default();
        for slot in self.active() {
            if !report.failed.is_empty() {
                report.unchanged.push(slot.worker);
                continue;
            }
            let (answer, answered) = oneshot::channel();
            slot.handle.send(Note::Renew(answer));
            let answer = answered.await.unwrap_or_else(|_| {
                Err("it does not serve now, so there is nothing to replace".to_owned())
            });
            report.add(slot.worker, Applied::Replaced, answer);
        }
        report
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
        let place = self.manager.scopes.place(
            format!("ober-{}-worker-{worker}", config.node.instance),
            format!(
                "Worker {worker} of Herr Ober, instance {}",
                config.node.instance
            ),
        );
        let handle = Handle::new(files.clone(), worker, policy, self.ring.clone(), place);
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
                .map(|(process, _)| process.pid)
                .chain([adopted.process.pid])
        })
        .collect()
}

/// The order with which an adopted worker could be started again.
fn as_adopted(files: &Files, haproxy: &Path, adopted: &Adopted) -> LaunchOrder {
    LaunchOrder {
        launch: Launch {
            generation: adopted.generation,
            haproxy: haproxy.to_owned(),
            file: files.config(adopted.generation.0),
            cpu: adopted.cpu,
            sockets: adopted.sockets.iter().map(|(_, fd)| fd.clone()).collect(),
        },
        keys: adopted.sockets.iter().map(|(key, _)| key.clone()).collect(),
    }
}
