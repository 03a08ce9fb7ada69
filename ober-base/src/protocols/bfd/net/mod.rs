//! The sockets of BFD, all on the real-time thread: a task for each session, one for each receiving socket, and one for the
//! handle's orders.
//!
//! `receive` and `send` have the sockets, `table` finds the session of a packet, `world` performs the actions of the machine.
//! It never decides the state of a session.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::{mpsc, oneshot, watch};

use self::{
    family::Family,
    receive::Receiver,
    table::{Entry, Table},
    world::{Input, World},
};
use super::{Drops, Event, Session, Settings, Snapshot, StateChange};
use crate::{
    machine::{
        drive::{self, drive_by},
        realtime::{Budget, Priority, Thread, Timer},
    },
    protocols::routers::Routers,
    system::random,
};

mod family;
mod receive;
mod send;
mod table;
mod world;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open UDP port {port} for BFD over {family}: {source}; is another BFD daemon running?")]
    Receive {
        family: Family,
        port: u16,
        source: io::Error,
    },
    #[error("prepare the BFD session with {peer}: {source}")]
    Session { peer: IpAddr, source: io::Error },
    #[error("reach BFD's thread: it has ended; restart the daemon")]
    Gone,
}

/// The identity of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    peer: IpAddr,
    local: Option<IpAddr>,
    interface: Option<String>,
}

impl Key {
    fn of(settings: &Settings) -> Self {
        Self {
            peer: settings.peer,
            local: settings.local,
            interface: settings.interface.clone(),
        }
    }
}

/// The last state of a session, and its failures to send.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub snapshot: Snapshot,
    pub failures: send::Failures,
}

/// All sessions at one moment.
#[derive(Clone, Debug)]
pub struct Overview {
    pub at: Instant,
    /// Does the thread run ahead of ordinary work (`SCHED_FIFO`)?
    pub realtime: bool,
    pub sessions: Vec<(Settings, View)>,
    /// Packets that belong to no session.
    pub strays: Drops,
    /// Packets that the kernel dropped before they could be read.
    pub dropped_by_the_kernel: u64,
}

/// A session and its state, for the handle.
#[derive(Clone, Debug)]
struct Shown {
    settings: Settings,
    view: watch::Receiver<View>,
}

#[derive(Debug)]
enum Command {
    /// Opens the sockets that these sessions need beside the existing ones.
    Prepare(Vec<Settings>, oneshot::Sender<Result<(), Error>>),
    Routers(Routers),
    /// A session that was to end has ended.
    Left,
    Set(Vec<Settings>, oneshot::Sender<Result<(), Error>>),
    AdminDown(oneshot::Sender<()>),
}

/// All sessions. When dropped they end without a packet to the peer; call [`Handle::admin_down`] first.
#[derive(Debug)]
pub struct Handle {
    orders: mpsc::UnboundedSender<Command>,
    shown: watch::Receiver<Vec<Shown>>,
    table: Arc<Mutex<Table>>,
    priority: Priority,
}

/// Starts BFD without any session, in the network namespace of the thread. State changes for clients go to `changes`.
pub fn start(thread: &Thread, changes: mpsc::UnboundedSender<StateChange>) -> Handle {
    let (orders, inbox) = mpsc::unbounded_channel();
    let (shows, shown) = watch::channel(Vec::new());
    let table = Arc::new(Mutex::new(Table::default()));
    let engine = Engine {
        changes,
        orders: orders.downgrade(),
        table: Arc::clone(&table),
        budget: thread.budget(),
        routers: Routers::default(),
        receivers: Vec::new(),
        prepared: Vec::new(),
        timers: Vec::new(),
        running: BTreeMap::new(),
        shows,
    };
    thread.spawn(engine.run(inbox));
    Handle {
        orders,
        shown,
        table,
        priority: thread.priority(),
    }
}

impl Handle {
    /// Opens the ports that these sessions need beside those of the current sessions, in place of what was prepared before.
    /// After an error nothing is prepared.
    pub async fn prepare(&self, sessions: Vec<Settings>) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.order(Command::Prepare(sessions, done))?;
        answer.await.map_err(|_gone| Error::Gone)?
    }

    /// Packets from other addresses are dropped.
    pub fn routers(&self, routers: Routers) -> Result<(), Error> {
        self.order(Command::Routers(routers))
    }

    /// Sets the sessions. New ones start; changed timers are negotiated while the session stays Up; removed ones send
    /// `AdminDown` to their peer, then end. Returns the first error; the sessions without one are set all the same.
    pub async fn set(&self, mut sessions: Vec<Settings>) -> Result<(), Error> {
        for settings in &mut sessions {
            let possible = settings.timers.on(self.priority);
            if possible != settings.timers {
                tracing::warn!(
                    peer = %settings.peer,
                    interval = ?possible.transmit.duration(),
                    "BFD is slower than configured: the real-time thread has no SCHED_FIFO; give the daemon CAP_SYS_NICE"
                );
                settings.timers = possible;
            }
        }
        let (done, answer) = oneshot::channel();
        self.order(Command::Set(sessions, done))?;
        answer.await.map_err(|_gone| Error::Gone)?
    }

    /// A planned stop: every peer gets `AdminDown`, so that it sees no failure in what follows. Returns when that is sent; the
    /// sessions go on sending it until the handle is dropped.
    pub async fn admin_down(&self) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.order(Command::AdminDown(done))?;
        answer.await.map_err(|_gone| Error::Gone)
    }

    pub fn overview(&self) -> Overview {
        let at = drive::now();
        let shown = self.shown.borrow();
        let sessions = shown
            .iter()
            .map(|shown| (shown.settings.clone(), *shown.view.borrow()));
        let table = lock(&self.table);
        Overview {
            at,
            realtime: self.priority == Priority::Realtime,
            sessions: sessions.collect(),
            strays: table.strays(),
            dropped_by_the_kernel: table.dropped_by_the_kernel(),
        }
    }

    fn order(&self, order: Command) -> Result<(), Error> {
        self.orders.send(order).map_err(|_gone| Error::Gone)
    }
}

/// The lock is held for a look-up, never across a wait. A panic elsewhere cannot leave the table half changed.
fn lock(table: &Mutex<Table>) -> std::sync::MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running session, for the engine.
#[derive(Debug)]
struct RunningSession {
    settings: Settings,
    inputs: mpsc::UnboundedSender<Input>,
    view: watch::Receiver<View>,
    leaving: bool,
}

struct Engine {
    changes: mpsc::UnboundedSender<StateChange>,
    orders: mpsc::WeakUnboundedSender<Command>,
    table: Arc<Mutex<Table>>,
    budget: Budget,
    routers: Routers,
    receivers: Vec<Receiver>,
    /// Prepared sessions, and a timer for each.
    prepared: Vec<Settings>,
    timers: Vec<Timer>,
    running: BTreeMap<Key, RunningSession>,
    shows: watch::Sender<Vec<Shown>>,
}

impl Engine {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        while let Some(order) = inbox.recv().await {
            match order {
                Command::Prepare(sessions, done) => {
                    let result = self.prepare(sessions);
                    self.tidy().await;
                    done.send(result).unwrap_or_default();
                }
                Command::Routers(routers) => {
                    self.routers = routers;
                    self.filter();
                }
                Command::Left => self.tidy().await,
                Command::Set(sessions, done) => {
                    let result = self.set(sessions);
                    (self.prepared, self.timers) = (Vec::new(), Vec::new());
                    self.tidy().await;
                    self.show();
                    // An error means that the caller no longer waits.
                    done.send(result).unwrap_or_default();
                }
                Command::AdminDown(done) => {
                    let notices: Vec<_> = self
                        .running
                        .values()
                        .filter_map(RunningSession::admin_down)
                        .collect();
                    for one in notices {
                        // An error means that the session has ended, and has nothing left to send.
                        one.await.unwrap_or_default();
                    }
                    done.send(()).unwrap_or_default();
                }
            }
        }
        for session in self.running.values() {
            session.end();
        }
    }

    fn set(&mut self, sessions: Vec<Settings>) -> Result<(), Error> {
        self.running
            .retain(|_, session| !session.inputs.is_closed());
        let wanted: BTreeMap<Key, Settings> = sessions
            .into_iter()
            .map(|settings| (Key::of(&settings), settings))
            .collect();
        for (key, session) in &mut self.running {
            if !wanted.contains_key(key) {
                session.leave();
            }
        }
        let mut first = Ok(());
        for (key, settings) in wanted {
            if let Err(error) = self.listen(&settings) {
                first = first.and(Err(error));
                continue;
            }
            match self.running.get_mut(&key) {
                Some(session) => session.configure(settings),
                None => first = first.and(self.begin(key, settings)),
            }
        }
        first
    }

    /// After an error nothing is prepared.
    fn prepare(&mut self, sessions: Vec<Settings>) -> Result<(), Error> {
        (self.prepared, self.timers) = (Vec::new(), Vec::new());
        for settings in &sessions {
            self.listen(settings)?;
            let timer = Timer::new().map_err(|source| Error::Session {
                peer: settings.peer,
                source,
            });
            self.timers.push(timer?);
        }
        self.prepared = sessions;
        Ok(())
    }

    fn begin(&mut self, key: Key, settings: Settings) -> Result<(), Error> {
        let failed = |source| Error::Session {
            peer: settings.peer,
            source,
        };
        let seeds = random::bytes::<16>().map_err(failed)?;
        let seed = u64::from_ne_bytes(seeds.first_chunk().copied().unwrap_or_default());
        let discriminator = lock(&self.table).unused(seed);
        let mut session = Session::new(drive::now(), &settings, discriminator, seed);
        let (inputs, inbox) = mpsc::unbounded_channel();
        let first = View {
            snapshot: session.snapshot(),
            failures: send::Failures::default(),
        };
        let (shows, view) = watch::channel(first);
        let mut world = World::new(&settings, inbox, self.changes.clone(), shows, seed);
        let mut timer = self
            .timers
            .pop()
            .map_or_else(Timer::new, Ok)
            .map_err(failed)?;
        lock(&self.table).add(Entry {
            key: key.clone(),
            discriminator,
            inputs: inputs.clone(),
        });
        let (table, orders) = (Arc::clone(&self.table), self.orders.clone());
        tokio::spawn(async move {
            drive_by(&mut timer, &mut session, &mut world).await;
            lock(&table).remove(discriminator);
            drop(world);
            if let Some(orders) = orders.upgrade() {
                // An error means that the engine has ended with the handle.
                orders.send(Command::Left).unwrap_or_default();
            }
        });
        let session = RunningSession {
            settings,
            inputs,
            view,
            leaving: false,
        };
        self.running.insert(key, session);
        Ok(())
    }

    /// Opens the ports that this session receives on.
    fn listen(&mut self, settings: &Settings) -> Result<(), Error> {
        let family = Family::of(settings.peer);
        for &hops in settings.mode.ports() {
            let there = |receiver: &Receiver| (receiver.family, receiver.hops) == (family, hops);
            if !self.receivers.iter().any(there) {
                let (table, budget) = (Arc::clone(&self.table), self.budget.clone());
                let receiver = Receiver::open(family, hops, table, budget)?;
                self.receivers.push(receiver);
            }
        }
        Ok(())
    }

    /// Closes sockets without a session, and has the kernel drop packets that are from no peer.
    async fn tidy(&mut self) {
        self.running
            .retain(|_, session| !session.inputs.is_closed());
        let mut closed = Vec::new();
        for receiver in std::mem::take(&mut self.receivers) {
            let running = self.running.values().map(|session| &session.settings);
            let mut all = running.chain(&self.prepared);
            if all.any(|settings| receiver.serves(settings)) {
                self.receivers.push(receiver);
            } else {
                closed.push(receiver);
            }
        }
        for receiver in closed {
            receiver.close().await;
        }
        self.filter();
    }

    fn filter(&self) {
        for receiver in &self.receivers {
            let running = self.running.values().map(|session| &session.settings);
            let mut senders: BTreeMap<IpAddr, u8> = BTreeMap::new();
            for settings in running.filter(|settings| receiver.serves(settings)) {
                if self.routers.allow(settings.peer) {
                    let least = senders.entry(settings.peer).or_insert(u8::MAX);
                    *least = (*least).min(settings.mode.min_ttl());
                }
            }
            receiver.hear(senders);
        }
    }

    fn show(&self) {
        let running = self.running.values().filter(|session| !session.leaving);
        let shown = running.map(|session| Shown {
            settings: session.settings.clone(),
            view: session.view.clone(),
        });
        self.shows.send_replace(shown.collect());
    }
}

impl RunningSession {
    fn tell(&self, event: Event) {
        // An error means that the session has ended.
        self.inputs.send(Input::Event(event)).unwrap_or_default();
    }

    fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.tell(Event::Leave);
        }
    }

    fn configure(&mut self, settings: Settings) {
        if self.leaving {
            self.tell(Event::Enable);
        }
        self.leaving = false;
        self.tell(Event::Configure {
            mode: settings.mode,
            timers: settings.timers,
            passive: settings.passive,
            hold_down: settings.hold_down,
        });
        self.settings = settings;
    }

    fn admin_down(&self) -> Option<oneshot::Receiver<()>> {
        let (done, answer) = oneshot::channel();
        let input = Input::Acknowledge(Event::AdminDown, done);
        self.inputs.send(input).is_ok().then_some(answer)
    }

    fn end(&self) {
        self.inputs.send(Input::End).unwrap_or_default();
    }
}
