//! What is asked for each VIP: made of the configuration and the workers' sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::PathBuf,
};

use super::probe::Door;
use crate::{
    config::{Config, Protection, gate::Gate as Settings},
    haproxy::{Listening, command_socket},
};

/// Everything the gates are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub settings: Settings,
    /// How many workers there are to be.
    pub workers: usize,
    pub vips: BTreeMap<IpAddr, Vip>,
}

/// What stands behind a VIP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vip {
    /// VRRP moves the address: whether it is here comes of the gate, and is no condition for it.
    pub moves: bool,
    /// By worker number.
    pub workers: BTreeMap<usize, Worker>,
    /// Names of the backends of its services.
    pub backends: BTreeSet<String>,
}

/// Where a worker is asked for a VIP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worker {
    /// The command socket.
    pub cli: PathBuf,
    /// The listeners of all services that have the VIP.
    pub doors: Vec<Door>,
}

impl Plan {
    /// For every VIP of every service. `sockets`: those of the pool that serves this configuration. `moves`: is it VRRP
    /// that adds and removes the address of this VIP?
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
                entry.backends.insert(service.backend.clone());
                for socket in sockets {
                    let listener = service.listeners.iter().find(|listener| {
                        socket.service == service.name
                            && socket.port == listener.port
                            && socket.family.holds(*vip)
                    });
                    let Some(listener) = listener else { continue };
                    let worker = entry.workers.entry(socket.worker).or_default();
                    worker.cli = command_socket(&config.node.run, socket.worker);
                    worker.doors.push(Door {
                        address: socket.address()?,
                        tls: matches!(listener.protection, Protection::Tls { .. }),
                        port: listener.port.get(),
                    });
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
