//! Interfaces, their programs, and the ways to clients.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::super::{
    Running,
    bypass::Bypass,
    interfaces::{self, Sample},
};
use crate::{
    api::status::{self, Counters},
    config::{Access, Config, paths},
    dataplane::{
        self, Occupant,
        interface::{gather::Snapshot, topology},
    },
    lists::AccessLists,
    system::{
        fact::Fact,
        netlink::{links::Link, routes},
    },
};

/// The facts and the configuration that the interfaces are judged by.
pub(super) struct Look<'l> {
    pub(super) config: &'l Config,
    /// `None`: the kernel could not be asked.
    pub(super) now: Option<&'l Snapshot>,
    pub(super) running: Option<&'l Running>,
    pub(super) received: &'l [BTreeMap<String, u64>; 2],
}

impl Look<'_> {
    pub(super) fn interface(&self, name: &str) -> interfaces::InterfaceFacts {
        let node = &self.config.node;
        let pins = paths::pins(&node.bpffs, &node.instance);
        let features = self.now.and_then(|now| now.features(name));
        let said = self.said(name);
        let on_it = features
            .as_ref()
            .map(|it| dataplane::occupants(it.index))
            .and_then(Result::ok)
            .unwrap_or_default();
        // In another mount namespace the pins are not seen; the daemon knows its programs by number.
        let ours = |it: &Occupant| self.is_ours(it.program);
        let attached = match dataplane::holds(&pins, name) {
            _ if self.now.is_none() => Fact::Unasked("the kernel does not answer".to_owned()),
            Fact::No if on_it.iter().any(ours) => Fact::Yes,
            fact => fact,
        };
        let there = attached == Fact::Yes;
        let note = dataplane::note(&pins, name).and_then(|note| note.why_generic);
        interfaces::InterfaceFacts {
            name: name.to_owned(),
            features,
            native: there
                .then(|| said.map_or_else(|| dataplane::native(&pins, name), |it| it.native)),
            others: if there { Vec::new() } else { on_it },
            attached,
            why_generic: note,
            runs: said.and_then(|it| it.runs),
            sample: self.sample(name).filter(|_| there),
        }
    }

    fn said(&self, name: &str) -> Option<&status::Interface> {
        let all = &self.running?.status.data_plane.interfaces;
        all.iter().find(|it| it.name == name)
    }

    fn is_ours(&self, program: u32) -> bool {
        let programs = self.running.map(|it| &it.status.data_plane.programs);
        programs.is_some_and(|all| all.iter().any(|it| it.id == program))
    }

    fn sample(&self, name: &str) -> Option<Sample> {
        let [before, after] = self.received.each_ref().map(|it| it.get(name).copied());
        let [first, second] = self.running?.counters.each_ref().map(counted);
        Some(Sample {
            received: after?.saturating_sub(before?),
            counted: second.saturating_sub(first),
        })
    }
}

/// Every packet the programs saw.
fn counted(counters: &Counters) -> u64 {
    let verdicts = counters.services.iter().flat_map(|it| it.verdicts.values());
    verdicts.map(|count| count.packets).sum()
}

/// Listed addresses that are reached by interfaces without our program; looks at a few of each list.
pub(super) fn find_ways(config: &Config, now: &Snapshot) -> Vec<Bypass> {
    const EACH: usize = 64;
    let mut found = Vec::new();
    for (list, addresses) in listed(config) {
        let step = addresses.len().div_ceil(EACH).max(1);
        for address in addresses.into_iter().step_by(step) {
            let Some(way) = routes::way(address) else {
                continue;
            };
            let link = now
                .links
                .iter()
                .find(|link| link.index == way && !link.loopback);
            if let Some(link) = link.filter(|link| !is_guarded(config, now, link)) {
                found.push(Bypass {
                    interface: link.name.clone(),
                    list: list.clone(),
                    address,
                });
            }
        }
    }
    found
}

/// Is our program on it, on what it is made of, or on what is made of it?
fn is_guarded(config: &Config, now: &Snapshot, link: &Link) -> bool {
    let (below, above) = (
        topology::below(&now.links, link),
        topology::above(&now.links, link),
    );
    let mut stack = below.into_iter().chain(above).chain([link]);
    stack.any(|it| config.node.interfaces.contains(&it.name))
}

/// The first address of each entry of the lists in use: as the kernel holds them, or as the configuration writes them.
fn listed(config: &Config) -> Vec<(String, Vec<IpAddr>)> {
    let of_services = config
        .vip_listeners()
        .filter_map(|it| match &it.listener.access {
            Access::List(list) => Some(list),
            Access::Open => None,
        });
    let used: BTreeSet<&String> = of_services.chain(&config.node.routers).collect();
    let pins = paths::pins(&config.node.bpffs, &config.node.instance);
    let kept = AccessLists::open(config, &pins).ok().map(|it| it.facts());
    let kept = |list: &str| kept.as_ref()?.show(Some(list)).ok()?.pop();
    let of = |list: &String| {
        let written = || config.lists.get(list).map(|it| it.sources.clone());
        let entries = kept(list).map(|it| it.entries).or_else(written);
        let first = |entry: &String| entry.split(['/', '-']).next()?.trim().parse().ok();
        let addresses = entries.iter().flatten().filter_map(first).collect();
        (list.clone(), addresses)
    };
    used.into_iter().map(of).collect()
}
