//! A round of probes: every worker is asked at all doors of a VIP and for the servers behind it, all at once.

use std::{
    collections::HashMap,
    hash::Hash,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared, join_all},
};

use super::{
    Finding, Live, Trouble, backends,
    plan::{Vip, Worker},
    probe::Question,
};

/// What is asked for one VIP, and how.
pub(super) struct Ask {
    pub(super) vip: Vip,
    /// Does the number of servers matter?
    pub(super) servers: bool,
    pub(super) question: Arc<Question>,
    pub(super) flights: Arc<Flights>,
}

impl Ask {
    /// What is found at each of these workers, within the time of a probe or little more.
    pub(super) async fn round(&self, workers: Vec<usize>) -> Vec<Finding> {
        join_all(workers.into_iter().map(|worker| self.worker(worker))).await
    }

    async fn worker(&self, number: usize) -> Finding {
        let Some(worker) = self.vip.workers.get(&number) else {
            return Finding {
                worker: number,
                answer: Err(Trouble::Bad("it has no listener of this VIP".into())),
                backends: Vec::new(),
            };
        };
        let (doors, backends) = tokio::join!(self.doors(worker), self.backends(worker));
        let (answer, backends) = match (doors, backends) {
            (Ok(()), Ok(backends)) => (Ok(()), backends),
            (Err(trouble), backends) => (Err(trouble), backends.unwrap_or_default()),
            (Ok(()), Err(trouble)) => (Err(trouble), Vec::new()),
        };
        Finding {
            worker: number,
            answer,
            backends,
        }
    }

    async fn doors(&self, worker: &Worker) -> Result<(), Trouble> {
        let answers = worker.doors.iter().map(|door| {
            let question = Arc::clone(&self.question);
            let door = *door;
            self.flights.doors.join(door.address, || {
                async move { question.ask(door).await.map_err(|error| error.trouble()) }.boxed()
            })
        });
        join_all(answers).await.into_iter().collect()
    }

    async fn backends(&self, worker: &Worker) -> Result<Vec<Live>, Trouble> {
        let names = self.vip.backends.iter().filter(|_| self.servers);
        let counts = names.map(|name| {
            let (cli, name) = (worker.cli.clone(), name.clone());
            let patience = self.question.timeout();
            self.flights.servers.join((cli.clone(), name.clone()), || {
                async move {
                    let live = backends::live(&cli, &name, patience).await;
                    live.map_err(|error| Trouble::of(&error, format!("servers of {name}: {error}")))
                }
                .boxed()
            })
        });
        join_all(counts).await.into_iter().collect()
    }
}

/// Questions that are out: VIPs of one service ask the same, and one answer does for all who wait for it.
#[derive(Default)]
pub(super) struct Flights {
    doors: Joined<SocketAddr, Result<(), Trouble>>,
    servers: Joined<(PathBuf, String), Result<Live, Trouble>>,
}

type Out<T> = BoxFuture<'static, T>;

struct Joined<K, T: Clone>(Mutex<HashMap<K, WeakShared<Out<T>>>>);

impl<K, T: Clone> Default for Joined<K, T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, T: Clone> Joined<K, T> {
    /// The question of that key that is out, or this one. An answer that is there already is not taken: it would be
    /// older than the question.
    fn join(&self, key: K, ask: impl FnOnce() -> Out<T>) -> Shared<Out<T>> {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.retain(|_, question| question.upgrade().is_some());
        let same = out.get(&key).and_then(WeakShared::upgrade);
        if let Some(same) = same.filter(|same| same.peek().is_none()) {
            return same;
        }
        let question = ask().shared();
        out.extend(question.downgrade().map(|weak| (key, weak)));
        question
    }
}
