//! The sockets of BGP: one task for each neighbour, one for each listening address, and the handle on all of them.
//!
//! `listen` accepts, `socket` makes sockets with the options of a neighbour, `link` is one TCP connection, `world` performs the
//! actions of the machine. It never decides the state of a session.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use self::{
    listen::{Guests, ListeningSocket},
    world::{Command, Neighbour},
};
use super::{
    connection,
    event::{Event, Path, Report},
    message::Notification,
    peering::Peering,
    policy,
    rib::Routes,
};
use crate::{
    machine::drive,
    protocols::{
        bgp::configured::{self, Bgp},
        standing::Standing,
    },
};

mod link;
mod listen;
mod socket;
mod world;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "look for an IPv4 address to take as BGP identifier: {source}; write `router_id` in [bgp]"
    )]
    Addresses { source: io::Error },
    #[error("this node has no IPv4 address to take as BGP identifier; write `router_id` in [bgp]")]
    NoIdentifier,
    #[error(
        "listen for BGP on {at}: {source}; is another BGP speaker running, or change `listen` in [bgp]"
    )]
    Listen { at: SocketAddr, source: io::Error },
    #[error("limit the segments of BGP connections to {at}: {source}; leave `mss` out")]
    Clamp { at: SocketAddr, source: io::Error },
    #[error(
        "sign BGP connections of {neighbour} with its password: {source}; the kernel needs CONFIG_TCP_MD5SIG, and for many \
         passwords a larger net.core.optmem_max"
    )]
    Sign {
        neighbour: IpAddr,
        source: io::Error,
    },
}

/// Starts BGP with all neighbours. VIPs are announced after [`Handle::stand`]. Listening sockets are made in the network namespace
/// of the calling thread, others in that of the current runtime's threads.
pub fn start(config: &Bgp) -> Result<Handle, Error> {
    let handle = idle(config);
    handle.configure(config)?;
    Ok(handle)
}

/// Connects to no neighbour and listens nowhere until it is configured.
pub fn idle(config: &Bgp) -> Handle {
    let (guests, _) = watch::channel(Guests::new());
    Handle {
        speaker: Mutex::new(Speaker {
            runtime: runtime::Handle::current(),
            config: config.clone(),
            id: Ipv4Addr::UNSPECIFIED,
            standings: BTreeMap::new(),
            settled: false,
            neighbours: BTreeMap::new(),
            sockets: BTreeMap::new(),
            guests,
            strangers: Arc::default(),
            leaving: Vec::new(),
        }),
    }
}

/// The speaker. Dropped without [`Handle::stop`], every session ends without a NOTIFICATION, as after a crash of the daemon.
#[derive(Debug)]
pub struct Handle {
    speaker: Mutex<Speaker>,
}

impl Handle {
    fn speaker(&self) -> MutexGuard<'_, Speaker> {
        // A panic leaves no half change that matters: everything is sent by value.
        self.speaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a configuration. Only a changed key that a session is made of ends sessions, and only those it concerns. After
    /// an error the neighbours are as before.
    pub fn configure(&self, config: &Bgp) -> Result<(), Error> {
        let prepared = self.prepare(config)?;
        self.commit(prepared)
    }

    /// Does every part of a change that can fail. No neighbour notices, and dropping the result undoes it.
    pub fn prepare(&self, config: &Bgp) -> Result<Prepared, Error> {
        self.speaker().prepare(config)
    }

    /// Makes the change.
    pub fn commit(&self, prepared: Prepared) -> Result<(), Error> {
        self.speaker().commit(prepared)
    }

    /// Sets the standing of a VIP. The UPDATEs are sent when the neighbours' tasks run.
    pub fn stand(&self, vip: IpAddr, standing: Standing) {
        let mut speaker = self.speaker();
        if speaker.standings.insert(vip, standing) != Some(standing) {
            speaker.announce();
        }
    }

    /// Forgets a VIP, which withdraws it.
    pub fn forget(&self, vip: IpAddr) {
        let mut speaker = self.speaker();
        if speaker.standings.remove(&vip).is_some() {
            speaker.announce();
        }
    }

    /// Every VIP has its first verdict: End-of-RIB may be sent.
    pub fn settled(&self) {
        let mut speaker = self.speaker();
        speaker.settled = true;
        speaker.tell_all(|| Command::Event(Event::Settled));
    }

    /// Reports BFD's state of the path to a neighbour.
    pub fn bfd(&self, neighbour: IpAddr, path: Path) {
        let speaker = self.speaker();
        let watched = speaker.neighbours.get(&neighbour);
        if let Some(running) = watched.filter(|it| it.settings.bfd.is_some()) {
            running.tell(Command::Event(Event::Bfd(path)));
        }
    }

    /// Returns when all earlier decisions have been written to the sockets of all sessions.
    pub async fn flushed(&self) {
        let mut waits = Vec::new();
        for running in self.speaker().neighbours.values() {
            let (flushed, wait) = oneshot::channel();
            running.tell(Command::Flush(flushed));
            waits.push(wait);
        }
        for wait in waits {
            // An error means that the task and its sessions have ended.
            wait.await.unwrap_or_default();
        }
    }

    pub fn overview(&self) -> Overview {
        let speaker = self.speaker();
        let all = speaker.neighbours.values();
        Overview {
            at: drive::now(),
            neighbours: all
                .map(|it| (it.settings.clone(), it.reports.borrow().clone()))
                .collect(),
        }
    }

    /// Number of connections from addresses that belong to no neighbour.
    pub fn strangers(&self) -> u64 {
        self.speaker().strangers.load(Ordering::Relaxed)
    }

    /// Withdraws everything, waits until that is written, and ends every session with this text (RFC 9003), for good.
    pub async fn stop(&self, message: &str) {
        {
            let mut speaker = self.speaker();
            speaker.standings.clear();
            speaker.announce();
        }
        self.flushed().await;
        let tasks = self.speaker().end(&Notification::shutdown(message));
        for task in tasks {
            // A task that panicked has no sessions any more.
            task.await.unwrap_or_default();
        }
    }
}

/// The neighbours at one moment, in the order of their addresses.
#[derive(Clone, Debug)]
pub struct Overview {
    pub at: Instant,
    pub neighbours: Vec<(configured::Neighbour, Report)>,
}

/// One neighbour's task.
#[derive(Debug)]
struct Running {
    settings: configured::Neighbour,
    machine: connection::Settings,
    commands: mpsc::UnboundedSender<Command>,
    reports: watch::Receiver<Report>,
    /// The routes that its task got last.
    routes: Arc<Routes>,
    task: JoinHandle<()>,
}

impl Running {
    fn tell(&self, command: Command) {
        // The task ends only after [`Command::End`].
        self.commands.send(command).unwrap_or_default();
    }

    /// Applies changes that do not end the session.
    fn configure(&mut self, settings: &configured::Neighbour, machine: connection::Settings) {
        if self.settings != *settings || self.machine != machine {
            let change = (settings.clone(), machine.clone());
            self.tell(Command::Configure(Box::new(change)));
            self.settings = settings.clone();
            self.machine = machine;
        }
    }

    fn end(self, notification: Notification) -> JoinHandle<()> {
        self.tell(Command::End(notification));
        self.task
    }
}

#[derive(Debug)]
struct Speaker {
    runtime: runtime::Handle,
    config: Bgp,
    id: Ipv4Addr,
    standings: BTreeMap<IpAddr, Standing>,
    settled: bool,
    neighbours: BTreeMap<IpAddr, Running>,
    sockets: BTreeMap<SocketAddr, ListeningSocket>,
    guests: watch::Sender<Guests>,
    strangers: Arc<AtomicU64>,
    /// Tasks that are still sending their last messages.
    leaving: Vec<JoinHandle<()>>,
}

impl Drop for Speaker {
    fn drop(&mut self) {
        for running in self.neighbours.values() {
            running.task.abort();
        }
    }
}

/// A change whose parts that can fail are done.
#[derive(Debug)]
pub struct Prepared {
    config: Bgp,
    id: Ipv4Addr,
    /// Listening sockets that are new.
    sockets: BTreeMap<SocketAddr, ListeningSocket>,
}

impl Speaker {
    fn prepare(&self, config: &Bgp) -> Result<Prepared, Error> {
        let id = match config.router_id {
            Some(id) => id,
            // The router id stays once it is chosen: a new one would end every session.
            None if !self.id.is_unspecified() => self.id,
            None => socket::router_id()
                .map_err(|source| Error::Addresses { source })?
                .ok_or(Error::NoIdentifier)?,
        };
        let _inside = self.runtime.enter();
        self.try_options(config)?;
        Ok(Prepared {
            config: config.clone(),
            id,
            sockets: self.open_sockets(config)?,
        })
    }

    fn commit(&mut self, prepared: Prepared) -> Result<(), Error> {
        let Prepared {
            config,
            id,
            sockets,
        } = prepared;
        let runtime = self.runtime.clone();
        let _inside = runtime.enter();
        self.sockets.retain(|at, _| config.listen.contains(at));
        self.sockets.extend(sockets);
        // Done before a neighbour may connect.
        let stays = |address: &IpAddr| config.neighbours.iter().any(|it| it.address == *address);
        let gone: Vec<IpAddr> = self
            .neighbours
            .keys()
            .filter(|address| !stays(address))
            .copied()
            .collect();
        for (at, socket) in &mut self.sockets {
            equip(&*socket.listener, *at, &gone, &config.neighbours)?;
            socket.answer(&self.guests, &self.strangers);
        }
        self.id = id;
        self.config = config;
        self.leaving.retain(|task| !task.is_finished());
        self.replace_neighbours();
        self.announce();
        Ok(())
    }

    /// Opens the listening sockets that are new.
    fn open_sockets(&self, config: &Bgp) -> Result<BTreeMap<SocketAddr, ListeningSocket>, Error> {
        let closed = config
            .listen
            .iter()
            .filter(|at| !self.sockets.contains_key(at));
        let open = closed.map(|&at| {
            let failed = |source| Error::Listen { at, source };
            let socket = socket::bound(at).map_err(failed)?;
            // Done before a neighbour can connect.
            equip(&socket, at, &[], &config.neighbours)?;
            Ok((at, ListeningSocket::open(socket).map_err(failed)?))
        });
        open.collect()
    }

    /// Does the kernel accept the options of the sockets that stay open? Tried on sockets that no neighbour can connect to,
    /// because those in use are not touched before the change is made.
    fn try_options(&self, config: &Bgp) -> Result<(), Error> {
        for v4 in [true, false] {
            let mut stay = self.sockets.keys().filter(|at| config.listen.contains(at));
            if let Some(&at) = stay.find(|at| at.is_ipv4() == v4) {
                let blank = socket::blank(v4).map_err(|source| Error::Listen { at, source })?;
                equip(&blank, at, &[], &config.neighbours)?;
            }
        }
        Ok(())
    }

    /// Ends the tasks of neighbours that are removed or need another session, sends the other changes to the rest, and starts
    /// the new ones.
    fn replace_neighbours(&mut self) {
        let wanted: BTreeMap<IpAddr, configured::Neighbour> = {
            let all = self.config.neighbours.iter();
            all.map(|it| (it.address, it.clone())).collect()
        };
        for (address, mut running) in std::mem::take(&mut self.neighbours) {
            let goodbye = match wanted.get(&address) {
                None => Notification::DECONFIGURED,
                Some(settings)
                    if self.id != running.machine.id
                        || !settings.session_differs(&running.settings).is_empty() =>
                {
                    Notification::CONFIGURATION_CHANGED
                }
                Some(settings) => {
                    let machine = self.machine(settings);
                    running.configure(settings, machine);
                    self.neighbours.insert(address, running);
                    continue;
                }
            };
            self.leaving.push(running.end(goodbye));
        }
        for (address, settings) in wanted {
            if !self.neighbours.contains_key(&address) {
                let running = self.run(settings);
                self.neighbours.insert(address, running);
            }
        }
        let guests = self.neighbours.iter().map(|(address, running)| {
            (
                *address,
                (running.settings.clone(), running.commands.clone()),
            )
        });
        self.guests.send_replace(guests.collect());
    }

    fn machine(&self, neighbour: &configured::Neighbour) -> connection::Settings {
        connection::Settings {
            local_as: neighbour.local_as,
            remote: neighbour.remote,
            id: self.id,
            passive: neighbour.passive,
            hold_time: neighbour.hold_time,
            keepalive: neighbour.keepalive,
            connect_retry: neighbour.connect_retry,
            delay_open: neighbour.delay_open,
            families: neighbour.families.clone(),
            extended_next_hop: neighbour.extended_next_hop,
            max_prefixes: neighbour.max_prefixes,
            strict: neighbour.bfd.as_ref().is_some_and(|bfd| bfd.strict),
            settle: self.config.settle,
        }
    }

    fn run(&self, settings: configured::Neighbour) -> Running {
        let machine = self.machine(&settings);
        let seed = seed(&settings);
        let mut peering = Peering::new(drive::now(), machine.clone(), seed);
        let (commands, inbox) = mpsc::unbounded_channel();
        let (tell, reports) = watch::channel(peering.report());
        let mut world = Neighbour::new(settings.clone(), inbox, tell);
        let task = tokio::spawn(async move { drive::drive(&mut peering, &mut world).await });
        let running = Running {
            settings,
            machine,
            commands,
            reports,
            routes: Arc::default(),
            task,
        };
        if self.settled {
            running.tell(Command::Event(Event::Settled));
        }
        running.tell(Command::Event(Event::Start));
        running
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        self.neighbours
            .values()
            .for_each(|running| running.tell(command()));
    }

    /// Tells all tasks to end with this NOTIFICATION, and returns them.
    fn end(&mut self, notification: &Notification) -> Vec<JoinHandle<()>> {
        self.sockets.clear();
        let all = std::mem::take(&mut self.neighbours).into_values();
        let ends = all.map(|running| running.end(notification.clone()));
        std::mem::take(&mut self.leaving)
            .into_iter()
            .chain(ends)
            .collect()
    }

    /// Sends each neighbour's task its routes, if they have changed.
    fn announce(&mut self) {
        for (address, running) in &mut self.neighbours {
            let routes = policy::routes(&self.config, *address, &self.standings);
            if routes != *running.routes {
                running.routes = Arc::new(routes);
                running.tell(Command::Event(Event::Routes(running.routes.clone())));
            }
        }
    }
}

/// Sets passwords and segment sizes of a listening socket. Old passwords go first: the kernel has limited room for them.
fn equip(
    listener: &impl AsFd,
    at: SocketAddr,
    gone: &[IpAddr],
    neighbours: &[configured::Neighbour],
) -> Result<(), Error> {
    let v4 = at.is_ipv4();
    let gone = gone.iter().map(|address| (*address, None));
    let stay = neighbours
        .iter()
        .map(|it| (it.address, it.password.as_ref()));
    for (neighbour, password) in gone.chain(stay) {
        let signed = socket::sign(listener, v4, neighbour, password);
        signed.map_err(|source| Error::Sign { neighbour, source })?;
    }
    let clamped = socket::clamp(listener, v4, neighbours);
    clamped.map_err(|source| Error::Clamp { at, source })
}

/// Any number that differs between neighbours and between starts.
fn seed(settings: &configured::Neighbour) -> u64 {
    use std::hash::BuildHasher as _;
    std::hash::RandomState::new().hash_one(settings.address)
}
