//! The addresses that may use routing protocols with this node. The packet path drops packets of others at the node's
//! interfaces; the sockets of BFD and VRRP check again, for packets that came by a tunnel, a VLAN or an interface without a
//! program.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Subnets};

use crate::names::entries::Entries;

/// The most networks of the list that the kernel itself checks; with a longer list only the reader of a packet does.
const MOST_NETWORKS: usize = 64;

/// The list of routers, settled; without a list every address is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routers(Option<Arc<Entries>>);

impl Routers {
    pub fn listed(mut entries: Entries) -> Self {
        entries.settle();
        Self(Some(Arc::new(entries)))
    }

    pub fn allow(&self, address: IpAddr) -> bool {
        let Some(entries) = &self.0 else {
            return true;
        };
        match address {
            IpAddr::V4(address) => {
                let address = address.to_bits();
                let before = entries.v4.partition_point(|range| range.first <= address);
                let range = before.checked_sub(1).and_then(|at| entries.v4.get(at));
                range.is_some_and(|range| address <= range.last)
            }
            IpAddr::V6(address) => {
                entries.hosts.binary_search(&address.to_bits()).is_ok()
                    || entries.prefixes.iter().any(|it| it.contains(&address))
            }
        }
    }

    /// The list as networks of one family; `None`: no list, or too many networks.
    pub fn networks(&self, six: bool) -> Option<Vec<IpNet>> {
        let entries = self.0.as_ref()?;
        let networks: Vec<IpNet> = if six {
            let hosts = entries
                .hosts
                .iter()
                .map(|host| IpNet::from(IpAddr::from(Ipv6Addr::from_bits(*host))));
            let prefixes = entries.prefixes.iter().map(|prefix| (*prefix).into());
            hosts.chain(prefixes).take(MOST_NETWORKS + 1).collect()
        } else {
            let subnets = entries.v4.iter().flat_map(|range| {
                let (first, last) = (
                    Ipv4Addr::from_bits(range.first),
                    Ipv4Addr::from_bits(range.last),
                );
                Ipv4Subnets::new(first, last, 0)
            });
            subnets.map(IpNet::V4).take(MOST_NETWORKS + 1).collect()
        };
        (networks.len() <= MOST_NETWORKS).then_some(networks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(lines: &[&str]) -> Routers {
        let mut entries = Entries::default();
        for line in lines {
            entries.push_prefix(line.parse().unwrap());
        }
        Routers::listed(entries)
    }

    #[test]
    fn listed_routers_may_speak_and_without_a_list_every_address_may() {
        let routers = list(&["10.9.0.0/30", "10.9.0.9/32", "fd00:9::/64", "fd00:8::1/128"]);
        for (address, allowed) in [
            ("10.9.0.0", true),
            ("10.9.0.3", true),
            ("10.9.0.4", false),
            ("10.9.0.9", true),
            ("10.8.255.255", false),
            ("fd00:9::77", true),
            ("fd00:9:0:1::", false),
            ("fd00:8::1", true),
            ("fd00:8::2", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(routers.allow(address), allowed, "{address}");
            assert!(Routers::default().allow(address));
        }
        assert!(
            !list(&[]).allow([10, 0, 0, 1].into()),
            "an empty list is a list"
        );
        assert_eq!(Routers::default().networks(false), None);
        assert_eq!(list(&[]).networks(true), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn the_networks_of_a_list_of_routers_hold_exactly_its_addresses(
            ranges in prop::collection::vec((any::<u8>(), any::<u8>()), 0..8),
            address: u8,
        ) {
            let mut entries = Entries::default();
            for (first, length) in ranges {
                let last = first.saturating_add(length);
                entries.push_range([10, 0, 0, first].into(), [10, 0, 0, last].into());
            }
            let routers = Routers::listed(entries);
            let address = IpAddr::from([10, 0, 0, address]);
            if let Some(networks) = routers.networks(false) {
                let held = networks.iter().any(|network| network.contains(&address));
                prop_assert_eq!(held, routers.allow(address));
            }
        }
    }
}
