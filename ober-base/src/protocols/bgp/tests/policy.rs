//! Which routes each neighbour gets.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::*;
use crate::protocols::{
    bgp::{
        configured::{Announcement, Bgp, Depreference},
        policy,
    },
    standing::Standing,
};

fn bgp(announcements: Vec<Announcement>) -> Bgp {
    Bgp {
        asn: 65001,
        router_id: None,
        listen: vec![],
        neighbours: vec![],
        announcements,
        depreference: Depreference {
            med: 1000,
            local_pref: 1,
            prepend: 3,
            communities: Communities {
                plain: [42].into(),
                ..Communities::default()
            },
        },
        settle: Duration::from_secs(30),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn advertised(
    bgp: &Bgp,
    neighbour: &str,
    standings: &[(&str, Standing)],
) -> BTreeMap<String, Route> {
    let standings = standings
        .iter()
        .map(|(vip, stands)| (ip(vip), *stands))
        .collect();
    let routes = policy::routes(bgp, ip(neighbour), &standings);
    routes
        .into_iter()
        .map(|(prefix, route)| (prefix.to_string(), route))
        .collect()
}

#[test]
fn each_standing_gives_a_route_a_worse_route_a_graceful_shutdown_route_or_none() {
    let config = bgp(vec![]);
    let of = |standing| {
        advertised(&config, "10.0.0.2", &[("192.0.2.10", standing)]).remove("192.0.2.10/32")
    };
    assert_eq!(of(Standing::Withdrawn), None);
    assert_eq!(of(Standing::Announced), Some(route()));
    let worst = of(Standing::Depreferenced).unwrap();
    assert_eq!(
        (worst.med, worst.local_pref, worst.prepend),
        (Some(1000), 1, 3)
    );
    assert!(worst.communities.plain.contains(&42));
    let leaving = of(Standing::GracefulShutdown).unwrap();
    assert_eq!((leaving.local_pref, leaving.med), (0, None));
    assert!(leaving.communities.plain.contains(&0xffff_0000));
}

#[test]
fn a_later_announcement_entry_overrides_single_keys_for_its_vips_and_neighbours() {
    let config = bgp(vec![
        Announcement {
            med: Some(10),
            prepend: Some(1),
            ..Announcement::default()
        },
        Announcement {
            vips: vec![ip("192.0.2.10")],
            med: Some(20),
            ..Announcement::default()
        },
        Announcement {
            neighbours: vec![ip("10.0.0.3")],
            announce: Some(false),
            ..Announcement::default()
        },
        Announcement {
            neighbours: vec![ip("10.0.0.3")],
            vips: vec![ip("192.0.2.11")],
            announce: Some(true),
            ..Announcement::default()
        },
    ]);
    let both = [
        ("192.0.2.10", Standing::Announced),
        ("192.0.2.11", Standing::Announced),
    ];
    let second = advertised(&config, "10.0.0.2", &both);
    let brief: Vec<_> = second.values().map(|it| (it.med, it.prepend)).collect();
    assert_eq!(brief, [(Some(20), 1), (Some(10), 1)]);
    let third = advertised(&config, "10.0.0.3", &both);
    assert_eq!(third.keys().collect::<Vec<_>>(), ["192.0.2.11/32"]);
}

#[test]
fn a_covering_prefix_is_announced_with_the_standing_of_its_best_vip() {
    use Standing::{Announced, Depreferenced, GracefulShutdown, Withdrawn};
    let aggregates: Option<Vec<IpNet>> = Some(vec!["192.0.2.0/24".parse().unwrap()]);
    let covered = |host_routes| {
        bgp(vec![Announcement {
            aggregates: aggregates.clone(),
            host_routes: Some(host_routes),
            ..Announcement::default()
        }])
    };
    let config = covered(false);
    let names = |config: &Bgp, standings: &[_]| {
        advertised(config, "10.0.0.2", standings)
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(
            &config,
            &[("192.0.2.10", Announced), ("192.0.2.11", Announced)]
        ),
        ["192.0.2.0/24"]
    );
    assert_eq!(
        names(
            &config,
            &[("192.0.2.10", Withdrawn), ("192.0.2.11", Announced)]
        ),
        ["192.0.2.0/24"]
    );
    assert_eq!(
        names(
            &config,
            &[("192.0.2.10", Withdrawn), ("192.0.2.11", Withdrawn)]
        ),
        Vec::<String>::new()
    );
    // A VIP without a covering prefix stays a host route.
    assert_eq!(
        names(&config, &[("198.51.100.1", Announced)]),
        ["198.51.100.1/32"]
    );
    assert_eq!(
        names(&covered(true), &[("192.0.2.10", Announced)]),
        ["192.0.2.0/24", "192.0.2.10/32"]
    );
    for (standings, med) in [
        ([Depreferenced, Announced], None),
        ([Depreferenced, GracefulShutdown], Some(1000)),
        ([Withdrawn, Depreferenced], Some(1000)),
    ] {
        let standings = [("192.0.2.10", standings[0]), ("192.0.2.11", standings[1])];
        assert_eq!(
            advertised(&config, "10.0.0.2", &standings)["192.0.2.0/24"].med,
            med
        );
    }
}
