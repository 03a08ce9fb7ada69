//! The interface with a virtual MAC.

use std::io;

use futures_util::TryStreamExt as _;
use rtnetlink::{
    LinkMacVlan, LinkUnspec,
    packet_route::link::{InfoKind, LinkAttribute, LinkMessage, MacVlanMode},
};

use super::{
    super::{super::Mac, Key, interface::Interface},
    Keep, Sysctls, promote,
};
use crate::system::{netlink::refused_with, ownership};

impl Keep {
    /// The interface with the virtual MAC, up and made if needed.
    pub(super) async fn macvlan_up(&mut self, key: Key, mac: Mac) -> Result<u32, String> {
        let name = name(&self.interface, key);
        let index = match self.macvlan(&name, mac).await? {
            Some(index) => index,
            None => self.make_macvlan(&name, mac).await?,
        };
        let up = LinkUnspec::new_with_index(index).up().build();
        let set = self.handle.link().set(up).execute().await;
        set.map_err(|error| format!("set the interface {name} up: {error}"))?;
        Ok(index)
    }

    async fn make_macvlan(&self, name: &str, mac: Mac) -> Result<u32, String> {
        let link = LinkMacVlan::new(name, self.interface.index, MacVlanMode::Bridge)
            .address(mac.0.to_vec())
            .build();
        let made = self.handle.link().add(link).execute().await;
        made.map_err(|error| format!("make the interface {name} with MAC {mac}: {error}"))?;
        let set_up = |error: String| format!("set up the interface {name}: {error}");
        let marked = LinkUnspec::new_with_name(name).alias(ownership::ALIAS);
        let marked = self.handle.link().set(marked.build()).execute().await;
        marked.map_err(|error| set_up(error.to_string()))?;
        quieten(&self.sysctls, name, &self.interface.name)
            .map_err(|error| set_up(error.to_string()))?;
        promote(&self.sysctls, name, &self.form).map_err(|error| set_up(error.to_string()))?;
        let index = nix::net::if_::if_nametoindex(name);
        index.map_err(|_errno| format!("the interface {name} is gone"))
    }

    /// Sets down the interface that an earlier daemon left, if there is one. An interface of that name that others made is left
    /// alone.
    pub(super) async fn silence_left(&self, key: Key, mac: Mac) {
        let name = name(&self.interface, key);
        if let Ok(Some(index)) = self.macvlan(&name, mac).await {
            self.silence(key, index).await;
        }
    }

    pub(super) async fn remove_macvlan(&self, key: Key, mac: Mac) -> Result<(), String> {
        let name = name(&self.interface, key);
        // An interface that others made is left alone; that was reported when it was needed.
        let Ok(Some(index)) = self.macvlan(&name, mac).await else {
            return Ok(());
        };
        let removed = self.handle.link().del(index).execute().await;
        removed.map_err(|error| format!("remove the interface {name}: {error}"))
    }

    /// The interface of that name, if this or an earlier daemon made it.
    async fn macvlan(&self, name: &str, mac: Mac) -> Result<Option<u32>, String> {
        let mut found = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute();
        let link = match found.try_next().await {
            Ok(Some(link)) => link,
            Ok(None) => return Ok(None),
            Err(error) if refused_with(&error, &[libc::ENODEV]) => return Ok(None),
            Err(error) => return Err(format!("look for the interface {name}: {error}")),
        };
        if is_made_here(&link, &self.interface, mac) {
            return Ok(Some(link.header.index));
        }
        Err(format!(
            "use the interface {name}: Herr Ober did not make it; rename or remove it, or leave vrrp.virtual_mac out"
        ))
    }
}

/// Recognised by its mark; one from before the marks by its parent and by a MAC that only virtual routers have.
fn is_made_here(link: &LinkMessage, below: &Interface, mac: Mac) -> bool {
    let has = |wanted: LinkAttribute| link.attributes.contains(&wanted);
    let named = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::IfAlias(_));
    ownership::kind(link) == Some(&InfoKind::MacVlan)
        && has(LinkAttribute::Link(below.index))
        && has(LinkAttribute::Address(mac.0.to_vec()))
        && (ownership::is_marked_link(link) || !link.attributes.iter().any(named))
}

/// At most 15 letters, made of one interface, family and VRID.
pub(super) fn name(interface: &Interface, key: Key) -> String {
    let family = if key.six { 6 } else { 4 };
    format!("vr{}-{family}-{}", interface.index, key.vrid)
}

/// Makes the interface with the virtual MAC answer ARP for its own addresses alone, and the one below it not for those; a reply
/// may leave by the other of the two.
fn quieten(sysctls: &Sysctls, name: &str, below: &str) -> io::Result<()> {
    for interface in [name, below] {
        sysctls.set("ipv4", interface, "arp_ignore", "1")?;
        // A request that the other interface sends from a VIP would teach neighbours that interface's MAC.
        sysctls.set("ipv4", interface, "arp_announce", "2")?;
        sysctls.set("ipv4", interface, "rp_filter", "2")?;
    }
    // No link-local address of its own, which would send packets while this node is backup. A kernel without IPv6 has none.
    match sysctls.set("ipv6", name, "addr_gen_mode", "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
