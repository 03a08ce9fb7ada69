//! `ober-user run`: the process that owns the data plane, the sockets, the workers and the lists of one instance, and answers
//! for them.
//!
//! ```text
//! start, fallback, lock, key, harden, greeter   a start: which configuration, in which order; what is answered meanwhile
//! change, failed_course, steps/, files, remember   another configuration: prepared, put in force step by step, kept
//! sync                                          lists and servers alone
//! kernel                                        how a configuration becomes what the kernel holds
//! membership                                    the end of a worker -> the rings, on a thread of its own
//! servers, certificates, interfaces, unlisted   what is watched while the daemon runs, and what follows from it
//! reconcile, reconciled                         what was changed by hand is set right again and counted
//! control, report, remaining, published         requests and answers; facts that are read without a lock
//! summary, watchdog                             what the service manager hears
//! offline, detach, connections                  the same answers from the pins alone; everything taken out again; clients
//! ```
//! A start loads or adopts the kernel half, takes over or starts the workers, puts services and rings in force, attaches, and
//! only then resolves the lists again. A later configuration comes by the same steps ([`crate::plan`]), those that are needed.
//!
//! A stop never takes filter or workers away: the data plane goes on filtering and the workers go on serving until
//! `ober-user detach`.

mod certificates;
mod change;
pub mod connections;
mod control;
mod detach;
mod failed_course;
mod fallback;
mod files;
mod greeter;
mod harden;
mod interfaces;
mod kernel;
mod key;
mod lock;
mod membership;
pub mod offline;
mod published;
mod reconcile;
pub mod reconciled;
mod remaining;
mod remember;
pub(crate) mod report;
mod servers;
mod start;
mod steps;
mod summary;
mod sync;
mod unlisted;
mod watchdog;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

use anyhow::Context as _;
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::broadcast,
};

pub use detach::{Detached, detach};
pub(crate) use harden::{harden, leave_no_core};
pub use key::cluster_key;
pub use lock::{Lock, Locked};
use published::Published;
use watchdog::{Watchdog, Watched};

use fallback::Provenance;
pub use fallback::in_force_last;
pub use files::write_main;

use crate::{
    announce::{Announcer, gate},
    api::{
        self, Text,
        status::{self, DropEvent},
    },
    backends::Backends,
    config::{Config, Texts},
    daemon::reconciled::Tally,
    dataplane::Plane,
    haproxy::{Pool, version::Program},
    lists::AccessLists,
    plan::history::{Origin, Reason},
    system::manager::Manager,
};

/// Everything the daemon owns. Each part has a lock of its own; a task that takes several takes them in the order of the
/// fields. Only `changing` is held while a task waits for a name server, a file or a source of servers; a task that holds the
/// lock of the workers may wait for HAProxy. Readers take no lock ([`published`]).
pub struct Daemon {
    /// The main file of the configuration, absolute.
    path: PathBuf,
    /// Never held across a wait.
    in_force: Mutex<InForce>,
    /// Held by a task that writes to the history.
    remembering: tokio::sync::Mutex<()>,
    /// The run directory; fixed for the life of the process.
    run: PathBuf,
    started: u64,
    config: RwLock<Arc<Config>>,
    announcer: Announcer,
    /// Held by each change of servers, lists or the configuration, while it is put in force. A change that another one
    /// overtook also holds it while it prepares again: without that, servers that come and go all the time would keep a
    /// reload waiting without end. A status never waits for it.
    changing: tokio::sync::Mutex<()>,
    pool: Published<Pool>,
    backends: Published<Backends>,
    access_lists: Published<AccessLists>,
    members: membership::Shared,
    plane: Arc<Mutex<Plane>>,
    drops: broadcast::Sender<DropEvent>,
    engines: servers::ServerEngines,
    /// By process: the replaced files that it still runs, and when that was looked up.
    outdated: Mutex<BTreeMap<i32, (Instant, BTreeSet<String>)>>,
    /// The connections of finishing workers.
    remaining: remaining::Remaining,
    /// What was found changed by hand. Never held across a wait.
    tally: Mutex<Tally>,
    /// What earlier looks found at the interfaces. Never held across a wait, nor together with the plane.
    conditions: Mutex<interfaces::Conditions>,
    certificates: certificates::Shown,
    manager: Manager,
    /// Held for the life of the process: a second daemon on the instance is refused.
    _lock: Lock,
}

/// The configuration as it was written, and its snapshot.
pub(crate) struct InForce {
    written: Texts,
    /// Its number in the history; `None`: it could not be kept.
    snapshot: Option<u64>,
    /// The HAProxy that workers are started with; `None`: it did not say its version.
    haproxy: Option<Program>,
    /// The node may differ from this, because a way back failed.
    doubt: Option<failed_course::Doubt>,
    provenance: Provenance,
}

impl InForce {
    fn new(written: Texts, haproxy: Option<Program>, provenance: Provenance) -> Self {
        Self {
            written,
            snapshot: None,
            haproxy,
            doubt: None,
            provenance,
        }
    }

    fn describe(&self) -> status::Configuration {
        status::Configuration {
            snapshot: self.snapshot,
            hash: self.written.hash(),
            haproxy: self.haproxy.clone(),
            doubt: self.doubt.as_ref().map(failed_course::Doubt::describe),
            fallback: self.provenance.fallback.clone(),
            missing: self.provenance.missing.clone(),
        }
    }
}

/// What a start does when the files of the configuration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// It puts the last good snapshot of the history in force.
    Forgiving,
    /// It fails.
    Strict,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(path: &Path, strictness: Strictness, manager: Manager) -> anyhow::Result<()> {
    // A start holds all parts of a daemon at once, which is too much for the stack of its caller.
    let started = Box::pin(start::start(path, strictness, &manager)).await?;
    let daemon = started.daemon;
    let mut tasks = tokio::task::JoinSet::new();
    let served = api::http::serve(started.metrics, Arc::clone(&daemon));
    tasks.spawn(async {
        if let Err(error) = served.await {
            tracing::error!(%error, "metrics end here");
        }
    });
    tasks.spawn(control::serve(started.control, Arc::clone(&daemon)));
    tasks.spawn(start::refresh_lists(Arc::clone(&daemon)));
    tasks.spawn(servers::learn(Arc::clone(&daemon), started.learned));
    tasks.spawn(servers::renew(Arc::clone(&daemon)));
    tasks.spawn(reconcile::sweep(Arc::clone(&daemon)));
    tasks.spawn(reconcile::reconcile(Arc::clone(&daemon)));
    tasks.spawn(reconcile::keep(Arc::clone(&daemon)));
    tasks.spawn(reconcile::complete(Arc::clone(&daemon)));
    tasks.spawn(certificates::keep(Arc::clone(&daemon)));
    tasks.spawn(interfaces::keep(Arc::clone(&daemon)));
    tasks.spawn(report::packet_log(Arc::clone(&daemon)));
    tasks.spawn(report::drops(Arc::clone(&daemon), started.drops));
    tasks.spawn(summary::report(Arc::clone(&daemon)));
    let mut hangup = signal(SignalKind::hangup())?;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let _watchdog = daemon.feed_watchdog()?;
    manager.notifier.ready();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                let origin = Origin::of(Reason::Sighup);
                if let Err(error) = daemon.change(&Text::Own, None, origin).await {
                    tracing::error!(%error, "reload: nothing was changed");
                }
            }
            Some(ended) = tasks.join_next() => ended.context("a part of the daemon ended")?,
        }
    }
    manager.notifier.stopping();
    // A second signal ends the daemon without waiting for the neighbours.
    tokio::select! {
        () = daemon.announcer.stop() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopped; the data plane goes on filtering and the workers go on serving");
    Ok(())
}

impl Daemon {
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// For a manager that has a watchdog.
    fn feed_watchdog(&self) -> anyhow::Result<Option<Watchdog>> {
        let Some(limit) = self.manager.watchdog else {
            return Ok(None);
        };
        let watched = vec![
            Watched::new("a thread of the runtime", Handle::current()),
            Watched::new("the thread of BFD and VRRP", self.announcer.realtime()),
        ];
        let watchdog = watchdog::start(self.manager.notifier.clone(), limit, watched);
        Ok(Some(
            watchdog.context("start the thread that feeds the watchdog")?,
        ))
    }

    /// Drains, undrains, disables or enables a VIP; without one, all.
    async fn order(
        &self,
        vip: Option<IpAddr>,
        order: gate::Order,
    ) -> anyhow::Result<Vec<status::gate::Gate>> {
        let gates = self.announcer.order(vip, order).await?;
        Ok(gates.iter().map(Into::into).collect())
    }

    /// Has everything that depends on the lists follow them.
    fn lists_changed(&self, access_lists: &AccessLists) {
        self.routers_changed(access_lists);
        unlisted::end_connections(access_lists);
    }

    /// Gives BFD and VRRP the list of routers as it is now.
    fn routers_changed(&self, access_lists: &AccessLists) {
        let routers = kernel::routers(&self.config(), &self.plane().maps, access_lists);
        match routers {
            Ok(routers) => self.announcer.routers(routers),
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "have BFD and VRRP follow the list of routers"
            ),
        }
    }

    /// To be held for a moment only: `status` and `/health` wait for it.
    fn in_force(&self) -> std::sync::MutexGuard<'_, InForce> {
        // A panic leaves no half-made change: each is complete before anything that could panic.
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plane(&self) -> std::sync::MutexGuard<'_, Plane> {
        membership::lock(&self.plane)
    }
}
