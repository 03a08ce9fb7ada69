//! The virtual routers of one interface, and what they share.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    super::{Event, Mac, Router, Settings, neighbour},
    Error, Key, LinkContext,
    addresses::{self, AddressCommand, AddressKeeper},
    filters::{Naming, Wanted},
    interface::Interface,
    key,
    log::{Line, Log},
    note::{Counts, Note, Travel},
    receive::{self, FamilySockets, Receiver, ReceiverCommand, Rejected, Senders},
    running::Running,
    sockets::{Claims, Frames, Raw},
    world::Instance,
};
use crate::{
    machine::{
        drive::{drive_by, now},
        realtime::Timer,
    },
    protocols::{
        filter::Block,
        routers::Routers,
        vrrp::configured::{self, Transport, Vrrp},
    },
};

/// Everything of one interface and one transport.
pub(super) struct Link {
    pub(super) interface: Interface,
    pub(super) v4: Option<Arc<Travel>>,
    pub(super) v6: Option<Arc<Travel>>,
    changes: mpsc::UnboundedSender<ReceiverCommand>,
    keeper: AddressKeeper,
    frames: Arc<Frames>,
    wanted: watch::Receiver<Arc<Wanted>>,
    pub(super) rejected: Arc<Rejected>,
    pub(super) routers: BTreeMap<Key, Running>,
    /// Present until it begins to receive.
    receiver: Option<Receiver>,
}

/// The sockets of one family, not yet in use.
#[derive(Debug)]
struct Opened {
    travel: Arc<Travel>,
    sockets: FamilySockets,
}

impl Opened {
    /// Accepts no router yet.
    fn family(
        place: &LinkContext,
        interface: &Interface,
        config: &Vrrp,
        frames: &Arc<Frames>,
        six: bool,
    ) -> Result<Self, Error> {
        let error = |source| Error::Socket {
            interface: interface.name.clone(),
            source,
        };
        let source = interface.source(config, six, None)?;
        let group = matches!(config.transport, Transport::Multicast);
        let deaf = |runtime: &runtime::Handle| {
            let _inside = runtime.enter();
            let raw = Raw::open(interface, six, group)?;
            raw.filter(&[Block::discard()])?;
            Ok(Arc::new(raw))
        };
        let raw = deaf(&place.realtime).map_err(error)?;
        // The real-time thread must not be woken by this socket.
        let strangers = deaf(&place.ordinary).map_err(error)?;
        strangers.little_room().map_err(error)?;
        let _inside = place.realtime.enter();
        let claims = if six {
            Claims::advertisements(interface)
        } else {
            Claims::arp(interface)
        };
        let claims = claims.map_err(error)?;
        claims.filter(Block::discard()).map_err(error)?;
        let travel = Arc::new(Travel {
            raw: raw.clone(),
            frames: frames.clone(),
            source,
            peers: config.peers(six),
            coverage: config.coverage,
            mac: interface.mac,
            virtual_mac: config.virtual_mac,
        });
        let sockets = FamilySockets {
            raw,
            strangers,
            naming: None,
            claims,
        };
        Ok(Self { travel, sockets })
    }
}

/// The prepared parts of another configuration on the same link.
#[derive(Debug)]
pub(super) struct Next {
    /// The interface at present: its addresses may have changed since the link was opened.
    interface: Interface,
    further: Vec<Interface>,
    /// Families that are new.
    opened: [Option<Opened>; 2],
}

fn has(config: &Vrrp, six: bool) -> bool {
    let mut instances = config.instances.iter();
    instances.any(|instance| instance.is_ipv6() == six)
}

impl Link {
    /// Nothing is sent, received or changed before [`Link::receive`].
    pub(super) fn open(place: &LinkContext, config: &Vrrp) -> Result<Self, Error> {
        let interface = Interface::of(config)?;
        let further = Interface::further(config)?;
        let frames = Frames::open(&interface).map_err(|source| Error::Socket {
            interface: interface.name.clone(),
            source,
        });
        let frames = Arc::new(frames?);
        let family = |six| {
            has(config, six)
                .then(|| Opened::family(place, &interface, config, &frames, six))
                .transpose()
        };
        let (v4, v6) = (family(false)?, family(true)?);
        let own = own(&interface, &further);
        let keeper = AddressKeeper::start(
            interface.clone(),
            further,
            config,
            frames.clone(),
            place.sysctls.clone(),
            place.log.clone(),
        )?;
        let (changes, inbox) = mpsc::unbounded_channel();
        let rejected = Arc::new(Rejected::default());
        let travel = |opened: &Option<Opened>| opened.as_ref().map(|it| it.travel.clone());
        let travels = (travel(&v4), travel(&v6));
        let wanted = Wanted {
            senders: senders(config),
            routers: place.routers.clone(),
            vrids: BTreeSet::new(),
        };
        let (wanted, watching) = watch::channel(Arc::new(wanted));
        let receiver = Receiver {
            changes: inbox,
            wanted,
            budget: place.budget.clone(),
            coverage: config.coverage,
            v4: v4.map(|it| it.sockets),
            v6: v6.map(|it| it.sockets),
            own,
            rejected: rejected.clone(),
            log: place.log.clone(),
        };
        Ok(Self {
            interface,
            v4: travels.0,
            v6: travels.1,
            changes,
            keeper,
            frames,
            wanted: watching,
            rejected,
            routers: BTreeMap::new(),
            receiver: Some(receiver),
        })
    }

    pub(super) fn receive(&mut self, place: &LinkContext) {
        if let Some(mut receiver) = self.receiver.take() {
            for sockets in receiver.v4.iter_mut().chain(&mut receiver.v6) {
                self.name_strangers(place, sockets);
            }
            place.realtime.spawn(receiver.run());
        }
    }

    /// Starts the task that logs senders whose packets the kernel drops.
    fn name_strangers(&self, place: &LinkContext, sockets: &mut FamilySockets) {
        let (raw, wanted) = (sockets.strangers.clone(), self.wanted.clone());
        let (rejected, log) = (self.rejected.clone(), place.log.clone());
        let naming = Naming::start(&place.ordinary, raw, wanted, rejected, log);
        sockets.naming = Some(naming);
    }

    pub(super) fn routers_are(&self, routers: &Routers) {
        self.change(ReceiverCommand::Routers(routers.clone()));
    }

    /// Opens what another configuration needs beside the present parts.
    pub(super) fn prepare(&self, place: &LinkContext, config: &Vrrp) -> Result<Next, Error> {
        let further = Interface::further(config)?;
        // An address of the new family may have been added after the link was opened.
        let interface = Interface::of(config)?;
        let opened = |six, there: &Option<Arc<Travel>>| {
            (there.is_none() && has(config, six))
                .then(|| Opened::family(place, &interface, config, &self.frames, six))
                .transpose()
        };
        let opened = [opened(false, &self.v4)?, opened(true, &self.v6)?];
        Ok(Next {
            interface,
            further,
            opened,
        })
    }

    /// The same link, when advertisements of a family must come from another address than before.
    pub(super) fn moved(&self, place: &LinkContext, config: &Vrrp) -> Option<Next> {
        let next = self.prepare(place, config).ok()?;
        let moved = |six, travel: &Option<Arc<Travel>>| {
            let travel = travel.as_ref();
            travel.is_some_and(|it| source(&next.interface, config, six, it) != it.source)
        };
        let moved = moved(false, &self.v4) || moved(true, &self.v6);
        (moved && next.interface.index == self.interface.index).then_some(next)
    }

    /// Removes addresses that VRRP of an earlier daemon may have left.
    pub(super) fn clear(&self, stale: Vec<IpAddr>) {
        self.keeper.send(AddressCommand::Clear(stale));
    }

    /// Applies other peers, checksums or claims; families without a virtual router are no longer received.
    pub(super) fn travel(&mut self, place: &LinkContext, config: &Vrrp, next: Next) {
        let Next {
            interface,
            further,
            opened,
        } = next;
        self.interface = interface;
        let mut sockets = Vec::new();
        let places = [(false, &mut self.v4), (true, &mut self.v6)];
        for ((six, place), opened) in places.into_iter().zip(opened) {
            let old = place.take();
            if !has(config, six) {
                sockets.extend(old.is_some().then_some((six, None)));
            } else if let Some(old) = old {
                let new = Arc::new(Travel {
                    raw: old.raw.clone(),
                    frames: old.frames.clone(),
                    source: source(&self.interface, config, six, &old),
                    peers: config.peers(six),
                    coverage: config.coverage,
                    mac: self.interface.mac,
                    ..*old
                });
                for (_, running) in self.routers.iter().filter(|(key, _)| key.six == six) {
                    running.tell(Note::Travel(new.clone()));
                }
                *place = Some(new);
            } else if let Some(opened) = opened {
                *place = Some(opened.travel);
                sockets.push((six, Some(opened.sockets)));
            }
        }
        for (six, mut sockets) in sockets {
            if let Some(sockets) = &mut sockets {
                self.name_strangers(place, sockets);
            }
            self.change(ReceiverCommand::Sockets(six, sockets));
        }
        self.change(ReceiverCommand::Senders(senders(config), config.coverage));
        self.change(ReceiverCommand::Own(own(&self.interface, &further)));
        self.keeper
            .send(AddressCommand::Claims(config.pace, further));
    }

    fn change(&self, change: ReceiverCommand) {
        // The receiving task lives as long as this link.
        self.changes.send(change).unwrap_or_default();
    }

    /// `after`: the earlier virtual router with the same key, which must end first.
    pub(super) fn begin(
        &mut self,
        runtime: &runtime::Handle,
        log: &Log,
        after: Option<JoinHandle<()>>,
        instance: &configured::Instance,
        settings: Settings,
    ) {
        let key = key(instance);
        let travel = if key.six { &self.v6 } else { &self.v4 };
        let Some(travel) = travel.clone() else {
            return;
        };
        let mut router = Router::new(now(), settings.clone());
        let (notes, inbox) = mpsc::unbounded_channel();
        let (seen, watching) = watch::channel(router.clone());
        let counts = Arc::new(Counts::default());
        let mut world = Instance {
            key,
            inbox,
            travel,
            keeper: self.keeper.orders(),
            seen,
            counts: counts.clone(),
            log: log.clone(),
            published: None,
            failing: false,
        };
        let (member, keeper) = (
            self.kept(key, instance.held(), &notes, &counts),
            self.keeper.orders(),
        );
        let task = runtime.spawn(async move {
            if let Some(after) = after {
                // The result does not matter.
                after.await.unwrap_or_default();
            }
            keeper
                .send(AddressCommand::Join(key, member))
                .unwrap_or_default();
            match Timer::new() {
                Ok(mut timer) => drive_by(&mut timer, &mut router, &mut world).await,
                Err(error) => world
                    .log
                    .say(Line::Unsent(key, format!("no timer: {error}"))),
            }
        });
        let running = Running {
            settings,
            instance: instance.clone(),
            counted: instance.moved().collect(),
            notes,
            seen: watching,
            counts,
            task,
        };
        self.join(key, &running);
        self.routers.insert(key, running);
    }

    /// The part of a virtual router that the keeper needs.
    fn kept(
        &self,
        key: Key,
        addresses: Vec<IpAddr>,
        notes: &mpsc::UnboundedSender<Note>,
        counts: &Arc<Counts>,
    ) -> addresses::Member {
        let travel = if key.six { &self.v6 } else { &self.v4 };
        let virtual_mac = travel.as_ref().is_some_and(|travel| travel.virtual_mac);
        addresses::Member {
            addresses,
            virtual_mac: virtual_mac.then(|| neighbour::virtual_mac(key.vrid, key.six)),
            notes: notes.clone(),
            counts: counts.clone(),
        }
    }

    fn join(&self, key: Key, running: &Running) {
        let member = receive::Member {
            version: running.settings.version,
            addresses: running.held(),
            notes: running.notes.clone(),
            counts: running.counts.clone(),
        };
        self.change(ReceiverCommand::Join(key, member));
    }

    /// Gives a virtual router new settings.
    pub(super) fn reset(
        &mut self,
        instance: &configured::Instance,
        settings: Settings,
        gates: &BTreeMap<IpAddr, bool>,
    ) {
        let key = key(instance);
        let Some(running) = self.routers.get_mut(&key) else {
            return;
        };
        let before = running.held();
        running.become_instance(instance, gates);
        if running.held() != before {
            running.settings = settings;
            self.holds(key);
        } else if running.settings != settings {
            running.settings = settings.clone();
            running.tell(Note::Event(Event::Configure(settings)));
        }
    }

    /// Passes on the new addresses of a virtual router, in any state.
    pub(super) fn holds(&self, key: Key) {
        let Some(running) = self.routers.get(&key) else {
            return;
        };
        let member = self.kept(key, running.held(), &running.notes, &running.counts);
        self.keeper.send(AddressCommand::Join(key, member));
        self.join(key, running);
        let settings = running.settings.clone();
        running.tell(Note::Event(Event::Configure(settings)));
    }

    /// Returns when all earlier decisions have been carried out on the addresses.
    pub(super) fn flushed(&self) -> impl Future<Output = ()> + use<> {
        let notes = self.routers.values().map(|running| {
            let (done, wait) = oneshot::channel();
            running.tell(Note::Flush(done));
            wait
        });
        let (notes, keeper) = (notes.collect::<Vec<_>>(), self.keeper.orders());
        async move {
            for wait in notes {
                // An error means that the virtual router has ended.
                wait.await.unwrap_or_default();
            }
            let (done, wait) = oneshot::channel();
            keeper.send(AddressCommand::Flush(done)).unwrap_or_default();
            wait.await.unwrap_or_default();
        }
    }

    /// The virtual router resigns and its addresses are removed; the returned task ends after that.
    pub(super) fn end(&mut self, runtime: &runtime::Handle, key: Key) -> Option<JoinHandle<()>> {
        let running = self.routers.remove(&key)?;
        self.change(ReceiverCommand::Leave(key));
        running.tell(Note::Event(Event::Gate(false)));
        running.tell(Note::End);
        let keeper = self.keeper.orders();
        Some(runtime.spawn(async move {
            running.task.await.unwrap_or_default();
            keeper.send(AddressCommand::Leave(key)).unwrap_or_default();
        }))
    }

    /// `last`: no VRRP follows on this node.
    pub(super) async fn leave(mut self, last: bool) {
        for running in self.routers.values() {
            running.tell(Note::Event(Event::Gate(false)));
            running.tell(Note::End);
        }
        for (key, running) in std::mem::take(&mut self.routers) {
            // An error means that the task was aborted, which ends it too.
            running.task.await.unwrap_or_default();
            self.keeper.send(AddressCommand::Leave(key));
        }
        if last {
            self.keeper.send(AddressCommand::Restore);
        }
        self.keeper.flushed().await;
    }
}

/// The source address of a family, or the present one if the interface has none now.
fn source(interface: &Interface, config: &Vrrp, six: bool, travel: &Travel) -> IpAddr {
    let source = interface.source(config, six, Some(travel.source));
    source.unwrap_or(travel.source)
}

/// The MACs of this node. Two interfaces may be on one link, where a frame that comes back is not a stranger's.
fn own(interface: &Interface, further: &[Interface]) -> Vec<Mac> {
    let all = further.iter().chain([interface]);
    all.map(|it| it.mac).collect()
}

pub(super) fn senders(config: &Vrrp) -> Senders {
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
