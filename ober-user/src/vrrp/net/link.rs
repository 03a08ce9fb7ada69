//! The virtual routers of one interface, and what they share.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use tokio::{
    runtime,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    super::{Event, Mac, Router, Settings, neighbour},
    Error, Key,
    addresses::{self, Keeper, Order, Sysctls},
    instance::{Counts, Instance, Note, Travel},
    interface::Interface,
    key,
    log::{Line, Log},
    post::{self, Change, Post, Rejected, Senders},
    running::Running,
    sockets::{Claims, Frames, Raw},
};
use crate::{
    config::vrrp::{self as config, Transport, Vrrp},
    drive::{drive_by, now},
    realtime::Timer,
};

/// All that belongs to one interface and one way to travel.
pub(super) struct Link {
    pub(super) interface: Interface,
    pub(super) v4: Option<Arc<Travel>>,
    pub(super) v6: Option<Arc<Travel>>,
    changes: mpsc::UnboundedSender<Change>,
    keeper: Keeper,
    pub(super) rejected: Arc<Rejected>,
    pub(super) routers: BTreeMap<Key, Running>,
}

impl Link {
    pub(super) fn open(
        runtime: &runtime::Handle,
        config: &Vrrp,
        sysctls: &Sysctls,
        log: &Log,
    ) -> Result<Self, Error> {
        let interface = Interface::of(config)?;
        let error = |source| Error::Socket {
            interface: interface.name.clone(),
            source,
        };
        let further = Interface::further(config)?;
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
        let own = own(&interface, &further);
        let keeper = Keeper::start(
            interface.clone(),
            further,
            config,
            frames,
            sysctls.clone(),
            log.clone(),
        )?;
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
            own,
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

    /// VRRP of an earlier daemon may have left these.
    pub(super) fn clear(&self, stale: Vec<IpAddr>) {
        self.keeper.send(Order::Clear(stale));
    }

    /// Other peers, checksums or claims, on the same sockets.
    pub(super) fn travel(&mut self, config: &Vrrp, further: Vec<Interface>) {
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
        self.change(Change::Own(own(&self.interface, &further)));
        self.keeper.send(Order::Claims(config.pace, further));
    }

    fn change(&self, change: Change) {
        // The post lives as long as this.
        self.changes.send(change).unwrap_or_default();
    }

    /// `after`: the one before with the same key, which is to be gone first.
    pub(super) fn begin(
        &mut self,
        runtime: &runtime::Handle,
        log: &Log,
        after: Option<JoinHandle<()>>,
        instance: &config::Instance,
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
            told: None,
            failing: false,
        };
        let (member, keeper) = (
            self.kept(key, instance, &notes, &counts),
            self.keeper.orders(),
        );
        let task = runtime.spawn(async move {
            if let Some(after) = after {
                // However it ended.
                after.await.unwrap_or_default();
            }
            keeper.send(Order::Join(key, member)).unwrap_or_default();
            match Timer::new() {
                Ok(mut timer) => drive_by(&mut timer, &mut router, &mut world).await,
                Err(error) => world
                    .log
                    .say(Line::Unsent(key, format!("no timer: {error}"))),
            }
        });
        let running = Running {
            settings,
            vips: instance.vips.clone(),
            excluded: instance.excluded.clone(),
            held: instance.held(),
            notes,
            seen: watching,
            counts,
            task,
        };
        self.receive(key, &running);
        self.routers.insert(key, running);
    }

    /// What the keeper needs to know of a virtual router.
    fn kept(
        &self,
        key: Key,
        instance: &config::Instance,
        notes: &mpsc::UnboundedSender<Note>,
        counts: &Arc<Counts>,
    ) -> addresses::Member {
        let travel = if key.six { &self.v6 } else { &self.v4 };
        let virtual_mac = travel.as_ref().is_some_and(|travel| travel.virtual_mac);
        addresses::Member {
            addresses: instance.held(),
            virtual_mac: virtual_mac.then(|| neighbour::virtual_mac(key.vrid, key.six)),
            notes: notes.clone(),
            counts: counts.clone(),
        }
    }

    fn receive(&self, key: Key, running: &Running) {
        let member = post::Member {
            version: running.settings.version,
            addresses: running.held.clone(),
            notes: running.notes.clone(),
            counts: running.counts.clone(),
        };
        self.change(Change::Join(key, member));
    }

    /// The same virtual router, otherwise set.
    pub(super) fn reset(&mut self, instance: &config::Instance, settings: Settings) {
        let key = key(instance);
        let Some(mut running) = self.routers.remove(&key) else {
            return;
        };
        let held = instance.held();
        let moved = running.held != held;
        if moved {
            running.held = held;
            let member = self.kept(key, instance, &running.notes, &running.counts);
            self.keeper.send(Order::Join(key, member));
            self.receive(key, &running);
        }
        if moved || running.settings != settings {
            running.settings = settings.clone();
            running.vips.clone_from(&instance.vips);
            running.excluded.clone_from(&instance.excluded);
            running.tell(Note::Event(Event::Configure(settings)));
        }
        self.routers.insert(key, running);
    }

    /// The virtual router resigns, its addresses leave; over when the handle is.
    pub(super) fn end(&mut self, runtime: &runtime::Handle, key: Key) -> Option<JoinHandle<()>> {
        let running = self.routers.remove(&key)?;
        self.change(Change::Leave(key));
        running.tell(Note::Event(Event::Gate(false)));
        running.tell(Note::End);
        let keeper = self.keeper.orders();
        Some(runtime.spawn(async move {
            running.task.await.unwrap_or_default();
            keeper.send(Order::Leave(key)).unwrap_or_default();
        }))
    }

    pub(super) async fn leave(mut self) {
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

/// Two interfaces may be on one link: what comes back is no stranger's.
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
