//! The interface with a virtual MAC.

use std::io;

use rtnetlink::{LinkMacVlan, LinkUnspec, packet_route::link::MacVlanMode};

use super::{
    super::{super::Mac, Key, interface::Interface},
    Keep, index_of, promote,
};
use crate::file;

impl Keep {
    /// The interface with the virtual MAC, made when there is none.
    pub(super) async fn macvlan_up(&self, key: Key, mac: Mac) -> Result<u32, String> {
        let name = name(&self.interface, key);
        if index_of(&name).is_none() {
            let link = LinkMacVlan::new(&name, self.interface.index, MacVlanMode::Bridge);
            let link = link.address(mac.0.to_vec()).build();
            let made = self.handle.link().add(link).execute().await;
            made.map_err(|error| format!("make the interface {name} with MAC {mac}: {error}"))?;
            quieten(&name, &self.interface.name)
                .and_then(|()| promote(&name, &self.form))
                .map_err(|error| format!("set up the interface {name}: {error}"))?;
        }
        let index = index_of(&name).ok_or_else(|| format!("the interface {name} is gone"))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        let set = self.handle.link().set(up).execute().await;
        set.map_err(|error| format!("set the interface {name} up: {error}"))?;
        Ok(index)
    }
}

/// At most 15 letters, and of one interface, family and VRID.
pub(super) fn name(interface: &Interface, key: Key) -> String {
    let family = if key.six { 6 } else { 4 };
    format!("vr{}-{family}-{}", interface.index, key.vrid)
}

/// The interface with the virtual MAC answers for its own addresses alone, the one below it not for those; and a reply
/// may leave by the other of the two.
fn quieten(name: &str, below: &str) -> io::Result<()> {
    let set = |family: &str, interface: &str, key: &str, value: &str| {
        file::kernel_write(
            format!("/proc/sys/net/{family}/conf/{interface}/{key}"),
            value,
        )
    };
    for interface in [name, below] {
        set("ipv4", interface, "arp_ignore", "1")?;
        // A question asked for a VIP from the other interface would teach its asker's MAC.
        set("ipv4", interface, "arp_announce", "2")?;
        set("ipv4", interface, "rp_filter", "2")?;
    }
    // No link-local address of its own, which would speak while this node is backup. A kernel without IPv6 has none.
    match set("ipv6", name, "addr_gen_mode", "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
