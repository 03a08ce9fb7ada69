//! VRRP on one interface. Everything but the addresses runs on the real-time thread.
//!
//! ```text
//!            sockets -> receive \                  /--> sockets (advertisements)
//! Handle: gate, configure -------+-> world -------+---> addresses (and claims), on a thread of its own
//!                  addresses ---/   (a machine each)
//! ```
//!
//! `interface` is the interface of VRRP, `link` its virtual routers, `filters` the filters of the sockets, `listen` a listener
//! that sends nothing, `running` a virtual router for its handle, `log` the lines that an ordinary task writes, `addresses/`
//! addresses, macvlans and sysctls. A socket here never waits to send.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::IpAddr,
    time::Instant,
};

use tokio::runtime;

use self::{
    addresses::Sysctls,
    interface::Interface,
    link::{Link, Next},
    log::{Line, Log},
};
pub use self::{
    listen::{Heard, Listener},
    note::Counted,
};
use super::{Router, Settings, packet::Vrid};
use crate::{
    machine::{
        drive,
        realtime::{Budget, Thread},
    },
    protocols::{
        routers::Routers,
        vrrp::configured::{Instance, Vrrp},
    },
    system::{netlink, ownership::Foreign},
};

mod addresses;
mod filters;
mod interface;
mod link;
mod listen;
mod log;
mod note;
mod receive;
mod running;
mod sockets;
mod world;

/// Why VRRP cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the interfaces of this node for VRRP: {source}")]
    Interfaces { source: io::Error },
    #[error(
        "VRRP on {interface}: there is no such Ethernet interface; set {key} to one of `ip -brief link`"
    )]
    Interface {
        key: &'static str,
        interface: String,
    },
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
    #[error("start the thread of VRRP's addresses: {source}")]
    AddressKeeper { source: io::Error },
    #[error(
        "have VIPs of one network leave {interface} one by one: {source}; set net.ipv4.conf.{interface}.promote_secondaries \
         to 1, or leave vrrp.ipv4_length out"
    )]
    Promotion {
        interface: String,
        source: io::Error,
    },
    #[error("{0}")]
    Look(#[from] netlink::Error),
    #[error(
        "move {} by VRRP: it is this node's own address ({foreign}), and would leave with the VIP; name another VIP, or \
         take the address off if it is to move (`ip addr del {}/{} dev {}`)",
        .foreign.address, .foreign.address, .foreign.prefix_length, .foreign.interface
    )]
    Own { foreign: Foreign },
}

/// An error when the node itself has one of the addresses that VRRP would move. `noted`: those that an older daemon added.
pub async fn check(config: &Vrrp, noted: &BTreeSet<IpAddr>) -> Result<(), Error> {
    let held: Vec<IpAddr> = config.instances.iter().flat_map(Instance::held).collect();
    match netlink::foreign(&held, noted).await?.into_iter().next() {
        Some(foreign) => Err(Error::Own { foreign }),
        None => Ok(()),
    }
}

/// Identifies a virtual router on its link.
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

/// VRRP on one interface. When dropped it sends nothing more: the backups take over, and the addresses expire.
pub struct Handle {
    place: LinkContext,
    gates: BTreeMap<IpAddr, bool>,
    current: Option<Current>,
}

/// All virtual routers at one moment.
#[derive(Clone, Debug)]
pub struct Overview {
    pub at: Instant,
    pub routers: Vec<View>,
    /// Packets that were not taken, by reason.
    pub rejected: BTreeMap<String, u64>,
}

/// One virtual router.
#[derive(Clone, Debug)]
pub struct View {
    pub vrid: Vrid,
    pub settings: Settings,
    pub instance: Instance,
    /// VIPs that are not counted yet.
    pub joining: Vec<IpAddr>,
    pub router: Router,
    pub counts: Counted,
}

/// Parameters of every link.
struct LinkContext {
    realtime: runtime::Handle,
    /// For work that is not urgent.
    ordinary: runtime::Handle,
    budget: Budget,
    routers: Routers,
    sysctls: Sysctls,
    log: Log,
}

/// The configuration and link in force.
struct Current {
    config: Vrrp,
    link: Link,
}

/// A change whose parts that can fail are done. Dropping it undoes them.
pub struct Prepared {
    config: Vrrp,
    way: LinkChange,
}

enum LinkChange {
    /// On the present link.
    Same(Box<Next>),
    Anew(Box<Link>),
}

/// VRRP without virtual routers, to be configured later; on the thread, in the caller's network namespace. Must be called
/// inside a runtime, which writes the log.
pub fn idle(thread: &Thread) -> Handle {
    let runtime = {
        let _inside = thread.enter();
        runtime::Handle::current()
    };
    Handle {
        place: LinkContext {
            realtime: runtime,
            ordinary: runtime::Handle::current(),
            budget: thread.budget(),
            routers: Routers::default(),
            sysctls: Sysctls::default(),
            log: Log::start(),
        },
        gates: BTreeMap::new(),
        current: None,
    }
}

/// Starts VRRP with every gate closed.
pub fn start(thread: &Thread, config: &Vrrp) -> Result<Handle, Error> {
    let mut handle = idle(thread);
    handle.configure(config)?;
    Ok(handle)
}

impl Handle {
    /// May this node serve the VIP? A virtual router takes part while all its counted VIPs may be served.
    pub fn gate(&mut self, vip: IpAddr, open: bool) {
        self.gates.insert(vip, open);
        let Some(Current { link, .. }) = &mut self.current else {
            return;
        };
        let mut joined = Vec::new();
        for (key, running) in &mut link.routers {
            if open && running.count(vip) {
                joined.push(*key);
            }
            if running.instance.moved().any(|it| it == vip) {
                running.gate(&self.gates);
            }
        }
        for key in joined {
            link.holds(key);
        }
    }

    /// These VIPs will leave their virtual routers, which go on with the others; [`Handle::flushed`] returns when they have
    /// left.
    pub fn let_go(&mut self, vips: &BTreeSet<IpAddr>) {
        let Some(Current { link, .. }) = &mut self.current else {
            return;
        };
        let routers = link.routers.iter_mut();
        let changed = routers.filter_map(|(key, running)| running.let_go(vips).then_some(*key));
        for key in changed.collect::<Vec<_>>() {
            link.holds(key);
        }
    }

    /// Packets from other addresses are dropped.
    pub fn routers(&mut self, routers: Routers) {
        self.place.routers = routers;
        if let Some(Current { link, .. }) = &self.current {
            link.routers_are(&self.place.routers);
        }
    }

    /// Changes the source of advertisements to an address that the interface has, if it lost the earlier one.
    pub fn addresses_changed(&mut self) {
        let Some(Current { config, link }) = &mut self.current else {
            return;
        };
        let Some(next) = link.moved(&self.place, config) else {
            return;
        };
        link.travel(&self.place, config, next);
        self.apply();
    }

    /// Returns when all earlier decisions have been carried out on the addresses.
    pub fn flushed(&self) -> impl Future<Output = ()> + use<> {
        let flushed = self.current.as_ref().map(|current| current.link.flushed());
        async {
            if let Some(flushed) = flushed {
                flushed.await;
            }
        }
    }

    /// Does every part of a change that can fail. No other router notices.
    pub fn prepare(&self, config: &Vrrp) -> Result<Prepared, Error> {
        let way = match &self.current {
            Some(Current { config: old, link })
                if old.link_differs(config).is_empty()
                    && Interface::of(config)?.index == link.interface.index =>
            {
                LinkChange::Same(Box::new(link.prepare(&self.place, config)?))
            }
            Some(_) | None => {
                let link = Link::open(&self.place, config)?;
                LinkChange::Anew(Box::new(link))
            }
        };
        Ok(Prepared {
            config: config.clone(),
            way,
        })
    }

    /// Applies another configuration: what is unchanged goes on undisturbed. Another interface, transport or form of addresses
    /// restarts all virtual routers. The first configuration removes VIPs that VRRP of an earlier daemon left on the node: no
    /// virtual router has them yet.
    pub fn commit(&mut self, prepared: Prepared) {
        let Prepared { config, way } = prepared;
        let old = self.current.take();
        let link = match (way, old) {
            (LinkChange::Same(next), Some(Current { mut link, .. })) => {
                link.travel(&self.place, &config, *next);
                link
            }
            // The link that it was prepared for is gone.
            (LinkChange::Same(_), None) => return,
            (LinkChange::Anew(mut link), old) => {
                link.receive(&self.place);
                link.routers_are(&self.place.routers);
                match old {
                    // The old link ends by itself, with its addresses.
                    Some(old) => drop(self.place.realtime.spawn(old.link.leave(false))),
                    None => link.clear(config.instances.iter().flat_map(Instance::held).collect()),
                }
                *link
            }
        };
        self.current = Some(Current { config, link });
        self.apply();
    }

    pub fn configure(&mut self, config: &Vrrp) -> Result<(), Error> {
        let prepared = self.prepare(config)?;
        self.commit(prepared);
        Ok(())
    }

    pub fn overview(&self) -> Overview {
        let link = self.current.as_ref().map(|current| &current.link);
        let routers = link.iter().flat_map(|link| &link.routers);
        Overview {
            at: drive::now(),
            routers: routers.map(|(key, running)| running.view(*key)).collect(),
            rejected: link
                .map(|link| link.rejected.by_reason())
                .unwrap_or_default(),
        }
    }

    /// Resigns everywhere and returns once the addresses are removed.
    pub async fn stop(self) {
        if let Some(current) = self.current {
            current.link.leave(true).await;
        } else if let Err(error) = self.place.sysctls.restore() {
            // Sysctls of a prepared link that was never used.
            self.place.log.say(Line::Sysctls(error.to_string()));
        }
    }

    /// Makes the running virtual routers those of the configuration.
    fn apply(&mut self) {
        let Some(Current { config, link }) = &mut self.current else {
            return;
        };
        let instances = config.instances.iter();
        let wanted: BTreeMap<Key, &Instance> = instances.map(|it| (key(it), it)).collect();
        let gone = link.routers.keys().filter(|key| !wanted.contains_key(key));
        for key in gone.copied().collect::<Vec<_>>() {
            // It ends by itself.
            drop(link.end(&self.place.realtime, key));
        }
        for (key, instance) in wanted {
            let travel = if key.six { &link.v6 } else { &link.v4 };
            let Some(source) = travel.as_ref().map(|travel| travel.source) else {
                continue;
            };
            let settings = config.settings(instance, source);
            let running = link.routers.get(&key);
            let same = running.is_some_and(|running| running.settings.version == settings.version);
            if same {
                link.reset(instance, settings, &self.gates);
            } else {
                let before = link.end(&self.place.realtime, key);
                let (runtime, log) = (&self.place.realtime, &self.place.log);
                link.begin(runtime, log, before, instance, settings);
            }
        }
        for running in link.routers.values() {
            running.gate(&self.gates);
        }
    }
}

fn key(instance: &Instance) -> Key {
    Key {
        six: instance.is_ipv6(),
        vrid: instance.vrid,
    }
}
