//! Runs the checks of all servers: one task for each server, a bounded number of checks at once.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Instant};

use tokio::{
    sync::{Semaphore, broadcast, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Action, Answer, Event, Policy, Server, State, exec, http, probe,
    tcp::{self, Connector},
    tls::Speaker,
};
use crate::{
    config::{
        Check, ProxyVersion,
        sections::check::{Kind, Over},
    },
    machine::drive::{World, drive, now},
    system::hash,
};

/// The most checks that run at once, programs included.
const AT_ONCE: usize = 64;
/// How many verdicts a slow receiver may fall behind. One that misses some can read all standings.
const BEHIND: usize = 1024;

/// A server to be checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub backend: String,
    pub server: SocketAddr,
    /// Its host name, for TLS.
    pub name: Option<String>,
    pub check: Check,
    /// The version of the PROXY header with which connections to the serving port begin.
    pub proxy_protocol: Option<ProxyVersion>,
}

/// A server changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub backend: String,
    pub server: SocketAddr,
    pub up: bool,
    pub reason: String,
}

/// The state of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckState {
    pub state: State,
    pub since: Instant,
    /// What the last check found.
    pub reason: String,
}

pub type CheckStates = BTreeMap<(String, SocketAddr), CheckState>;

/// All checks of an instance. They end when it is dropped.
#[derive(Debug)]
pub struct Engine {
    running: BTreeMap<(String, SocketAddr), Running>,
    permits: Arc<Semaphore>,
    verdicts: broadcast::Sender<Verdict>,
}

#[derive(Debug)]
struct Running {
    target: Target,
    check_state: watch::Receiver<CheckState>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            running: BTreeMap::new(),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            verdicts: broadcast::Sender::new(BEHIND),
        }
    }
}

impl Engine {
    /// Checks exactly these servers from now on. A server that was checked in the same way before keeps its state and
    /// counts.
    pub fn set(&mut self, targets: Vec<Target>) {
        let mut before = std::mem::take(&mut self.running);
        for target in targets {
            let key = (target.backend.clone(), target.server);
            let same = before
                .remove(&key)
                .filter(|running| running.target == target);
            let running = same.unwrap_or_else(|| self.start(target));
            self.running.insert(key, running);
        }
    }

    /// A receiver of all changes from now on.
    pub fn verdicts(&self) -> broadcast::Receiver<Verdict> {
        self.verdicts.subscribe()
    }

    /// The state of all servers.
    pub fn states(&self) -> CheckStates {
        let check_state = |running: &Running| running.check_state.borrow().clone();
        self.running
            .iter()
            .map(|(key, running)| (key.clone(), check_state(running)))
            .collect()
    }

    fn start(&self, target: Target) -> Running {
        let mut machine = Server::new(now(), Policy::of(&target.check), seed(&target));
        let (tell, check_state) = watch::channel(state_of(&machine));
        let (answers, inbox) = mpsc::unbounded_channel();
        let mut world = Checking {
            asker: Arc::new(Asker::new(target.clone())),
            permits: Arc::clone(&self.permits),
            verdicts: self.verdicts.clone(),
            tell,
            answers,
            inbox,
            check: None,
        };
        let task = tokio::spawn(async move { drive(&mut machine, &mut world).await });
        Running {
            target,
            check_state,
            task,
        }
    }
}

fn state_of(machine: &Server) -> CheckState {
    CheckState {
        state: machine.state(),
        since: machine.since(),
        reason: machine.reason().to_owned(),
    }
}

/// The seed of the server's pace, from its names: it is the same after every start.
fn seed(target: &Target) -> u64 {
    let name = format!("{} {}", target.backend, target.server);
    hash::fnv1a(name.bytes())
}

/// The world of one server.
struct Checking {
    asker: Arc<Asker>,
    permits: Arc<Semaphore>,
    verdicts: broadcast::Sender<Verdict>,
    tell: watch::Sender<CheckState>,
    answers: mpsc::UnboundedSender<Answer>,
    inbox: mpsc::UnboundedReceiver<Answer>,
    check: Option<JoinHandle<()>>,
}

impl Drop for Checking {
    fn drop(&mut self) {
        if let Some(check) = &self.check {
            check.abort();
        }
    }
}

impl World<Server> for Checking {
    async fn next(&mut self) -> Option<Event> {
        self.inbox.recv().await.map(Event::Answered)
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Ask => {
                let (asker, permits) = (Arc::clone(&self.asker), Arc::clone(&self.permits));
                let answers = self.answers.clone();
                self.check = Some(tokio::spawn(async move {
                    // The time limit begins only with this server's turn. The semaphore is never closed, so there is no
                    // error.
                    let _turn = permits.acquire().await;
                    // The channel is closed only when the server is no longer checked.
                    answers.send(asker.ask().await).unwrap_or_default();
                }));
            }
            Action::Verdict { up, reason } => {
                let Target {
                    backend, server, ..
                } = &self.asker.target;
                if up {
                    tracing::info!(backend, %server, reason, "server is up");
                } else {
                    tracing::warn!(backend, %server, reason, "server is down");
                }
                let verdict = Verdict {
                    backend: backend.clone(),
                    server: *server,
                    up,
                    reason,
                };
                // The standing changes first, because receivers of the verdict read it.
                let state = if up { State::Up } else { State::Down };
                self.tell
                    .send_modify(|check_state| check_state.state = state);
                // The error, that there is no receiver, does not matter.
                drop(self.verdicts.send(verdict));
            }
        }
    }

    fn publish(&mut self, machine: &Server) {
        let check_state = state_of(machine);
        self.tell
            .send_if_modified(|known| std::mem::replace(known, check_state.clone()) != check_state);
    }
}

/// Checks a server once, whatever its state.
pub async fn once(target: Target) -> Answer {
    Asker::new(target).ask().await
}

/// Makes the checks of one server, according to their kind.
struct Asker {
    target: Target,
    /// For checks over TLS; the error if their files cannot be used.
    speaker: Option<Result<Speaker, String>>,
}

impl Asker {
    fn new(target: Target) -> Self {
        let how = match &target.check.kind {
            Kind::Tls(tls) => Some(tls),
            Kind::Http(http) => http.tls.as_ref(),
            Kind::Probe(probe) => match &probe.over {
                Over::Tls(tls) => Some(tls),
                Over::Tcp | Over::Udp => None,
            },
            Kind::Tcp | Kind::Exec(_) => None,
        };
        let speaker = how.map(|tls| {
            let made = Speaker::new(tls, target.name.as_deref());
            made.map_err(|error| error.to_string())
        });
        Self { target, speaker }
    }

    async fn ask(&self) -> Answer {
        let limit = self.target.check.timeout;
        match timeout(limit, self.answer()).await {
            Ok(answer) => answer,
            Err(_) => Answer::Bad(format!("no answer within {limit:?}")),
        }
    }

    async fn answer(&self) -> Answer {
        let check = &self.target.check;
        let (mut server, mut proxy_protocol) = (self.target.server, self.target.proxy_protocol);
        if let Some(port) = check.port {
            server.set_port(port.get());
            proxy_protocol = None;
        }
        let way = Connector::new(server, proxy_protocol);
        let speaker = match self.speaker.as_ref().map(Result::as_ref).transpose() {
            Ok(speaker) => speaker,
            Err(why) => return Answer::Bad(why.clone()),
        };
        let found = match (&check.kind, speaker) {
            (Kind::Exec(exec), _) => return exec::check(exec, server).await,
            (Kind::Http(http), speaker) => http::check(http, speaker, way).await,
            (Kind::Probe(probe), speaker) => probe::check(probe, speaker, way).await,
            (Kind::Tls(_), Some(speaker)) => speaker.check(way).await,
            (Kind::Tcp | Kind::Tls(_), _) => tcp::check(way).await,
        };
        found.map_or_else(|answer| answer, Answer::Good)
    }
}
