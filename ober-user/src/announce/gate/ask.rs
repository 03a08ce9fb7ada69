//! A round of probes: each worker is asked at all listeners of a VIP and for the servers behind it, all at once.

use std::{
    collections::{BTreeSet, HashMap},
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
    Live, ProbeResult, Trouble, backends,
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
    /// Asks these workers; returns within the time of a probe or little more.
    pub(super) async fn round(&self, workers: Vec<usize>) -> Vec<ProbeResult> {
        join_all(workers.into_iter().map(|worker| self.worker(worker))).await
    }

    async fn worker(&self, number: usize) -> ProbeResult {
        let Some(worker) = self.vip.workers.get(&number) else {
            return ProbeResult {
                worker: number,
                answer: Err(Trouble::Bad("it has no listener of this VIP".into())),
                services: Vec::new(),
            };
        };
        let (targets, services) = tokio::join!(self.targets(worker), self.services(worker));
        let (answer, services) = match (targets, services) {
            (Ok(()), Ok(services)) => (Ok(()), services),
            (Err(trouble), services) => (Err(trouble), services.unwrap_or_default()),
            (Ok(()), Err(trouble)) => (Err(trouble), Vec::new()),
        };
        ProbeResult {
            worker: number,
            answer,
            services,
        }
    }

    async fn targets(&self, worker: &Worker) -> Result<(), Trouble> {
        let answers = worker.targets.iter().map(|target| {
            let question = Arc::clone(&self.question);
            let target = *target;
            self.flights.targets.join(target.address, || {
                async move { question.ask(target).await.map_err(|error| error.trouble()) }.boxed()
            })
        });
        join_all(answers).await.into_iter().collect()
    }

    async fn services(&self, worker: &Worker) -> Result<Vec<Live>, Trouble> {
        let services = self.vip.services.iter().filter(|_| self.servers);
        let counts = services.map(|backends| self.service(worker, backends));
        join_all(counts).await.into_iter().collect()
    }

    async fn service(&self, worker: &Worker, backends: &BTreeSet<String>) -> Result<Live, Trouble> {
        let counts = backends.iter().map(|name| self.backend(worker, name));
        let mut sum = Live { up: 0, all: 0 };
        for live in join_all(counts).await {
            let Live { up, all } = live?;
            sum.up += up;
            sum.all += all;
        }
        Ok(sum)
    }

    async fn backend(&self, worker: &Worker, name: &str) -> Result<Live, Trouble> {
        let (cli, name) = (worker.cli.clone(), name.to_owned());
        let patience = self.question.timeout();
        let answer = self.flights.servers.join((cli.clone(), name.clone()), || {
            async move {
                let live = backends::live(&cli, &name, patience).await;
                live.map_err(|error| Trouble::of(&error, format!("servers of {name}: {error}")))
            }
            .boxed()
        });
        answer.await
    }
}

/// Questions without an answer yet. The VIPs of one service ask the same, and all of them wait for the one answer.
#[derive(Default)]
pub(super) struct Flights {
    targets: Joined<SocketAddr, Result<(), Trouble>>,
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
    /// Joins the question of that key that has no answer yet, or asks this one. A question with an answer is not joined: the
    /// answer would be older than the question.
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
