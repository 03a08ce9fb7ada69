//! VRRP on the wire of one interface. Everything but the addresses runs on the real-time thread.
//!
//! ```text
//!            sockets -> post ---\                  /--> sockets (advertisements, claims)
//! Handle: gate, configure -------+-> instance ----+---> addresses, on a thread of its own
//!                  addresses ---/   (a machine each)
//! ```

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, atomic::Ordering},
};

use nix::ifaddrs::getifaddrs;
use tokio::{
    runtime,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use self::{
    addresses::{Keeper, Order},
    instance::{Counts, Instance, Note, Travel},
    log::Log,
    post::{Change, Post, Rejected, Senders},
    sockets::{Claims, Frames, Raw},
};
use super::{Event, Mac, Router, Settings, State, neighbour, packet::Vrid};
use crate::{
    config::vrrp::{self as config, Transport, Vrrp},
    drive::{drive_by, now},
    realtime::{Thread, Timer},
    status,
};

mod addresses;
mod instance;
mod log;
mod post;
mod sockets;

/// Why there is no VRRP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the interfaces of this node for VRRP: {source}")]
    Interfaces { source: io::Error },
    #[error(
        "VRRP on {interface}: there is no such Ethernet interface; set vrrp.interface to one of `ip -brief link`"
    )]
    Interface { interface: String },
    #[error(
        "VRRP on {interface}: it has no {family} address to advertise from; add one or set vrrp.source"
    )]
    Source {
        interface: String,
        family: &'static str,
    },
    #[error(
        "open a socket for VRRP on {interface}: {source}; it needs CAP_NET_RAW and CAP_NET_ADMIN"
    )]
    Socket {
        interface: String,
        source: io::Error,
    },
    #[error("start the keeper of VRRP's addresses: {source}")]
    Keeper { source: io::Error },
}

/// A virtual router on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    six: bool,
    vrid: Vrid,
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.six { 6 } else { 4 };
        write!(out, "{} (IPv{family})", self.vrid)
    }
}

/// What is known of the interface.
#[derive(Clone, Debug)]
struct Interface {
    name: String,
    index: u32,
    mac: Mac,
    addresses: Vec<IpAddr>,
}

impl Interface {
    fn find(name: &str) -> Result<Self, Error> {
        let missing = || Error::Interface {
            interface: name.to_owned(),
        };
        let all = getifaddrs().map_err(|errno| Error::Interfaces {
            source: errno.into(),
        })?;
        let index = nix::net::if_::if_nametoindex(name).map_err(|_| missing())?;
        let (mut mac, mut addresses) = (None, Vec::new());
        for entry in all.filter(|entry| entry.interface_name == name) {
            let Some(address) = entry.address else {
                continue;
            };
            mac = mac.or(address.as_link_addr().and_then(|link| link.addr()).map(Mac));
            let v4 = address.as_sockaddr_in().map(|it| IpAddr::from(it.ip()));
            let v6 = address.as_sockaddr_in6().map(|it| it.ip().into());
            addresses.extend(v4.or(v6));
        }
        Ok(Self {
            name: name.to_owned(),
            index,
            mac: mac.ok_or_else(missing)?,
            addresses,
        })
    }

    /// Where advertisements of a family come from. Over IPv6 the group is spoken to from a link-local address (RFC
    /// 9568 section 5.1.2.1), and so are peers at such addresses.
    fn source(&self, config: &Vrrp, six: bool) -> Result<IpAddr, Error> {
        let vips: Vec<IpAddr> = config
            .instances
            .iter()
            .flat_map(config::Instance::held)
            .collect();
        let link_local = match &config.transport {
            Transport::Multicast => true,
            Transport::Unicast(peers) => peers.iter().any(|peer| is_link_local(peer.address)),
        };
        let suits = |address: &&IpAddr| {
            address.is_ipv6() == six
                && !vips.contains(address)
                && (!six || is_link_local(**address) == link_local)
        };
        let written = config.sources.iter().find(suits);
        let source = written.or_else(|| self.addresses.iter().find(suits));
        source.copied().ok_or_else(|| Error::Source {
            interface: self.name.clone(),
            family: match (six, link_local) {
                (false, _) => "IPv4",
                (true, true) => "link-local IPv6",
                (true, false) => "global IPv6",
            },
        })
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(&address),
    }
}

/// One virtual router that runs.
struct Running {
    settings: Settings,
    vips: Vec<IpAddr>,
    excluded: Vec<IpAddr>,
    notes: mpsc::UnboundedSender<Note>,
    addresses: watch::Sender<Vec<IpAddr>>,
    seen: watch::Receiver<Router>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// VRRP on one interface. Dropped, it falls silent: the backups take over, and the addresses expire.
pub struct Handle {
    runtime: runtime::Handle,
    config: Vrrp,
    gates: BTreeMap<IpAddr, bool>,
    log: Log,
    link: Link,
}

/// All that belongs to one interface and one way to travel.
struct Link {
    interface: Interface,
    v4: Option<Arc<Travel>>,
    v6: Option<Arc<Travel>>,
    changes: mpsc::UnboundedSender<Change>,
    keeper: Keeper,
    rejected: Arc<Rejected>,
    routers: BTreeMap<Key, Running>,
}

/// Starts VRRP on the thread, in the network namespace of the caller and from within a runtime, which writes the log.
/// Every gate is closed. VIPs of this configuration that are on the node are removed: nobody has them yet.
pub fn start(thread: &Thread, config: &Vrrp) -> Result<Handle, Error> {
    let runtime = {
        let _inside = thread.enter();
        runtime::Handle::current()
    };
    let log = Log::start();
    let link = Link::open(&runtime, config, &log)?;
    let mut handle = Handle {
        runtime,
        config: config.clone(),
        gates: BTreeMap::new(),
        log,
        link,
    };
    handle.apply();
    Ok(handle)
}

impl Handle {
    /// May this node serve the VIP? A virtual router takes part while all its VIPs may be served.
    pub fn gate(&mut self, vip: IpAddr, open: bool) {
        self.gates.insert(vip, open);
        for running in self.link.routers.values() {
            if running.vips.contains(&vip) {
                running.gate(&self.gates);
            }
        }
    }

    /// Follows another configuration: what is the same goes on undisturbed. Another interface, source or transport
    /// means that everything leaves and starts anew.
    pub fn configure(&mut self, config: &Vrrp) -> Result<(), Error> {
        let kept = self.config.same_link(config)
            && Interface::find(&config.interface)?.index == self.link.interface.index;
        if kept {
            self.config = config.clone();
            self.link.travel(config)?;
        } else {
            let link = Link::open(&self.runtime, config, &self.log)?;
            let old = std::mem::replace(&mut self.link, link);
            self.config = config.clone();
            // It ends on its own, addresses and all.
            self.runtime.spawn(old.leave());
        }
        self.apply();
        Ok(())
    }

    pub fn status(&self) -> status::vrrp::Vrrp {
        let routers = self.link.routers.iter();
        status::vrrp::Vrrp {
            routers: routers.map(|(key, running)| running.status(*key)).collect(),
            rejected: self.link.rejected.by_reason(),
        }
    }

    /// Resigns everywhere and returns once the addresses are gone.
    pub async fn stop(self) {
        self.link.leave().await;
    }

    /// Makes the virtual routers those of the configuration.
    fn apply(&mut self) {
        let wanted: BTreeMap<Key, &config::Instance> = self
            .config
            .instances
            .iter()
            .map(|instance| (key(instance), instance))
            .collect();
        let gone = self
            .link
            .routers
            .keys()
            .filter(|key| !wanted.contains_key(key));
        for key in gone.copied().collect::<Vec<_>>() {
            self.link.end(&self.runtime, key);
        }
        for (key, instance) in wanted {
            let travel = if key.six {
                &self.link.v6
            } else {
                &self.link.v4
            };
            let Some(source) = travel.as_ref().map(|travel| travel.source) else {
                continue;
            };
            let settings = self.config.settings(instance, source);
            let running = self.link.routers.get(&key);
            let same = running.is_some_and(|running| {
                running.settings.version == settings.version && running.settings.own == settings.own
            });
            if same {
                self.link.reset(key, instance, settings);
            } else {
                self.link.end(&self.runtime, key);
                self.link
                    .begin(&self.runtime, &self.log, key, instance, settings);
            }
        }
        for running in self.link.routers.values() {
            running.gate(&self.gates);
        }
    }
}

fn key(instance: &config::Instance) -> Key {
    Key {
        six: instance.is_ipv6(),
        vrid: instance.vrid,
    }
}

impl Running {
    fn gate(&self, gates: &BTreeMap<IpAddr, bool>) {
        let open = self
            .vips
            .iter()
            .all(|vip| gates.get(vip).copied().unwrap_or_default());
        self.tell(Note::Event(Event::Gate(open)));
    }

    fn tell(&self, note: Note) {
        // It ends only when it is told to.
        self.notes.send(note).unwrap_or_default();
    }

    fn status(&self, key: Key) -> status::vrrp::Router {
        let router = self.seen.borrow().clone();
        let now = now();
        let ago = |at| now.saturating_duration_since(at).as_secs();
        let history = router.history().rev();
        let transitions = history.map(|entered| status::vrrp::Transition {
            seconds: ago(entered.at),
            state: entered.to.to_owned(),
            reason: entered.why.to_string(),
        });
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let master = router.master();
        status::vrrp::Router {
            vrid: key.vrid.0.get(),
            version: self.settings.version.number(),
            vips: self.vips.clone(),
            excluded: self.excluded.clone(),
            state: router.state().name().to_owned(),
            transitions: transitions.collect(),
            priority: self.settings.priority,
            master: master.map(|(address, _)| address),
            master_priority: master.map(|(_, priority)| priority),
            addresses_present: matches!(router.state(), State::Master { held: true, .. }),
            sent: count(&self.counts.sent),
            unsent: count(&self.counts.unsent),
            received: count(&self.counts.received),
            resignations_sent: count(&self.counts.resignations_sent),
            resignations_received: count(&self.counts.resignations_received),
            claims_sent: count(&self.counts.claims_sent),
            transitions_to_master: router.won(),
            late_timers: router.late(),
            conflicts: router.conflicts(),
            conflict: router
                .conflict()
                .map(|(at, conflict)| status::vrrp::Conflict {
                    seconds: ago(at),
                    what: conflict.to_string(),
                }),
        }
    }
}

impl Link {
    fn open(runtime: &runtime::Handle, config: &Vrrp, log: &Log) -> Result<Self, Error> {
        let interface = Interface::find(&config.interface)?;
        let error = |source| Error::Socket {
            interface: interface.name.clone(),
            source,
        };
        let _inside = runtime.enter();
        let group = matches!(config.transport, Transport::Multicast);
        let frames = Arc::new(Frames::open(&interface).map_err(error)?);
        let travel = |six| -> Result<Option<Arc<Travel>>, Error> {
            if !config
                .instances
                .iter()
                .any(|instance| instance.is_ipv6() == six)
            {
                return Ok(None);
            }
            let raw = Raw::open(&interface, six, group).map_err(error)?;
            let source = interface.source(config, six)?;
            Ok(Some(Arc::new(Travel {
                raw: Arc::new(raw),
                frames: frames.clone(),
                source,
                peers: config.peers(six),
                coverage: config.coverage,
                mac: interface.mac,
                virtual_mac: config.virtual_mac,
            })))
        };
        let (v4, v6) = (travel(false)?, travel(true)?);
        let stale = config.instances.iter().flat_map(config::Instance::held);
        let keeper = Keeper::start(interface.clone(), stale.collect(), log.clone())
            .map_err(|source| Error::Keeper { source })?;
        let (changes, inbox) = mpsc::unbounded_channel();
        let rejected = Arc::new(Rejected::default());
        let raw = |travel: &Option<Arc<Travel>>| travel.as_ref().map(|it| it.raw.clone());
        let post = Post {
            changes: inbox,
            senders: senders(config),
            coverage: config.coverage,
            v4: raw(&v4),
            v6: raw(&v6),
            arp: v4
                .is_some()
                .then(|| Claims::arp(&interface))
                .transpose()
                .map_err(error)?,
            advertisements: v6
                .is_some()
                .then(|| Claims::advertisements(&interface))
                .transpose()
                .map_err(error)?,
            mac: interface.mac,
            rejected: rejected.clone(),
            log: log.clone(),
        };
        runtime.spawn(post.run());
        Ok(Self {
            interface,
            v4,
            v6,
            changes,
            keeper,
            rejected,
            routers: BTreeMap::new(),
        })
    }

    /// Other peers or checksums, on the same sockets.
    fn travel(&mut self, config: &Vrrp) -> Result<(), Error> {
        for (six, place) in [(false, &mut self.v4), (true, &mut self.v6)] {
            let Some(old) = place.take() else {
                continue;
            };
            let new = Arc::new(Travel {
                raw: old.raw.clone(),
                frames: old.frames.clone(),
                source: self.interface.source(config, six).unwrap_or(old.source),
                peers: config.peers(six),
                coverage: config.coverage,
                ..*old
            });
            for (_, running) in self.routers.iter().filter(|(key, _)| key.six == six) {
                running.tell(Note::Travel(new.clone()));
            }
            *place = Some(new);
        }
        self.change(Change::Senders(senders(config), config.coverage));
        Ok(())
    }

    fn change(&self, change: Change) {
        // The post lives as long as this.
        self.changes.send(change).unwrap_or_default();
    }

    fn begin(
        &mut self,
        runtime: &runtime::Handle,
        log: &Log,
        key: Key,
        instance: &config::Instance,
        settings: Settings,
    ) {
        let travel = if key.six { &self.v6 } else { &self.v4 };
        let Some(travel) = travel.clone() else {
            return;
        };
        let mut router = Router::new(now(), settings.clone());
        let (notes, inbox) = mpsc::unbounded_channel();
        let (seen, watching) = watch::channel(router.clone());
        let (addresses, held) = watch::channel(instance.held());
        let counts = Arc::new(Counts::default());
        let mut world = Instance {
            key,
            inbox,
            travel,
            addresses: held,
            keeper: self.keeper.orders(),
            seen,
            counts: counts.clone(),
            log: log.clone(),
            told: None,
            failing: false,
        };
        let task = runtime.spawn(async move {
            match Timer::new() {
                Ok(mut timer) => drive_by(&mut timer, &mut router, &mut world).await,
                Err(error) => world
                    .log
                    .say(log::Line::Unsent(key, format!("no timer: {error}"))),
            }
        });
        let running = Running {
            settings,
            vips: instance.vips.clone(),
            excluded: instance.excluded.clone(),
            notes,
            addresses,
            seen: watching,
            counts,
            task,
        };
        self.join(key, &running, instance);
        self.routers.insert(key, running);
    }

    /// Tells post and keeper of a virtual router, or of its new addresses.
    fn join(&self, key: Key, running: &Running, instance: &config::Instance) {
        let travel = if key.six { &self.v6 } else { &self.v4 };
        let virtual_mac = travel.as_ref().is_some_and(|travel| travel.virtual_mac);
        let member = addresses::Member {
            addresses: instance.held(),
            virtual_mac: virtual_mac.then(|| neighbour::virtual_mac(key.vrid, key.six)),
            notes: running.notes.clone(),
        };
        self.keeper.send(Order::Join(key, member));
        let member = post::Member {
            version: running.settings.version,
            addresses: instance.held(),
            notes: running.notes.clone(),
            counts: running.counts.clone(),
        };
        self.change(Change::Join(key, member));
    }

    fn reset(&mut self, key: Key, instance: &config::Instance, settings: Settings) {
        let Some(mut running) = self.routers.remove(&key) else {
            return;
        };
        let held = instance.held();
        let same = *running.addresses.borrow() == held;
        if !same {
            running.addresses.send_replace(held);
            self.join(key, &running, instance);
        }
        if !same || running.settings != settings {
            running.settings = settings.clone();
            running.vips.clone_from(&instance.vips);
            running.excluded.clone_from(&instance.excluded);
            running.tell(Note::Event(Event::Configure(settings)));
        }
        self.routers.insert(key, running);
    }

    /// The virtual router resigns, its addresses leave.
    fn end(&mut self, runtime: &runtime::Handle, key: Key) {
        let Some(running) = self.routers.remove(&key) else {
            return;
        };
        self.change(Change::Leave(key));
        running.tell(Note::Event(Event::Gate(false)));
        running.tell(Note::End);
        let keeper = self.keeper.orders();
        runtime.spawn(async move {
            running.task.await.unwrap_or_default();
            keeper.send(Order::Leave(key)).unwrap_or_default();
        });
    }

    async fn leave(mut self) {
        for running in self.routers.values() {
            running.tell(Note::Event(Event::Gate(false)));
            running.tell(Note::End);
        }
        for (key, running) in std::mem::take(&mut self.routers) {
            // A task that was aborted has ended too.
            running.task.await.unwrap_or_default();
            self.keeper.send(Order::Leave(key));
        }
        self.keeper.flushed().await;
    }
}

fn senders(config: &Vrrp) -> Senders {
    match &config.transport {
        Transport::Multicast => Senders::Group,
        Transport::Unicast(peers) => {
            let peers = peers.iter();
            Senders::Peers(peers.map(|peer| (peer.address, peer.ttl.clone())).collect())
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for running in self.routers.values() {
            running.task.abort();
        }
    }
}
