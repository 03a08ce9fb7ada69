//! The state of a node, as far as the order of changes depends on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::{
    config::{Access, Config},
    haproxy::sockets::{Key, keys},
    protocols::vrrp::configured::Vrrp,
};

use super::Step;

/// One VIP and port: a service as the packet path sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VipPort {
    pub vip: IpAddr,
    pub port: u16,
}

impl fmt::Display for VipPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.vip, self.port).fmt(out)
    }
}

/// The service at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    pub service: String,
    /// The access list; `None`: open to all.
    pub list: Option<String>,
}

/// Tells the old and the new of something apart. Equal: there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edition {
    #[default]
    None,
    Old,
    New,
}

/// Changes that two configurations do not show by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Lists whose entries change.
    pub lists: BTreeSet<String>,
    /// Servers, their order, or the sources that named them.
    pub servers: bool,
    /// The processes, or how they are watched.
    pub workers: bool,
}

/// The state of a node, now or after a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Which neighbours have sessions, and how.
    pub speaking: Edition,
    /// The VIPs whose addresses VRRP moves.
    pub moved: BTreeSet<IpAddr>,
    /// The interfaces with our program.
    pub interfaces: BTreeSet<String>,
    /// In the kernel's table.
    pub services: BTreeMap<VipPort, Behind>,
    /// In the kernel, with their entries.
    pub lists: BTreeMap<String, Edition>,
    /// Of every worker.
    pub sockets: BTreeSet<Key>,
    pub workers: Edition,
    /// How many workers there are.
    pub running: usize,
    /// How many of them may get new connections: the kernel has their sockets.
    pub admitted: usize,
    /// Addresses of VIPs that stay on this node.
    pub addresses: BTreeSet<IpAddr>,
    /// VIPs with a gate, which may be announced.
    pub announced: BTreeSet<IpAddr>,
    /// Everything else.
    pub settings: Edition,
}

impl State {
    /// The state of a node with this configuration and nothing newer.
    pub fn of(config: &Config) -> Self {
        let services = config.vip_listeners().map(|kernel| {
            let place = VipPort {
                vip: kernel.vip,
                port: kernel.listener.port.get(),
            };
            let list = match &kernel.listener.access {
                Access::Open => None,
                Access::List(list) => Some(list.clone()),
            };
            let service = kernel.service.name.clone();
            (place, Behind { service, list })
        });
        let vips = config.services.iter().flat_map(|service| &service.vips);
        let lists = config.lists.keys().map(|name| (name.clone(), Edition::Old));
        Self {
            speaking: Edition::Old,
            moved: config.vrrp.iter().flat_map(Vrrp::vips).collect(),
            interfaces: config.node.interfaces.iter().cloned().collect(),
            services: services.collect(),
            lists: lists.collect(),
            sockets: keys(config).into_iter().collect(),
            workers: Edition::Old,
            running: config.workers.cpus.len(),
            admitted: config.workers.cpus.len(),
            addresses: config.vips().collect(),
            announced: vips.copied().collect(),
            settings: Edition::Old,
        }
    }

    /// The state after a change from `old` to `new`.
    pub fn next(old: &Config, new: &Config, changed: &Changed) -> Self {
        let edition = |same: bool| if same { Edition::Old } else { Edition::New };
        let mut next = Self::of(new);
        let same = (&old.bgp, &old.bfd, &old.vrrp) == (&new.bgp, &new.bfd, &new.vrrp);
        next.speaking = edition(same);
        for (name, entries) in &mut next.lists {
            *entries = edition(!changed.lists.contains(name));
        }
        next.workers = edition(!changed.workers);
        next.settings = edition(old == new && !changed.servers);
        next
    }

    /// The state after this step of a change to `to`.
    #[must_use]
    pub fn after(mut self, step: &Step, to: &Self) -> Self {
        match step {
            Step::Withdraw { vips } => self.announced.retain(|vip| !vips.contains(vip)),
            // No neighbour notices what is only open.
            Step::Open => {}
            Step::Speak => {
                self.speaking = to.speaking;
                self.moved.clone_from(&to.moved);
            }
            Step::Attach { interfaces } => self.interfaces.extend(interfaces.iter().cloned()),
            Step::TakeOut { services } => self.services.retain(|at, _| !services.contains(at)),
            Step::Confine { workers } => self.admitted = *workers,
            Step::Workers => {
                self.running = to.running;
                self.sockets.clone_from(&to.sockets);
                self.workers = to.workers;
            }
            Step::Lists { lists } => {
                let filled = lists.iter().filter_map(|name| to.lists.get_key_value(name));
                self.lists
                    .extend(filled.map(|(name, edition)| (name.clone(), *edition)));
            }
            Step::Services => {
                self.services.clone_from(&to.services);
                self.admitted = to.admitted;
                self.lists.retain(|name, _| to.lists.contains_key(name));
            }
            Step::Detach { interfaces } => {
                self.interfaces.retain(|name| !interfaces.contains(name));
            }
            Step::AddAddresses { vips } => self.addresses.extend(vips),
            Step::RemoveAddresses { vips } => self.addresses.retain(|vip| !vips.contains(vip)),
            Step::Guard => self.announced.clone_from(&to.announced),
            Step::Commit => self.settings = to.settings,
        }
        self
    }
}
