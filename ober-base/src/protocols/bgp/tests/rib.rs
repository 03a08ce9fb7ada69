//! Adj-RIB-Out: the UPDATEs of a change, applied to a model of the neighbour's table, give the wanted routes.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::protocols::bgp::{
    message::{Attributes, LONGEST, NextHop, Update},
    rib::{Out, Terms},
};

fn terms() -> Terms {
    Terms {
        local_as: 65001,
        internal: false,
        families: both(),
        four_octet_as: true,
        extended_next_hop: false,
        next_hops: hops(),
    }
}

/// The neighbour's table.
#[derive(Default)]
struct Table(BTreeMap<IpNet, Arc<Attributes>>);

impl Table {
    fn apply(&mut self, updates: Vec<Update>) {
        for update in updates {
            let bytes = Message::Update(update.clone()).encode().unwrap();
            assert!(bytes.len() <= LONGEST, "{} bytes", bytes.len());
            match update {
                Update::Announce {
                    attributes,
                    prefixes,
                } => {
                    assert!(!prefixes.is_empty());
                    self.0
                        .extend(prefixes.into_iter().map(|it| (it, attributes.clone())));
                }
                Update::Withdraw { prefixes, .. } => {
                    for prefix in prefixes {
                        assert!(
                            self.0.remove(&prefix).is_some(),
                            "{prefix} was never announced"
                        );
                    }
                }
                Update::EndOfRib(_) => {}
            }
        }
    }
}

fn any_route() -> impl Strategy<Value = Route> {
    let plain = prop::collection::btree_set(0..3u32, 0..3);
    (prop::option::of(0..2u32), 0..2u8, plain).prop_map(|(med, prepend, plain)| Route {
        med,
        prepend,
        communities: Communities {
            plain,
            ..Communities::default()
        },
        ..route()
    })
}

fn any_routes() -> impl Strategy<Value = Routes> {
    let prefix = (any::<bool>(), 0..8u8).prop_map(|(v4, number)| {
        let text = if v4 {
            format!("192.0.2.{number}/32")
        } else {
            format!("2001:db8::{number}/128")
        };
        text.parse::<IpNet>().unwrap()
    });
    prop::collection::btree_map(prefix, any_route(), 0..12)
}

proptest! {
    #[test]
    fn the_difference_applied_to_the_neighbours_table_gives_the_wanted_routes(
        steps in prop::collection::vec((any_routes(), any::<bool>()), 1..8),
    ) {
        let mut out = Out::default();
        let mut table = Table::default();
        for (wanted, v6_hops) in steps {
            let mut terms = terms();
            if v6_hops {
                (terms.extended_next_hop, terms.next_hops.prefer_v6) = (true, true);
            }
            table.apply(out.sync(&terms, &wanted));
            prop_assert_eq!(&table.0, &**out.advertised());
            let prefixes: BTreeSet<_> = table.0.keys().collect();
            prop_assert_eq!(prefixes, wanted.keys().collect::<BTreeSet<_>>());
            for (prefix, attributes) in &table.0 {
                let route = &wanted[prefix];
                prop_assert_eq!(attributes.med, route.med);
                prop_assert_eq!(attributes.path.len(), 1 + usize::from(route.prepend));
                prop_assert_eq!(&attributes.communities, &route.communities);
            }
            // Nothing is sent twice.
            prop_assert_eq!(out.sync(&terms, &wanted), vec![]);
        }
    }
}

#[test]
fn thousands_of_routes_with_many_communities_are_packed_into_complete_messages() {
    let mut communities = Communities::default();
    for number in 0..64 {
        communities.plain.insert(number);
        communities.extended.insert(number.into());
        communities.large.insert([number; 3]);
    }
    let route = Route {
        prepend: 32,
        communities,
        ..route()
    };
    let v4 =
        (0..5000u32).map(|number| IpNet::from(std::net::IpAddr::V4((0x0a00_0000 | number).into())));
    let v6 = (0..3000u128)
        .map(|number| IpNet::from(std::net::IpAddr::V6((0xfd << 120 | number).into())));
    let wanted: Routes = v4.chain(v6).map(|prefix| (prefix, route.clone())).collect();
    for (four_octet_as, local_as) in [(true, 65001), (false, 4_200_000_000)] {
        let terms = Terms {
            local_as,
            four_octet_as,
            ..terms()
        };
        let (mut out, mut table) = (Out::default(), Table::default());
        let updates = out.sync(&terms, &wanted);
        assert!(updates.len() < 60, "{} messages", updates.len());
        table.apply(updates);
        assert_eq!(table.0.len(), wanted.len());
        let withdraws = out.sync(&terms, &Routes::new());
        assert!(withdraws.len() < 25, "{} messages", withdraws.len());
        table.apply(withdraws);
        assert_eq!(table.0.len(), 0);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn next_hops_are_the_nodes_own_addresses_of_a_family_that_the_session_carries() {
    let v6 = "2001:db8::1".parse().unwrap();
    let link_local = Some("fe80::1".parse().unwrap());
    let global = |link_local| {
        Some(NextHop::V6 {
            global: v6,
            link_local,
        })
    };
    let only_link = NextHop::V6 {
        global: "fe80::1".parse().unwrap(),
        link_local,
    };
    let none = NextHops::default();
    for (what, next_hops, extended, v4_hop, v6_hop) in [
        ("both", hops(), false, Some(NextHop::V4(OURS)), global(None)),
        (
            "IPv4 over IPv4, though more is possible",
            hops(),
            true,
            Some(NextHop::V4(OURS)),
            global(None),
        ),
        (
            "an IPv6 session",
            NextHops {
                prefer_v6: true,
                ..hops()
            },
            true,
            global(None),
            global(None),
        ),
        (
            "an IPv6 session, not extended",
            NextHops {
                prefer_v6: true,
                ..hops()
            },
            false,
            Some(NextHop::V4(OURS)),
            global(None),
        ),
        (
            "no IPv4 address",
            NextHops { v4: None, ..hops() },
            true,
            global(None),
            global(None),
        ),
        (
            "no IPv4 address, not extended",
            NextHops { v4: None, ..hops() },
            false,
            None,
            global(None),
        ),
        (
            "on the link",
            NextHops {
                link_local,
                ..hops()
            },
            false,
            Some(NextHop::V4(OURS)),
            global(link_local),
        ),
        (
            "the link alone",
            NextHops {
                link_local,
                ..none.clone()
            },
            true,
            Some(only_link),
            Some(only_link),
        ),
        ("nothing", none, true, None, None),
    ] {
        let terms = Terms {
            extended_next_hop: extended,
            next_hops,
            ..terms()
        };
        let mut out = Out::default();
        out.sync(&terms, &routes(&["192.0.2.10/32", "2001:db8::10/128"]));
        let hop = |prefix: &str| {
            out.advertised()
                .get(&prefix.parse().unwrap())
                .map(|it| it.next_hop)
        };
        assert_eq!(
            (hop("192.0.2.10/32"), hop("2001:db8::10/128")),
            (v4_hop, v6_hop),
            "{what}"
        );
    }
}

#[test]
fn an_internal_neighbour_gets_local_pref_without_a_path_and_an_external_one_the_reverse() {
    let prepended: Routes = routes(&["192.0.2.10/32"])
        .iter()
        .map(|(prefix, route)| {
            (
                *prefix,
                Route {
                    prepend: 2,
                    local_pref: 70,
                    ..route.clone()
                },
            )
        })
        .collect();
    for (internal, path, local_pref) in [(true, vec![], Some(70)), (false, vec![65001; 3], None)] {
        let mut out = Out::default();
        out.sync(
            &Terms {
                internal,
                ..terms()
            },
            &prepended,
        );
        let advertised = out.advertised().values().next().unwrap();
        assert_eq!(
            (&advertised.path, advertised.local_pref),
            (&path, local_pref)
        );
    }
}

#[test]
fn routes_of_a_family_that_was_not_negotiated_are_not_sent() {
    let mut out = Out::default();
    let families = [Family::Ipv6].into();
    let updates = out.sync(
        &Terms {
            families,
            ..terms()
        },
        &routes(&["192.0.2.10/32", "2001:db8::10/128"]),
    );
    assert_eq!((updates.len(), out.advertised().len()), (1, 1));
}
