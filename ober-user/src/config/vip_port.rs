//! Every VIP and port of the services.

use std::net::IpAddr;

use super::{Access, Config, Listener, Service};

/// One VIP of a listener: what the packet path calls a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VipListener<'c> {
    pub service: &'c Service,
    pub listener: &'c Listener,
    pub vip: IpAddr,
}

impl Config {
    /// Every VIP of every listener of every service, in written order: files by name, services, their listeners, their VIPs.
    /// A service whose list is not there is left out: without it the service would be open to all.
    pub fn vip_listeners(&self) -> impl Iterator<Item = VipListener<'_>> {
        self.services.iter().flat_map(move |service| {
            let listeners = service.listeners.iter().filter(|it| match &it.access {
                Access::Open => true,
                Access::List(list) => self.lists.contains_key(list),
            });
            listeners.flat_map(move |listener| {
                service.vips.iter().map(move |&vip| VipListener {
                    service,
                    listener,
                    vip,
                })
            })
        })
    }
}
