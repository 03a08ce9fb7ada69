//! The questions for each VIP, made of the configuration and the workers' sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::probe::ProbeTarget;
use crate::{
    config::{Config, Service, sections::gate::Gate as Settings},
    haproxy::{Listening, command_socket},
};

/// Everything the gates are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub settings: Settings,
    /// How many workers are configured.
    pub workers: usize,
    pub vips: BTreeMap<IpAddr, Vip>,
}

/// The workers and backends behind a VIP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vip {
    /// VRRP moves the address: the node gets it because the gate opened, so the gate must not wait for it.
    pub moves: bool,
    /// By worker number.
    pub workers: BTreeMap<usize, Worker>,
    /// Names of the backends that each of its services can reach.
    pub services: BTreeSet<BTreeSet<String>>,
}

/// Where a worker is asked for a VIP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worker {
    /// The command socket.
    pub cli: PathBuf,
    /// The listeners of all services that have the VIP.
    pub targets: Vec<ProbeTarget>,
}

impl Plan {
    /// The plan for every VIP of every service. `sockets`: those of the pool that serves this configuration. `moves`: does VRRP
    /// add and remove the address of this VIP?
    pub fn of(
        config: &Config,
        sockets: &[Listening],
        moves: impl Fn(IpAddr) -> bool,
    ) -> io::Result<Self> {
        let mut vips = BTreeMap::<IpAddr, Vip>::new();
        for service in &config.services {
            for vip in &service.vips {
                let entry = vips.entry(*vip).or_default();
                entry.moves = moves(*vip);
                let backends = service.backends().map(str::to_owned);
                entry.services.insert(backends.collect());
            }
        }
        for service in &config.services {
            for socket in sockets.iter().filter(|it| it.service == service.name) {
                let Some(target) = target(service, socket)? else {
                    continue;
                };
                let cli = command_socket(&config.node.run, socket.worker);
                let behind = service.vips.iter().filter(|vip| socket.family.holds(**vip));
                for vip in behind {
                    vips.entry(*vip)
                        .or_default()
                        .add(socket.worker, &cli, target);
                }
            }
        }
        Ok(Self {
            settings: config.gate.clone(),
            workers: config.workers.cpus.len(),
            vips,
        })
    }
}

/// The target of a probe at this socket; `None`: the service no longer has such a listener.
fn target(service: &Service, socket: &Listening) -> io::Result<Option<ProbeTarget>> {
    let mut listeners = service.listeners.iter();
    let listener = listeners.find(|listener| listener.port == socket.port);
    let target = listener.map(|listener| {
        Ok(ProbeTarget {
            address: socket.address()?,
            tls: listener.protocol.termination().is_some(),
            http: listener.protocol.is_http(),
            port: listener.port.get(),
        })
    });
    target.transpose()
}

impl Vip {
    fn add(&mut self, worker: usize, cli: &Path, target: ProbeTarget) {
        let worker = self.workers.entry(worker).or_default();
        cli.clone_into(&mut worker.cli);
        worker.targets.push(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{ConfigDirectory, LEAST};

    #[test]
    fn a_service_counts_each_server_of_its_reachable_backends_once() {
        let text = format!(
            "{LEAST}[backends.cold]\nservers = ['cold:7480']\n\
             [[services]]\nname = 'routed'\nvips = ['192.0.2.10']\nbackend = 'rgw'\n\
             [[services.listeners]]\nport = 81\naccess = 'open'\n\
             [[services.routes]]\npaths = ['/cold/']\nbackend = 'cold'\n\
             [[services.routes]]\npaths = ['/hot/']\nbackend = 'rgw'\n"
        );
        let config = ConfigDirectory::new().parse(&text).unwrap();
        let plan = Plan::of(&config, &[], |_| false).unwrap();
        let services = |vip: &str| {
            let vip = &plan.vips[&vip.parse().unwrap()];
            let services = vip.services.iter();
            services
                .map(|backends| backends.iter().map(String::as_str).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        assert_eq!(services("192.0.2.10"), [vec!["cold", "rgw"], vec!["rgw"]]);
        assert_eq!(services("2001:db8::10"), [vec!["rgw"]]);
    }
}
