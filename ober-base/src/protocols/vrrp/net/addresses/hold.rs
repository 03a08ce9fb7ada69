//! Adds, renews and removes addresses.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use rtnetlink::{
    AddressAddRequest, LinkUnspec,
    packet_route::address::{
        AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo,
    },
};

use super::{
    super::{
        super::{Event, Mac, claims},
        Key,
        log::Line,
    },
    Keep,
};
use crate::{
    protocols::vrrp::configured::{Form, Scope},
    system::{
        netlink::{address_of, is_gone, refused_with},
        ownership,
    },
};

impl Keep {
    /// Removes only what VRRP of an earlier daemon added.
    pub(super) async fn remove_stale(&mut self, stale: &[IpAddr]) -> Result<(), rtnetlink::Error> {
        for message in self.present().await? {
            let stale = address_of(&message).is_some_and(|address| stale.contains(&address));
            if stale && ownership::is_vrrps(&message) {
                match self.handle.address().del(message).execute().await {
                    Err(error) if !is_gone(&error) => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(())
    }

    async fn present(&self) -> Result<Vec<AddressMessage>, rtnetlink::Error> {
        self.handle.address().get().execute().try_collect().await
    }

    pub(super) async fn hold(&mut self, key: Key) {
        let Some(kept) = self.members.get(&key) else {
            return;
        };
        let (wanted, mac) = (kept.member.addresses.clone(), kept.member.virtual_mac);
        let event = match self.put(key, mac, &wanted).await {
            Ok(()) => Event::Held,
            Err(reason) => {
                self.log.say(Line::Refused(key, reason));
                Event::Refused
            }
        };
        if let Some(kept) = self.members.get(&key) {
            kept.tell(event);
        }
    }

    async fn put(&mut self, key: Key, mac: Option<Mac>, wanted: &[IpAddr]) -> Result<(), String> {
        let index = match mac {
            Some(mac) => {
                let index = self.macvlan_up(key, mac).await?;
                if let Some(kept) = self.members.get_mut(&key) {
                    kept.own = Some(index);
                }
                index
            }
            None => self.interface.index,
        };
        let before = self.held(key);
        for address in wanted {
            let place = (index, *address);
            self.add(place, before.contains(&place)).await?;
            if let Some(kept) = self.members.get_mut(&key)
                && !kept.held.contains(&place)
            {
                kept.held.push(place);
            }
        }
        let stays = |place: &(u32, IpAddr)| place.0 == index && wanted.contains(&place.1);
        for (index, address) in before.into_iter().filter(|place| !stays(place)) {
            self.remove(key, index, address).await;
        }
        if let Some(kept) = self.members.get_mut(&key) {
            kept.held.retain(stays);
        }
        Ok(())
    }

    fn held(&self, key: Key) -> Vec<(u32, IpAddr)> {
        let kept = self.members.get(&key);
        kept.map(|kept| kept.held.clone()).unwrap_or_default()
    }

    /// Adds the address, or renews one that this virtual router has.
    async fn add(&self, (index, address): (u32, IpAddr), renews: bool) -> Result<(), String> {
        let request = self.timed(index, address);
        let request = if renews { request.replace() } else { request };
        match request.execute().await {
            Ok(()) => Ok(()),
            Err(error) if !renews && refused_with(&error, &[libc::EEXIST]) => {
                self.take_over(index, address).await
            }
            Err(error) => Err(format!("add {address}: {error}")),
        }
    }

    /// The interface has the address already: one of an earlier daemon is renewed, any other is left alone.
    async fn take_over(&self, index: u32, address: IpAddr) -> Result<(), String> {
        let failed = |error| format!("add {address}: {error}");
        let present = self.present().await.map_err(failed)?;
        let mut same = present.iter().filter(|message| {
            message.header.index == index && address_of(message) == Some(address)
        });
        if let Some(other) = same.find(|message| !ownership::is_ours(message)) {
            let (length, interface) = (other.header.prefix_len, &self.interface.name);
            return Err(format!(
                "add {address}: {interface} has {address}/{length}, which Herr Ober did not add; remove it (`ip addr del \
                 {address}/{length} dev {interface}`), or name another VIP"
            ));
        }
        let renewed = self.timed(index, address).replace().execute().await;
        renewed.map_err(failed)
    }

    /// A request with the daemon's mark and VRRP's lifetime.
    fn timed(&self, index: u32, address: IpAddr) -> AddressAddRequest {
        let seconds = u32::try_from(ownership::LIFETIME.as_secs()).unwrap_or(u32::MAX);
        let mut request = self.request(index, address);
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = seconds;
        // Never the source of this node's own IPv6 connections.
        lifetime.ifa_preferred = if address.is_ipv4() { seconds } else { 0 };
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::CacheInfo(lifetime));
        attributes.push(ownership::mark());
        // Duplicate address detection would take a second, and VRRP decides which node has the address. A home address (RFC
        // 6275) would be preferred as a source, but only among those that are not deprecated (RFC 6724 section 5, rules 3 and
        // 4).
        let mut flags = AddressFlags::Nodad;
        // For IPv6 such a route would get the lifetime of the VIP, even where the node had the route before.
        if address.is_ipv6() || !self.form.ipv4_prefix_route {
            flags |= AddressFlags::Noprefixroute;
        }
        attributes.push(AddressAttribute::Flags(flags));
        request
    }

    fn request(&self, index: u32, address: IpAddr) -> AddressAddRequest {
        let Form {
            ipv4_length,
            ipv6_length,
            label,
            scope,
            ipv4_prefix_route: _,
        } = &self.form;
        let length = if address.is_ipv4() {
            *ipv4_length
        } else {
            *ipv6_length
        };
        let mut request = self.handle.address().add(index, address, length);
        let message = request.message_mut();
        message.header.scope = match scope {
            Scope::Global => AddressScope::Universe,
            Scope::Link => AddressScope::Link,
            Scope::Host => AddressScope::Host,
        };
        if let Some(label) = label.as_ref().filter(|_| address.is_ipv4()) {
            let label = AddressAttribute::Label(label.clone());
            message.attributes.push(label);
        }
        request
    }

    pub(super) async fn release(&mut self, key: Key) {
        let Some(kept) = self.members.get_mut(&key) else {
            return;
        };
        let held = std::mem::take(&mut kept.held);
        let own = kept.own.take();
        for &(index, address) in &held {
            self.remove(key, index, address).await;
        }
        // Also when no address was added to it, or all were removed since.
        if let Some(index) = own {
            self.silence(key, index).await;
        }
    }

    /// Sets the interface of a virtual MAC down: otherwise a switch would learn that MAC here while another node uses it.
    pub(super) async fn silence(&self, key: Key, index: u32) {
        let down = LinkUnspec::new_with_index(index).down().build();
        if let Err(error) = self.handle.link().set(down).execute().await {
            self.log.say(Line::Removal(key, error.to_string()));
        }
    }

    async fn remove(&mut self, key: Key, index: u32, address: IpAddr) {
        self.claims(claims::Event::Cease(address));
        let message = self.request(index, address).message_mut().clone();
        match self.handle.address().del(message).execute().await {
            Err(error) if !is_gone(&error) => {
                let reason = format!("remove {address}: {error}");
                self.log.say(Line::Removal(key, reason));
            }
            Ok(()) | Err(_) => {}
        }
    }
}
