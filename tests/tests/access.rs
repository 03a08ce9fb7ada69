//! Access lists in the kernel's own maps: the maps hold exactly what was put in, whatever was there before.
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use ober_tests::plane::{LIMITS, Lists};
use ober_user::{
    dataplane::access::{self, Diff, Error, Others, Plan},
    names::entries::Entries,
};
use proptest::prelude::*;

/// Few addresses that collide a lot: neighbours, page borders, whole pages, spilling IPv6 lines, prefixes.
fn entries() -> impl Strategy<Value = Entries> {
    let v4 = prop_oneof![
        (0u32..4, 0u32..200),
        (0u32..4, 0xff00u32..0x1_0100),
        Just((2, 0))
    ];
    let v4 = proptest::collection::vec((v4, 0u32..70), 0..30);
    let whole = proptest::collection::btree_set(0u32..6, 0..2);
    let hosts = proptest::collection::btree_set(0u128..400, 0..150);
    let nets = proptest::collection::btree_set((0u16..5, 33u8..64), 0..4);
    (v4, whole, hosts, nets).prop_map(|(v4, whole, hosts, nets)| {
        let mut entries = Entries::default();
        for ((page, low), length) in v4 {
            let first = (10 << 24) + (page << 16) + low;
            entries.push_range(first.into(), (first + length).into());
        }
        for page in whole {
            let first = (10u32 << 24) + (page << 16);
            entries.push_range(first.into(), (first | 0xffff).into());
        }
        for host in hosts {
            entries.push(IpAddr::V6((0xfd00u128 << 112 | host).into()));
        }
        for (net, length) in nets {
            let net = Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, 0);
            entries.push_prefix(IpNet::new_assert(net.into(), length).trunc());
        }
        entries.settle();
        entries
    })
}

#[test]
fn a_list_holds_exactly_the_entries_of_its_last_change_and_other_lists_stay_unchanged() {
    let lists = std::cell::RefCell::new(Lists::new("access"));
    let mut neighbour = Entries::default();
    neighbour.push("10.0.0.1".parse().unwrap());
    neighbour.push("fd00::7".parse().unwrap());
    neighbour.push_prefix("2001:db8::/40".parse().unwrap());
    access::replace(lists.borrow_mut().maps(), 1, &neighbour).unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(60));
    runner
        .run(&entries(), |wanted| {
            let mut lists = lists.borrow_mut();
            let before = access::read(lists.maps(), 0).unwrap();
            let plan = Plan::new(lists.maps(), 0, &wanted, Others::Go).unwrap();
            let Diff { added, removed } = plan.difference();
            let change = access::replace(lists.maps(), 0, &wanted).unwrap();
            prop_assert_eq!(&added, &wanted.without(&before));
            prop_assert_eq!(&removed, &before.without(&wanted));
            prop_assert_eq!(change.added, added.count());
            prop_assert_eq!(change.removed, removed.count());
            prop_assert_eq!(&access::read(lists.maps(), 0).unwrap(), &wanted);
            prop_assert_eq!(
                before.count() + change.added,
                wanted.count() + change.removed
            );
            prop_assert_eq!(&access::read(lists.maps(), 1).unwrap(), &neighbour);
            let hosts = [(0, &wanted), (1, &neighbour)];
            for (list, host) in hosts
                .into_iter()
                .flat_map(|(list, entries)| entries.hosts.iter().map(move |host| (list, *host)))
            {
                let host = IpAddr::V6(host.into());
                prop_assert!(access::listed(lists.maps(), list, host), "{}", host);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_amendment_keeps_all_other_entries_and_reports_the_exact_difference() {
    let lists = std::cell::RefCell::new(Lists::new("amended"));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(60));
    runner
        .run(&(entries(), entries(), entries()), |(old, more, less)| {
            let mut lists = lists.borrow_mut();
            let maps = lists.maps();
            access::replace(maps, 0, &Entries::default()).unwrap();
            access::replace(maps, 0, &old).unwrap();
            let others = Others::Stay { but: &less.v4 };
            let plan = Plan::new(maps, 0, &more, others).unwrap();
            plan.apply(maps, &more, others).unwrap();
            let less = Entries {
                v4: less.v4,
                ..Entries::default()
            };
            let mut both = old.without(&less);
            both.extend(more);
            both.settle();
            prop_assert_eq!(&access::read(maps, 0).unwrap(), &both);
            let expected = Diff {
                added: both.without(&old),
                removed: old.without(&both),
            };
            prop_assert_eq!(plan.difference(), expected);
            let change = plan.change();
            prop_assert_eq!(old.count() + change.added, both.count() + change.removed);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_list_that_does_not_fit_is_refused_and_leaves_the_old_one_in_force() {
    let mut lists = Lists::new("full");
    let mut old = Entries::default();
    old.push("10.0.0.1".parse().unwrap());
    old.push("fd00::1".parse().unwrap());
    access::replace(lists.maps(), 0, &old).unwrap();

    let mut pages = Entries::default();
    (0..LIMITS.ipv4_pages).for_each(|page| pages.push(IpAddr::V4((page << 16 | 1).into())));
    let mut hosts = Entries::default();
    (0..u128::from(LIMITS.ipv6_hosts) * 4)
        .for_each(|host| hosts.push(IpAddr::V6((1u128 << 120 | host).into())));
    let mut prefixes = Entries::default();
    for net in 0..=LIMITS.ipv6_prefixes {
        prefixes.push_prefix(format!("2001:db8:{net:x}::/48").parse().unwrap());
    }
    for mut wanted in [pages, hosts, prefixes] {
        wanted.push("fd00::2".parse().unwrap());
        wanted.settle();
        let error = access::replace(lists.maps(), 0, &wanted).unwrap_err();
        assert!(
            matches!(
                error,
                Error::PagesFull { .. } | Error::HostsFull { .. } | Error::PrefixesFull { .. }
            ),
            "{error}"
        );
        assert!(
            error.to_string().contains("limits."),
            "the error must name what to raise: {error}"
        );
        assert_eq!(access::read(lists.maps(), 0).unwrap(), old);
    }
}

#[test]
fn freed_pages_and_lines_are_used_again() {
    let mut lists = Lists::new("reuse");
    for round in 0..LIMITS.ipv4_pages * 2 {
        let mut wanted = Entries::default();
        wanted.push(IpAddr::V4((round << 16 | 5).into()));
        (0..50u128).for_each(|host| {
            wanted.push(IpAddr::V6(
                (u128::from(round) << 64 | 1 << 120 | host).into(),
            ));
        });
        wanted.settle();
        access::replace(lists.maps(), 0, &wanted).unwrap();
        assert_eq!(access::read(lists.maps(), 0).unwrap(), wanted);
    }
    access::replace(lists.maps(), 0, &Entries::default()).unwrap();
    let held = access::read(lists.maps(), 0).unwrap();
    assert_eq!(
        (held.v4, held.hosts, held.prefixes),
        (vec![], vec![], BTreeSet::new())
    );
    let tags = &lists.maps().tags;
    assert!((0..tags.count()).all(|word| tags.read(word).bits == 0));
}
