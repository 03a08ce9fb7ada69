//! Certificates while the workers serve: every worker gets the files that change, and a new worker gets all of them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::Daemon;
use crate::{
    api::status::certificates::{Behind, Certificate, Certificates, Issued, Refused},
    certificates::{
        acme,
        copies::{self, CertificateInUse, Stock},
        watch::{self, DirectoryWatch, WatchedNames},
    },
    config::Config,
    haproxy::certificates::Delivery,
    machine::drive,
    system::{clock, file},
};

/// How often the daemon looks which process each worker is.
const PACE: Duration = Duration::from_secs(1);
/// A renewal replaces several files one after another; files that are read in between do not fit together.
const SETTLE: Duration = Duration::from_millis(50);
/// How many times, at most, the daemon waits for a renewal to end.
const SETTLES: usize = 5;
/// How often all files are read again: certificates expire although no file changes, and not every file system reports changes.
const RECOUNT: Duration = Duration::from_mins(1);
/// How long reading them all may take; they are read again a minute later.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `status` shows of the certificates.
pub(super) type Shown = Mutex<Certificates>;

impl Daemon {
    pub(super) fn certificates(&self) -> Certificates {
        let shown = self.certificates.lock();
        shown.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Gives the workers the certificates in the files, for the life of the daemon.
pub(super) async fn keep(daemon: Arc<Daemon>) {
    let mut watch = FileWatch::open();
    let mut task = CertificateTask::default();
    let mut news = true;
    loop {
        let config = daemon.config();
        let other = task
            .config
            .as_ref()
            .is_none_or(|known| !Arc::ptr_eq(known, &config));
        news = news || other || task.counted.is_none_or(|at| drive::now() >= at + RECOUNT);
        if news {
            task.read(&config, &mut watch).await;
        }
        if other {
            task.issued.configure(&config);
        }
        task.sweep(&daemon);
        // Shown before as well, since a worker may take its time to answer.
        task.show(&daemon);
        task.bring(&daemon, &config, news).await;
        task.show(&daemon);
        news = watch.changed().await;
    }
}

/// The kernel's reports of changes, where it gives any.
struct FileWatch(Option<DirectoryWatch>);

impl FileWatch {
    fn open() -> Self {
        let watch = DirectoryWatch::new().inspect_err(|error| {
            tracing::warn!(%error, "certificates are looked at once a minute only: the kernel does not watch them");
        });
        Self(watch.ok())
    }

    fn look(&mut self, watched_names: &WatchedNames) {
        if let Some(watch) = &mut self.0 {
            watch.look(watched_names.clone());
        }
    }

    /// Did a file change? Waits for one pace at most.
    async fn changed(&mut self) -> bool {
        let Some(watch) = &mut self.0 else {
            sleep(PACE).await;
            return false;
        };
        match timeout(PACE, watch.changed()).await {
            Err(_over) => return false,
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the kernel no longer reports changes of certificates");
                self.0 = None;
                return true;
            }
        }
        for _ in 0..SETTLES {
            if timeout(SETTLE, watch.changed()).await.is_err() {
                break;
            }
        }
        true
    }
}

#[derive(Default)]
struct CertificateTask {
    config: Option<Arc<Config>>,
    counted: Option<Instant>,
    stock: Arc<Stock>,
    /// There may be copies that no worker needs any more.
    leftover: bool,
    watched_names: WatchedNames,
    workers: Vec<Delivery>,
    issued: acme::CertificateOrders,
}

impl CertificateTask {
    /// Reads the files. A change between reading a file and watching it must not be missed, so the files are read again until
    /// there is nothing new to watch.
    async fn read(&mut self, config: &Arc<Config>, watch: &mut FileWatch) {
        for _ in 0..SETTLES {
            let (of, now) = (Arc::clone(config), clock::seconds());
            let filled = file::away(PATIENCE, move || {
                let stock = copies::fill(&of, now)?;
                let watched_names = watch::watched_names(&stock.watched);
                Ok::<_, copies::Error>((stock, watched_names))
            });
            let (stock, watched_names) = match filled.await {
                Ok(Ok(filled)) => filled,
                Ok(Err(error)) => {
                    tracing::error!(%error, "certificates stay as they were");
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "read the certificates");
                    break;
                }
            };
            self.tell(&stock);
            self.stock = Arc::new(stock);
            watch.look(&watched_names);
            if std::mem::replace(&mut self.watched_names, watched_names.clone()) == watched_names {
                break;
            }
        }
        self.leftover = true;
        self.counted = Some(drive::now());
        self.config = Some(Arc::clone(config));
    }

    /// Logs what is new.
    fn tell(&self, stock: &Stock) {
        let before = problems(&self.stock);
        for (file, problem) in problems(stock) {
            if before.get(file) != Some(&problem) {
                tracing::warn!(file = %file.display(), problem, "a file of certificates has a problem");
            }
        }
        for (copy, held) in &stock.held {
            let earlier = self.stock.held.get(copy);
            if earlier.is_none_or(|earlier| earlier.facts != held.facts) {
                let (file, names) = (held.source.display(), held.facts.names.join(", "));
                tracing::info!(%file, names, not_after = held.facts.not_after, "certificate in use");
            }
        }
    }

    /// Removes copies that are not needed, but not while a reload puts files there that are not in stock yet.
    fn sweep(&mut self, daemon: &Daemon) {
        let Some(_pool) = daemon.pool.try_lock() else {
            return;
        };
        let current = self
            .config
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &daemon.config()));
        if self.leftover && current && !self.stock.lists.is_empty() {
            copies::sweep(&daemon.run, &self.stock);
            self.leftover = false;
        }
    }

    async fn bring(&mut self, daemon: &Daemon, config: &Config, news: bool) {
        self.workers
            .resize_with(config.workers.cpus.len(), Delivery::default);
        let stock = &self.stock;
        if stock.copies.is_empty() {
            return;
        }
        let brought = self.workers.iter_mut().enumerate();
        let brought =
            brought.map(|(worker, delivery)| delivery.bring(&daemon.run, worker, stock, news));
        futures_util::future::join_all(brought).await;
    }

    fn show(&self, daemon: &Daemon) {
        let shown = daemon.certificates.lock();
        *shown.unwrap_or_else(PoisonError::into_inner) = self.shown();
    }

    fn shown(&self) -> Certificates {
        let held = self
            .stock
            .held
            .values()
            .map(|held: &CertificateInUse| Certificate {
                source: held.source.clone(),
                names: held.facts.names.clone(),
                issuer: held.facts.issuer.clone(),
                not_before: held.facts.not_before,
                not_after: held.facts.not_after,
                listeners: held.listeners.iter().cloned().collect(),
                problem: held.problem.clone(),
            });
        let refused = self.stock.refused.iter().map(|(file, problem)| Refused {
            file: file.clone(),
            problem: problem.clone(),
        });
        let behind = self
            .workers
            .iter()
            .enumerate()
            .filter_map(|(worker, delivery)| {
                Some(Behind {
                    worker,
                    problem: delivery.problem.clone()?,
                })
            });
        let issued = self
            .issued
            .order_states()
            .into_iter()
            .map(|(names, order)| Issued {
                names,
                ordering: order.ordering,
                failures: order.failures,
                error: order.error,
                next: order.next,
            });
        Certificates {
            held: held.collect(),
            refused: refused.collect(),
            issued: issued.collect(),
            behind: behind.collect(),
            taken: self.workers.iter().map(|delivery| delivery.taken).sum(),
        }
    }
}

/// Problems by file.
fn problems(stock: &Stock) -> BTreeMap<&PathBuf, &String> {
    let held = stock.held.values();
    let held = held.filter_map(|held| Some((&held.source, held.problem.as_ref()?)));
    held.chain(&stock.refused).collect()
}
