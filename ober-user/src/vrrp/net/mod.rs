//! VRRP on the wire of one interface. Everything but the addresses runs on the real-time thread.
//!
//! ```text
//!            sockets -> post ---\                  /--> sockets (advertisements)
//! Handle: gate, configure -------+-> instance ----+---> addresses (and claims), on a thread of its own
//!                  addresses ---/   (a machine each)
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::IpAddr,
};

use tokio::runtime;

pub use self::listen::{Heard, Listener};
use self::{
    addresses::Sysctls,
    interface::Interface,
    link::Link,
    log::{Line, Log},
};
use super::packet::Vrid;
use crate::{
    config::vrrp::{Instance, Vrrp},
    netlink,
    ownership::Foreign,
    realtime::Thread,
    status,
};

mod addresses;
mod instance;
mod interface;
mod link;
mod listen;
mod log;
mod post;
mod running;
mod sockets;

/// Why there is no VRRP.
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
    #[error("start the keeper of VRRP's addresses: {source}")]
    Keeper { source: io::Error },
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

/// Is none of the addresses that VRRP is to move this node's own? `noted`: those that an older daemon added itself.
pub async fn check(config: &Vrrp, noted: &BTreeSet<IpAddr>) -> Result<(), Error> {
    let held: Vec<IpAddr> = config.instances.iter().flat_map(Instance::held).collect();
    match netlink::foreign(&held, noted).await?.into_iter().next() {
        Some(foreign) => Err(Error::Own { foreign }),
        None => Ok(()),
    }
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

/// VRRP on one interface. Dropped, it falls silent: the backups take over, and the addresses expire.
pub struct Handle {
    runtime: runtime::Handle,
    config: Vrrp,
    gates: BTreeMap<IpAddr, bool>,
    sysctls: Sysctls,
    log: Log,
    link: Link,
}

/// Starts VRRP on the thread, in the network namespace of the caller and from within a runtime, which writes the log.
/// Every gate is closed. VIPs of this configuration that VRRP of an earlier daemon left on the node are removed: nobody
/// has them yet.
pub fn start(thread: &Thread, config: &Vrrp) -> Result<Handle, Error> {
    let runtime = {
        let _inside = thread.enter();
        runtime::Handle::current()
    };
    let log = Log::start();
    let sysctls = Sysctls::default();
    let link = Link::open(&runtime, config, &sysctls, &log)?;
    link.clear(config.instances.iter().flat_map(Instance::held).collect());
    let mut handle = Handle {
        runtime,
        config: config.clone(),
        gates: BTreeMap::new(),
        sysctls,
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
            if running.vips.contains(&vip) || running.excluded.contains(&vip) {
                running.gate(&self.gates);
            }
        }
    }

    /// Follows another configuration: what is the same goes on undisturbed. Another interface, source or transport
    /// means that everything leaves and starts anew.
    pub fn configure(&mut self, config: &Vrrp) -> Result<(), Error> {
        let kept = self.config.same_link(config)
            && Interface::of(config)?.index == self.link.interface.index;
        if kept {
            let further = Interface::further(config)?;
            self.config = config.clone();
            self.link.travel(config, further);
        } else {
            let link = Link::open(&self.runtime, config, &self.sysctls, &self.log)?;
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
        if let Err(error) = self.sysctls.restore() {
            self.log.say(Line::Sysctls(error.to_string()));
        }
    }

    /// Makes the virtual routers those of the configuration.
    fn apply(&mut self) {
        let wanted: BTreeMap<Key, &Instance> = self
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
            // It ends on its own.
            drop(self.link.end(&self.runtime, key));
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
                self.link.reset(instance, settings);
            } else {
                let before = self.link.end(&self.runtime, key);
                let (runtime, log) = (&self.runtime, &self.log);
                self.link.begin(runtime, log, before, instance, settings);
            }
        }
        for running in self.link.routers.values() {
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
