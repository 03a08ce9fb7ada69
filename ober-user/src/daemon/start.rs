//! The order of a start. Every step that can fail comes before the first packet meets anything new.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{broadcast, mpsc},
};

use super::{
    Daemon, InForce, Lock, Locked, Strictness, cluster_key,
    fallback::{Choice, Provenance},
    greeter::Greeter,
    kernel,
    published::Published,
    remaining::Remaining,
    servers::ServerEngines,
    steps::starting::{Parts, assemble},
};
use crate::{
    announce::addresses::{self, Noted},
    api::{self, Lacking},
    backends::{
        Ask, Backends, Ready, With,
        discover::{self, engine::Learned, own::Own},
    },
    config::{Config, Texts, paths},
    dataplane::{self, Plane, chain, events::Drops},
    haproxy,
    names::resolve::Answers,
    plan::{
        self,
        history::{Origin, Reason},
    },
    system::{clock, file::directory, manager::Manager},
};

/// How many drop events a slow watcher may fall behind.
const EVENTS: usize = 1024;
/// How many answers of sources may wait to be taken in.
const ANSWERS: usize = 16;
/// How long the start waits for the names of lists and servers; what the lists held before is in force meanwhile.
const GRACE: Duration = Duration::from_secs(5);

/// A daemon that serves, and what its tasks need.
pub(super) struct Started {
    pub(super) daemon: Arc<Daemon>,
    pub(super) metrics: TcpListener,
    pub(super) control: Arc<UnixListener>,
    pub(super) drops: Drops,
    /// The answers of the sources of servers.
    pub(super) learned: mpsc::Receiver<Learned>,
}

/// Starts with the files on disk, or, if those cannot be used and may be replaced, with the last good snapshot of the history.
pub(super) async fn start(
    path: &Path,
    strictness: Strictness,
    manager: &Manager,
) -> anyhow::Result<Started> {
    let path = std::path::absolute(path)?;
    let text = Texts::read(&path).ok().map(|written| written.hash());
    let error = match Choice::own(&path) {
        Ok(choice) => match start_by(&path, choice, manager).await {
            Ok(started) => return Ok(started),
            Err(error) if is_held(&error) => return Err(error),
            Err(error) => error,
        },
        Err(error) => error,
    };
    if strictness == Strictness::Strict {
        return Err(error);
    }
    let Some(choice) = Choice::before(&path, text.as_deref(), &error) else {
        return Err(error);
    };
    let what = describe(&choice);
    let reason = chain(error.as_ref());
    tracing::error!(
        error = reason,
        "start by the configuration on disk; now by {what}"
    );
    for missing in &choice.provenance.missing {
        tracing::error!(missing, "go without what depends on it");
    }
    start_by(&path, choice, manager).await.map_err(|second| {
        let second = chain(second.as_ref());
        error.context(format!(
            "start by the configuration on disk (by {what}: {second})"
        ))
    })
}

/// Does another daemon run the instance? Then no other configuration would help. A run directory that cannot be locked is a
/// fault that another configuration may not have.
fn is_held(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Locked::Held { .. }))
}

fn describe(choice: &Choice) -> String {
    match &choice.provenance.fallback {
        Some(fallback) => format!("snapshot {} of the history", fallback.snapshot),
        None => "the same, without what is missing".to_owned(),
    }
}

async fn start_by(path: &Path, choice: Choice, manager: &Manager) -> anyhow::Result<Started> {
    let Choice {
        written,
        config,
        provenance,
        was_in_force,
    } = choice;
    let config = Arc::new(config);
    let node = &config.node;
    let lock = Lock::wait(&node.run).await?;
    private(&node.state)?;
    tell_remarks(&config, path);
    judge_interfaces(&config, was_in_force)?;
    let metrics = api::http::bind(node.metrics).await?;
    // Besides the steps of the plan: the servers, the kernel half, the names.
    let steps = plan::steps(&plan::State::default(), &plan::State::of(&config)).len() + 3;
    let greeter = Greeter::new(control_socket(&node.run)?, steps, manager);
    greeter.next("ask the sources of servers");
    let key = cluster_key(&config)?;
    let mut backends = Backends::open(&config)?;
    discover_first(&config, &mut backends).await;
    let ready = first_servers(&config, &backends).await?;
    tell_unresolved(&ready);
    let mut parts = put_in_force(&config, key, &mut backends, ready, &greeter, manager).await?;
    // Nothing can fail any more, so what only another configuration would need goes.
    parts.pool.retire_strays();
    parts.pool.keep_sockets();
    parts.access_lists.sweep();
    let drops = parts.drops;
    let haproxy = haproxy::version::probe(&config.workers.haproxy).await.ok();
    let origin = origin(&provenance);
    let (tell, learned) = mpsc::channel(ANSWERS);
    let daemon = Arc::new(Daemon {
        run: node.run.clone(),
        path: path.to_owned(),
        in_force: InForce::new(written, haproxy, provenance).into(),
        remembering: tokio::sync::Mutex::default(),
        changing: tokio::sync::Mutex::default(),
        started: clock::seconds(),
        announcer: parts.announcer,
        pool: Published::new(parts.pool),
        backends: Published::new(backends),
        access_lists: Published::new(parts.access_lists),
        members: parts.members,
        plane: parts.plane,
        drops: broadcast::Sender::new(EVENTS),
        outdated: Mutex::default(),
        remaining: Remaining::default(),
        tally: Mutex::default(),
        conditions: Mutex::default(),
        engines: ServerEngines::new(discover::engine::Engine::new(tell)),
        certificates: super::certificates::Shown::default(),
        config: RwLock::new(Arc::clone(&config)),
        manager: manager.clone(),
        _lock: lock,
    });
    daemon.watch_servers();
    greeter.next("ask for the names of lists and servers");
    first_refresh(&daemon).await;
    remember(&daemon, origin).await;
    tracing::info!(
        instance = daemon.config().node.instance,
        "the node is serving"
    );
    Ok(Started {
        daemon,
        metrics,
        control: greeter.end(),
        drops,
        learned,
    })
}

/// In a configuration that was in force, an interface that is not here is waited for.
fn judge_interfaces(config: &Config, was_in_force: bool) -> anyhow::Result<()> {
    let known = &config.node.interfaces[..];
    kernel::check_interfaces(if was_in_force { known } else { &[] }, config)?;
    for interface in kernel::away(config) {
        tracing::error!(
            interface,
            "there is no such interface yet; it is taken when it comes (`ip link` lists those that are here)"
        );
    }
    Ok(())
}

fn origin(provenance: &Provenance) -> Origin {
    Origin {
        of: provenance.fallback.as_ref().map(|it| it.snapshot),
        ..Origin::of(Reason::Start)
    }
}

async fn remember(daemon: &Daemon, origin: Origin) {
    if let Err(error) = daemon.remember(daemon.turn(), origin).await {
        tracing::error!(
            error = format!("{error:#}"),
            "keep a snapshot of the configuration"
        );
    }
}

fn tell_remarks(config: &Config, path: &Path) {
    for remark in config.remarks(path) {
        tracing::warn!("{remark}");
    }
}

/// The state directory holds keys, and files that decide what the next start does. One that does not exist yet is made private
/// later.
fn private(state: &Path) -> anyhow::Result<()> {
    match directory::keep_private(state) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            tracing::warn!(path = %state.display(), %error, "others may look into the state directory");
            Ok(())
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("keep {} private", state.display()))
        }
        _ => Ok(()),
    }
}

/// The servers that are known at the start. Workers have no sockets yet.
async fn first_servers(config: &Arc<Config>, backends: &Backends) -> anyhow::Result<Ready> {
    let with = With {
        config,
        sync: &api::Sync::default(),
        own: &Arc::new(Own::of(config, [])),
        ask: Ask::All,
    };
    Ok(backends.draft().ready(with, &Answers::default()).await?)
}

/// Fills the lists before the start is over, which matters for those that were never filled. Names without an answer delay the
/// start by no more than [`GRACE`].
async fn first_refresh(daemon: &Arc<Daemon>) {
    let refreshed = tokio::spawn({
        let daemon = Arc::clone(daemon);
        async move { daemon.refresh().await }
    });
    if tokio::time::timeout(GRACE, refreshed).await.is_err() {
        tracing::warn!(
            "names are still being asked for; lists and servers follow when they are answered"
        );
    }
}

/// Waits for the sources of servers, each for its time: workers must not start without the servers they can have. Answers that
/// were kept from before the start are enough.
async fn discover_first(config: &Config, backends: &mut Backends) {
    if backends.incomplete() {
        for learned in discover::engine::first(config).await {
            backends.learn(config, learned, clock::seconds());
        }
    }
}

/// Loads, starts and attaches. A first start that fails leaves nothing; a later one leaves what was in force, and what it
/// brought into force itself.
async fn put_in_force(
    config: &Config,
    key: [u64; 2],
    backends: &mut Backends,
    ready: Ready,
    greeter: &Greeter,
    manager: &Manager,
) -> anyhow::Result<Parts> {
    let first = is_first(config);
    let noted = addresses::noted(config)?;
    greeter.next("load the programs");
    let plane = Plane::load(config, key)?;
    let (adopted, directory) = (plane.adopted, plane.directory().to_owned());
    let how = if first { Noted::Must } else { Noted::May };
    let parts = assemble(
        config,
        plane,
        &ready.in_force.servers,
        how,
        greeter,
        manager,
    )
    .await;
    let parts = match (parts, first) {
        (Ok(parts), true) => backends
            .keep(&ready)
            .and_then(|files| Ok(files.place()?))
            .map(|files| {
                backends.commit(ready, files);
                parts
            })
            .map_err(anyhow::Error::from),
        (Ok(parts), false) => {
            backends.put_in_force(ready);
            Ok(parts)
        }
        (Err(error), _) => Err(error),
    };
    if parts.is_err() && first {
        haproxy::dismiss(&config.node.run, Duration::ZERO, &BTreeSet::new(), |_| {}).await;
        dataplane::detach(&config.node.bpffs, &config.node.instance)?;
        addresses::remove(config, &noted).await?;
    } else if parts.is_err() && !adopted && !dataplane::attaches(&directory) {
        dataplane::remove_pins(&directory)?;
    }
    parts
}

/// Is there nothing of this instance, which might be serving? Missing pins alone prove nothing: a BPF file system that was
/// mounted anew, or another mount namespace, shows none.
fn is_first(config: &Config) -> bool {
    !dataplane::pinned(&config.node.bpffs, &config.node.instance)
        && !haproxy::known(&config.node.run)
}

fn control_socket(run: &Path) -> anyhow::Result<UnixListener> {
    let path: PathBuf = paths::control_socket(run);
    let bind = || -> io::Result<UnixListener> {
        // This process holds the lock, so no other one uses a socket that is there.
        if path.exists() {
            fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bind().with_context(|| format!("listen on {}", path.display()))
}

fn tell_unresolved(ready: &Ready) {
    for synced in &ready.synced {
        for Lacking {
            names, count, why, ..
        } in synced.lacking()
        {
            tracing::warn!(target: "ober_user::backends", backend = ?synced.target, names, count, why, "servers do not resolve");
        }
    }
}

/// Resolves lists and servers at every `resolve.interval`.
pub(super) async fn refresh_lists(daemon: Arc<Daemon>) {
    loop {
        let interval = daemon.config().resolve.interval;
        if interval.is_zero() {
            return std::future::pending().await;
        }
        tokio::time::sleep(interval).await;
        daemon.refresh().await;
    }
}

impl Daemon {
    /// Resolves every list and every server again. One that fails keeps what it had, and the failure is logged.
    pub(super) async fn refresh(&self) {
        let (servers, ()) = tokio::join!(self.refresh_servers(Ask::All), self.refresh_lists());
        if let Err(error) = servers {
            tracing::warn!(target: "ober_user::backends", %error, "refresh the servers");
        }
    }
}
