//! The interface of VRRP.

use std::net::{IpAddr, Ipv6Addr};

use nix::{ifaddrs::getifaddrs, sys::socket::LinkAddr};

use super::{super::Mac, Error};
use crate::protocols::vrrp::configured::{Instance, Transport, Vrrp};

/// Facts about the interface.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) mac: Mac,
    addresses: Vec<IpAddr>,
}

impl Interface {
    /// `key`: the key of the configuration that names it.
    pub(super) fn find(name: &str, key: &'static str) -> Result<Self, Error> {
        let missing = || Error::Interface {
            key,
            interface: name.to_owned(),
        };
        let all = getifaddrs().map_err(|errno| Error::Interfaces {
            source: errno.into(),
        })?;
        let index = nix::net::if_::if_nametoindex(name).map_err(|_errno| missing())?;
        let (mut mac, mut addresses) = (None, Vec::new());
        for entry in all.filter(|entry| entry.interface_name == name) {
            let Some(address) = entry.address else {
                continue;
            };
            mac = mac.or(address.as_link_addr().and_then(LinkAddr::addr).map(Mac));
            let v4 = address.as_sockaddr_in().map(|it| IpAddr::from(it.ip()));
            let v6 = address.as_sockaddr_in6().map(|it| it.ip().into());
            addresses.extend(v4.or(v6));
        }
        Ok(Self {
            name: name.to_owned(),
            index,
            mac: mac.ok_or_else(missing)?,
            addresses,
        })
    }

    /// The interface that VRRP runs on.
    pub(super) fn of(config: &Vrrp) -> Result<Self, Error> {
        Self::find(&config.interface, "vrrp.interface")
    }

    /// Further interfaces on which VIPs are claimed.
    pub(super) fn further(config: &Vrrp) -> Result<Vec<Self>, Error> {
        let names = config.garp_interfaces.iter();
        names
            .map(|name| Self::find(name, "vrrp.garp_interfaces"))
            .collect()
    }

    /// Source address of a family's advertisements. IPv6 requires a link-local source for the group (RFC 9568 section 5.1.2.1)
    /// and for link-local peers. `before`: the present source, which stays while the interface has it.
    pub(super) fn source(
        &self,
        config: &Vrrp,
        six: bool,
        before: Option<IpAddr>,
    ) -> Result<IpAddr, Error> {
        let vips: Vec<IpAddr> = config.instances.iter().flat_map(Instance::held).collect();
        let link_local = match &config.transport {
            Transport::Multicast => true,
            Transport::Unicast(peers) => peers.iter().any(|peer| is_link_local(peer.address)),
        };
        let suits = |address: &&IpAddr| {
            address.is_ipv6() == six
                && !vips.contains(address)
                && (!six || is_link_local(**address) == link_local)
        };
        let stays = before.filter(|before| self.addresses.contains(before));
        let all = config.sources.iter().chain(&stays).chain(&self.addresses);
        all.copied()
            .find(|address| suits(&address))
            .ok_or_else(|| Error::Source {
                interface: self.name.clone(),
                family: match (six, link_local) {
                    (false, _) => "IPv4",
                    (true, true) => "link-local IPv6",
                    (true, false) => "global IPv6",
                },
            })
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(&address),
    }
}
