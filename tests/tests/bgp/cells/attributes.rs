//! What routes carry, and what is allowed of them.

use super::*;

pub(super) fn attributes_change_and_arrive_without_a_reset<R: Router>() {
    let topology = Topology::new("bgp-attributes");
    let setup = Setup {
        families: &["ipv4", "ipv6"],
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let with = |more: &str| bgp(ROUTER4, &format!("[[bgp.announcements]]\n{more}"));
    let speaker = topology.speak(&with("med = 7"));
    sees(&router, ROUTE4, "has the metric", |seen| {
        seen.is_some_and(|it| it.med == Some(7))
    });
    let communities = "communities = ['65001:100', '65001:1:2', 'rt:65001:5', 'no-export']";
    speaker.configure(&with(&format!(
        "med = 9\nprepend = 2\nas_path = [65010, 4200000010]\n{communities}\n[[bgp.announcements]]\nvips = ['{VIP6}']\nmed = 1"
    )));
    let seen = sees(&router, ROUTE4, "has everything", |seen| {
        seen.is_some_and(|it| it.med == Some(9))
    })
    .expect("a route");
    assert_eq!(seen.path, "65001 65001 65001 65010 4200000010");
    for community in ["65001:100", "65001:1:2", "rt:65001:5"] {
        assert!(
            seen.communities.iter().any(|it| it == community),
            "{community} in {seen:?}"
        );
    }
    sees(&router, ROUTE6, "has its own metric", |seen| {
        seen.is_some_and(|it| it.med == Some(1))
    });
    // A covering prefix instead.
    speaker.configure(&with("aggregates = ['192.0.2.0/24']"));
    learns(&router, "192.0.2.0/24");
    forgets(&router, ROUTE4);
    let neighbour = speaker.neighbour(ROUTER4);
    assert_eq!(
        (neighbour.flaps, neighbour.messages["open"].received),
        (0, 1)
    );
    // No UPDATE is sent when nothing changed.
    let said = neighbour.messages["update"].sent;
    speaker.configure(&with("aggregates = ['192.0.2.0/24']"));
    speaker.both(Standing::Announced);
    speaker.flush();
    assert_eq!(speaker.neighbour(ROUTER4).messages["update"].sent, said);
}

pub(super) fn an_internal_neighbour_hears_the_preference<R: Router>() {
    let topology = Topology::new("bgp-internal");
    let setup = Setup {
        asn: 65001,
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let config = bgp(ROUTER4, "[[bgp.announcements]]\nlocal_pref = 333")
        .replace("as = 65002", "as = 'internal'");
    let speaker = topology.speak(&config);
    let seen = learns(&router, ROUTE4);
    assert_eq!((seen.local_pref, seen.path.as_str()), (Some(333), ""));
    speaker.stand(VIP4, Standing::Depreferenced);
    sees(&router, ROUTE4, "is the worst", |seen| {
        seen.is_some_and(|it| it.local_pref == Some(0))
    });
}

pub(super) fn a_four_octet_as_is_shown_to_the_router<R: Router>() {
    let topology = Topology::new("bgp-as4");
    let setup = Setup {
        node_as: 4_200_000_001,
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let config = bgp(ROUTER4, "local_as = 4200000001").replace("as = 65002", "as = 'external'");
    let _speaker = topology.speak(&config);
    assert_eq!(learns(&router, ROUTE4).path, "4200000001");
}

pub(super) fn a_neighbour_of_any_as_is_taken_as_it_is<R: Router>() {
    let topology = Topology::new("bgp-auto");
    // External, then internal.
    for (asn, path, preference) in [(65002, "65001", None), (65001, "", Some(100))] {
        let setup = Setup {
            asn,
            ..Setup::default()
        };
        let router = R::start(&topology, &setup);
        let speaker = topology.speak(&bgp(ROUTER4, "").replace("as = 65002", "as = 'auto'"));
        let seen = learns(&router, ROUTE4);
        assert_eq!(seen.path, path);
        if preference.is_some() {
            assert_eq!(seen.local_pref, preference);
        }
        assert_eq!(speaker.neighbour(ROUTER4).asn, Some(asn));
        drop((speaker, router));
        topology.forget_routers();
    }
}

pub(super) fn segments_are_as_long_as_allowed_and_no_longer<R: Router>() {
    for passive in [false, true] {
        let topology = Topology::new("bgp-mss");
        let setup = Setup {
            passive: !passive,
            ..Setup::default()
        };
        let router = R::start(&topology, &setup);
        let speaker = topology.speak(&listening(
            ROUTER4,
            &format!("passive = {passive}\nmss = 700"),
        ));
        learns(&router, ROUTE4);
        speaker.established(ROUTER4);
        // Both ends: what we send, and what we ask the router to send. Timestamps take 12 bytes of each segment.
        for host in [&topology.node, &topology.router] {
            let longest = longest_segment(host);
            assert!((600..=700).contains(&longest), "{longest}");
        }
    }
}

pub(super) fn too_many_prefixes_end_the_session<R: Router>() {
    let topology = Topology::new("bgp-flood");
    let networks = &["203.0.113.0/26", "203.0.113.64/26", "203.0.113.128/26"];
    let setup = Setup {
        networks,
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, "max_prefixes = 2"));
    let after = speaker.until(ROUTER4, "has lost its session", |it| it.flaps == 1);
    let said = after.last_sent.expect("a notification");
    assert_eq!((said.code, said.subcode), (6, 1));
    ends(&router, &setup);
    // FRR advertises our own routes back to us, too.
    speaker.configure(&bgp(ROUTER4, "max_prefixes = 4"));
    speaker.until(ROUTER4, "counts them", |it| it.prefixes_received >= 3);
    learns(&router, ROUTE4);
}
