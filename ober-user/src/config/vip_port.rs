//! The services as the kernel numbers them.

use std::net::IpAddr;

use super::{Access, Config, Listener, Service};

/// One VIP and port: a service as the packet path sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelService<'c> {
    pub service: &'c Service,
    pub listener: &'c Listener,
    pub vip: IpAddr,
    /// Counter index: 1 to 255.
    pub index: u32,
    /// Number of the access list; `None`: open to everybody.
    pub list: Option<u32>,
}

impl Config {
    /// Every VIP of every listener of every service.
    ///
    /// The index is the place in written order (files by name, services, their listeners, their VIPs), from 1: the
    /// same configuration always gives the same numbers, and what is added at the end renumbers nothing. Anything else
    /// may; whoever adopts the maps of an earlier configuration compares VIP and port, not the index alone.
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
                    // A list that is not there could only be read as "open", so such a service is not offered at all.
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

    /// The number a list has in the kernel: its place among the names in order. A new list may renumber others.
    pub fn list_number(&self, name: &str) -> Option<u32> {
        (0..)
            .zip(self.lists.keys())
            .find(|(_, list)| *list == name)
            .map(|(number, _)| number)
    }
}
