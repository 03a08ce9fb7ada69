//! Every VIP and port of the services.

use std::net::IpAddr;

use super::{Access, Config, Listener, Service};

/// One VIP and port: what the packet path calls a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelService<'c> {
    pub service: &'c Service,
    pub listener: &'c Listener,
    pub vip: IpAddr,
    /// Position in written order, from 1. Not the counter index in the kernel, which the data plane assigns.
    pub index: u32,
    /// Position of the access list among the names. Not its number in the kernel, which is kept with the list. `None`: open to
    /// all.
    pub list: Option<u32>,
}

impl Config {
    /// Every VIP of every listener of every service, in written order: files by name, services, their listeners, their VIPs.
    pub fn kernel_services(&self) -> impl Iterator<Item = KernelService<'_>> {
        let places = self.services.iter().flat_map(|service| {
            let listeners = service.listeners.iter();
            listeners.flat_map(move |listener| {
                service
                    .vips
                    .iter()
                    .map(move |&vip| (service, listener, vip))
            })
        });
        (1..)
            .zip(places)
            .filter_map(|(index, (service, listener, vip))| {
                let list = match &listener.access {
                    Access::Open => None,
                    // Without its list a service would be open to all, so it is left out.
                    Access::List(name) => Some(self.list_number(name)?),
                };
                Some(KernelService {
                    service,
                    listener,
                    vip,
                    index,
                    list,
                })
            })
    }

    /// The position of a list among the names in order. A new list may change the positions of others.
    pub fn list_number(&self, name: &str) -> Option<u32> {
        (0..)
            .zip(self.lists.keys())
            .find(|(_, list)| *list == name)
            .map(|(number, _)| number)
    }
}
