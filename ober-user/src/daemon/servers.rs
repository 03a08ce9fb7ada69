//! Servers that come and go, fail and recover: what discovery finds goes to the backends, what the checks find to the
//! workers.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, mpsc::Receiver};

use super::Daemon;
use crate::{
    api::status::backends::{Backend, Server, ServerState, Source},
    backends::{
        self, Ask,
        check::{self, State, engine::CheckStates, targets::targets},
        discover::{self, engine::Learned},
        server::{self, Servers},
    },
    config::Config,
    haproxy::health,
    machine::drive,
    system::clock,
};

/// The pace without any check, when there is nothing to renew.
const IDLE: Duration = Duration::from_secs(1);

/// The engines of sources and checks, and HAProxy's name of each server. Never held across a wait.
#[derive(Debug)]
pub(super) struct ServerEngines {
    sources: Mutex<discover::engine::Engine>,
    checks: Mutex<check::engine::Engine>,
    /// The servers of the workers. A copy: the backends themselves are locked while workers are replaced, and verdicts must be
    /// renewed meanwhile.
    servers: Mutex<Servers>,
    /// Notified when there may be workers that know no verdicts yet.
    fresh: Notify,
}

impl ServerEngines {
    pub(super) fn new(sources: discover::engine::Engine) -> Self {
        Self {
            sources: Mutex::new(sources),
            checks: Mutex::default(),
            servers: Mutex::default(),
            fresh: Notify::new(),
        }
    }

    /// Asks the sources of this configuration and checks these servers from now on.
    pub(super) fn configure(&self, config: &Config, servers: &Servers) {
        lock(&self.sources).set(config);
        let targets = targets(config, servers);
        lock(&self.servers).clone_from(servers);
        lock(&self.checks).set(targets);
        self.fresh.notify_one();
    }

    /// The state of every checked server.
    pub(super) fn check_states(&self) -> CheckStates {
        lock(&self.checks).states()
    }

    /// All verdicts there are, as commands for the workers.
    fn commands(&self) -> Vec<String> {
        let (states, servers) = (self.check_states(), lock(&self.servers));
        let states = &states;
        let commands = servers.iter().flat_map(|(backend, servers)| {
            let up = move |server: &server::Server| {
                let check_state = states.get(&(backend.clone(), server.addr))?;
                match check_state.state {
                    State::Unknown => None,
                    State::Up => Some(true),
                    State::Down => Some(false),
                }
            };
            health::commands(backend, servers, up)
        });
        health::lines(commands)
    }
}

/// Poisoning is ignored: the few lines under the locks do not panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes in the answers of sources, and has the workers follow when servers come or go.
pub(super) async fn learn(daemon: Arc<Daemon>, mut learned: Receiver<Learned>) {
    // A change the workers did not take is tried again with the next answer.
    let mut pending = false;
    while let Some(first) = learned.recv().await {
        let config = daemon.config();
        let changing = daemon.changing(None).await;
        let mut backends = daemon.backends.lock().await;
        pending |= backends.learn(&config, first, clock::seconds());
        while let Ok(more) = learned.try_recv() {
            pending |= backends.learn(&config, more, clock::seconds());
        }
        drop(backends);
        drop(changing);
        if !pending {
            continue;
        }
        // Only new names are asked for here; the others have an interval of their own.
        match daemon.refresh_servers(Ask::New).await {
            Ok(()) => pending = false,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "take discovered servers over");
            }
        }
    }
}

/// Sends the workers every verdict at each change, and at intervals: see [`health`].
pub(super) async fn renew(daemon: Arc<Daemon>) {
    let mut verdicts = lock(&daemon.engines.checks).verdicts();
    loop {
        let config = daemon.config();
        let checks = config
            .backends
            .values()
            .filter_map(|backend| backend.check.as_ref());
        let pace = checks.map(|check| health::renewal(check.interval)).min();
        tokio::select! {
            // Which verdict changed does not matter: all are sent.
            _ = verdicts.recv() => {}
            () = daemon.engines.fresh.notified() => {}
            () = tokio::time::sleep(pace.unwrap_or(IDLE)) => {}
        }
        let commands = daemon.engines.commands();
        if !commands.is_empty() {
            let workers = 0..config.workers.cpus.len();
            let sent = workers.map(|worker| send_verdicts(&daemon, worker, &commands));
            futures_util::future::join_all(sent).await;
        }
    }
}

async fn send_verdicts(daemon: &Daemon, worker: usize, commands: &[String]) {
    match health::send(&daemon.run, worker, commands).await {
        Ok(words) if words.is_empty() => {}
        Ok(words) => tracing::debug!(worker, ?words, "verdicts on servers it does not know"),
        // The supervision reports a worker that is not there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::debug!(worker, %error, "send a worker the verdicts"),
    }
}

/// The status of every backend.
pub(super) fn describe(
    backends: &backends::BackendFacts,
    states: &CheckStates,
) -> BTreeMap<String, Backend> {
    let now = drive::now();
    let in_force = &backends.in_force;
    let servers = in_force.servers.iter().map(|(name, servers)| {
        let server = |server: &server::Server| {
            let key = (name.clone(), server.addr);
            let check_state = states.get(&key);
            Server {
                name: server.name.clone(),
                address: server.addr,
                host: server.host.clone(),
                weight: server.terms.weight,
                tier: server.terms.tier,
                sources: in_force.origins.get(&key).cloned().unwrap_or_default(),
                state: check_state.map_or(ServerState::Unchecked, |it| it.state.into()),
                reason: check_state.map(|check_state| check_state.reason.clone()),
                seconds: check_state
                    .map(|check_state| now.saturating_duration_since(check_state.since).as_secs()),
            }
        };
        let sources = backends.sources.get(name).into_iter().flatten();
        let source = |(name, source): (&String, &backends::SourceState)| Source {
            name: name.clone(),
            servers: source.servers.map(|servers| servers as u64),
            failures: source.failures,
            error: source.error.clone(),
            asked: source.asked,
        };
        let backend = Backend {
            servers: servers.iter().map(server).collect(),
            sources: sources.map(source).collect(),
            left_out: in_force.left_out.get(name).cloned().unwrap_or_default(),
        };
        (name.clone(), backend)
    });
    servers.collect()
}
