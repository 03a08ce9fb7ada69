//! The matrix: every row with every router.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ober_tests::{lab::until, peers::Bird};
use ober_user::announce::gate::Standing;

use crate::{
    router::{ROUTE4, ROUTE6, Router, Setup, V6, ends, forgets, learns, sees},
    topology::{
        PATIENCE, ROUTER_LINK, ROUTER4, ROUTER6, Speaker, Topology, VIP4, VIP6, become_victim, bgp,
        listening, longest_segment,
    },
};

mod attributes;

use attributes::*;

fn announced_withdrawn_and_announced_again<R: Router>() {
    let (topology, setup) = (Topology::new("bgp"), Setup::default());
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, ""));
    let seen = learns(&router, ROUTE4);
    assert_eq!(
        (seen.next_hop.as_str(), seen.path.as_str()),
        ("10.9.0.1", "65001")
    );
    speaker.stand(VIP4, Standing::Withdrawn);
    speaker.flush();
    assert!(
        speaker
            .neighbour(ROUTER4)
            .announced
            .iter()
            .all(|route| route.prefix != ROUTE4)
    );
    forgets(&router, ROUTE4);
    speaker.stand(VIP4, Standing::Announced);
    learns(&router, ROUTE4);
    assert_eq!(speaker.neighbour(ROUTER4).flaps, 0);
}

fn signed_sessions_come_up_with_the_right_password_alone<R: Router>() {
    let setup = Setup {
        password: Some("s3cret"),
        ..Setup::default()
    };
    for passive in [false, true] {
        let topology = Topology::new("bgp-md5");
        let setup = Setup {
            passive: !passive,
            ..setup.clone()
        };
        let router = R::start(&topology, &setup);
        let password = topology.lab.directory().join("password");
        let write = |text: &str| {
            std::fs::write(&password, text).expect("write");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&password, mode).expect("protect");
        };
        write("wrong\n");
        let config = listening(
            ROUTER4,
            &format!(
                "password_file = '{}'\npassive = {passive}",
                password.display()
            ),
        );
        let speaker = topology.speak(&config);
        std::thread::sleep(Duration::from_secs(3));
        let neighbour = speaker.neighbour(ROUTER4);
        assert!(
            !router.established(&setup) && neighbour.announced.is_empty(),
            "{neighbour:#?}"
        );
        if !passive {
            let failure = neighbour.last_failure.expect("a reason");
            assert!(failure.contains("password"), "{failure}");
        }
        write("s3cret\n");
        speaker.configure(&config);
        assert!(speaker.established(ROUTER4).signed);
        learns(&router, ROUTE4);
        let shown = format!("{:?} {:?}", speaker.handle, speaker.handle.overview());
        assert!(!shown.contains("s3cret"));
    }
}

fn generalized_ttl_security_accepts_neighbours_on_the_link_only<R: Router>() {
    // Without `ttl_security` our packets leave with TTL 1, and the router drops them.
    for (keys, comes_up) in [("", false), ("ttl_security = 1", true)] {
        let topology = Topology::new("bgp-gtsm");
        let setup = Setup {
            ttl_security: true,
            ..Setup::default()
        };
        let router = R::start(&topology, &setup);
        let speaker = topology.speak(&listening(ROUTER4, keys));
        if comes_up {
            speaker.established(ROUTER4);
            learns(&router, ROUTE4);
        } else {
            std::thread::sleep(Duration::from_secs(3));
            assert!(!router.established(&setup));
        }
    }
}

fn what_comes_from_further_away_than_allowed_is_not_heard<R: Router>() {
    let (topology, setup) = (Topology::new("bgp-ttl"), Setup::default());
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&listening(ROUTER4, "ttl_security = 1"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(!router.established(&setup));
    assert_ne!(speaker.neighbour(ROUTER4).state.name(), "established");
}

fn a_session_over_ipv6_carries_ipv6<R: Router>() {
    let topology = Topology::new("bgp-v6");
    let setup = Setup {
        session: V6,
        families: &["ipv6"],
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER6, ""));
    assert_eq!(learns(&router, ROUTE6).next_hop, "fd09::1");
    assert_eq!(speaker.neighbour(ROUTER6).families, ["ipv6"]);
}

fn one_session_carries_both_families_each_with_its_next_hop<R: Router>() {
    for session in [crate::router::V4, V6] {
        let topology = Topology::new("bgp-both");
        let setup = Setup {
            session,
            families: &["ipv4", "ipv6"],
            ..Setup::default()
        };
        let router = R::start(&topology, &setup);
        let speaker = topology.speak(&bgp(session.1, ""));
        assert_eq!(learns(&router, ROUTE4).next_hop, "10.9.0.1");
        assert_eq!(learns(&router, ROUTE6).next_hop, "fd09::1");
        speaker.both(Standing::Withdrawn);
        forgets(&router, ROUTE4);
        forgets(&router, ROUTE6);
    }
}

fn ipv4_routes_have_an_ipv6_next_hop_where_both_know_how<R: Router>() {
    let topology = Topology::new("bgp-enhe");
    let setup = Setup {
        session: V6,
        families: &["ipv4", "ipv6"],
        extended: true,
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER6, ""));
    assert_eq!(learns(&router, ROUTE4).next_hop, "fd09::1");
    assert!(speaker.neighbour(ROUTER6).extended_next_hop);
    speaker.stand(VIP4, Standing::Withdrawn);
    forgets(&router, ROUTE4);
    assert_eq!(speaker.neighbour(ROUTER6).flaps, 0);
}

fn a_neighbour_on_the_link_hears_both_next_hops<R: Router>() {
    let topology = Topology::new("bgp-link");
    let setup = Setup {
        session: crate::router::LINK,
        families: &["ipv4", "ipv6"],
        extended: true,
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER_LINK, "interface = 'r0'\nsource = 'fe80::1'"));
    assert_eq!(learns(&router, ROUTE6).next_hop, "fd09::1");
    assert_eq!(learns(&router, ROUTE4).next_hop, "fd09::1");
    assert_eq!(speaker.neighbour(ROUTER_LINK).flaps, 0);
}

fn a_route_refresh_is_answered<R: Router>() {
    let (topology, setup) = (Topology::new("bgp-refresh"), Setup::default());
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, ""));
    learns(&router, ROUTE4);
    let before = speaker.neighbour(ROUTER4).messages["update"].sent;
    router.refresh(&setup);
    speaker.until(ROUTER4, "is asked for everything again", |it| {
        it.messages["refresh"].received >= 1 && it.messages["update"].sent > before
    });
    learns(&router, ROUTE4);
    assert_eq!(speaker.neighbour(ROUTER4).flaps, 0);
}

fn a_frozen_router_is_noticed_by_the_hold_time<R: Router>() {
    let topology = Topology::new("bgp-frozen");
    let setup = Setup {
        hold_time: 3,
        ..Setup::default()
    };
    let mut router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, "hold_time = '3s'"));
    learns(&router, ROUTE4);
    assert_eq!(speaker.neighbour(ROUTER4).hold_time, Some(3));
    let began = Instant::now();
    router.signal(Signal::SIGSTOP);
    let after = speaker.until(ROUTER4, "has lost its session", |it| it.flaps == 1);
    let took = began.elapsed();
    router.signal(Signal::SIGCONT);
    assert!(took > Duration::from_millis(1500), "{took:?}");
    let said = after.last_sent.expect("a notification");
    assert_eq!((said.code, said.subcode), (4, 0));
    speaker.established(ROUTER4);
    learns(&router, ROUTE4);
}

fn a_frozen_speaker_is_noticed_by_the_router<R: Router>() {
    become_victim();
    let topology = Topology::new("bgp-freeze");
    let setup = Setup {
        hold_time: 3,
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let mut victim = topology.victim(&bgp(ROUTER4, "hold_time = '3s'"));
    learns(&router, ROUTE4);
    victim.signal(Signal::SIGSTOP).expect("freeze it");
    forgets(&router, ROUTE4);
    victim.signal(Signal::SIGCONT).expect("thaw it");
    learns(&router, ROUTE4);
}

fn a_killed_speaker_is_noticed_at_once<R: Router>() {
    become_victim();
    let topology = Topology::new("bgp-kill");
    let setup = Setup {
        hold_time: 180,
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let mut victim = topology.victim(&bgp(ROUTER4, "hold_time = '180s'"));
    learns(&router, ROUTE4);
    victim.kill().expect("kill it");
    // The router forgets it long before the hold time ends.
    forgets(&router, ROUTE4);
    let _again = topology.victim(&bgp(ROUTER4, "hold_time = '180s'"));
    learns(&router, ROUTE4);
}

fn a_killed_router_is_noticed_at_once_and_spoken_to_again<R: Router>() {
    let topology = Topology::new("bgp-killed");
    let setup = Setup {
        hold_time: 180,
        ..Setup::default()
    };
    let mut router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, "hold_time = '180s'"));
    learns(&router, ROUTE4);
    router.signal(Signal::SIGKILL);
    let after = speaker.until(ROUTER4, "has lost its session", |it| it.flaps == 1);
    let why = after.last_failure.expect("a reason");
    assert!(
        why.contains("the connection ended in established") || why.contains("cannot connect"),
        "{why}"
    );
    router.restart(&topology, &setup);
    learns(&router, ROUTE4);
}

fn an_interface_that_goes_down_ends_the_session_and_brings_it_back<R: Router>() {
    let topology = Topology::new("bgp-down");
    let setup = Setup {
        hold_time: 3,
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, "hold_time = '3s'"));
    learns(&router, ROUTE4);
    topology
        .node
        .ip(&["link set r0 down"])
        .expect("take it down");
    speaker.until(ROUTER4, "has lost its session", |it| it.flaps == 1);
    ends(&router, &setup);
    topology.node.ip(&["link set r0 up"]).expect("take it up");
    speaker.established(ROUTER4);
    learns(&router, ROUTE4);
}

fn a_passive_speaker_is_connected_to<R: Router>() {
    let (topology, setup) = (Topology::new("bgp-passive"), Setup::default());
    let router = R::start(&topology, &setup);
    let _speaker = topology.speak(&listening(ROUTER4, "passive = true"));
    learns(&router, ROUTE4);
}

fn a_passive_router_is_connected_to<R: Router>() {
    let topology = Topology::new("bgp-active");
    let setup = Setup {
        passive: true,
        ..Setup::default()
    };
    let router = R::start(&topology, &setup);
    let _speaker = topology.speak(&bgp(ROUTER4, "source = '10.9.0.1'\ninterface = 'r0'"));
    learns(&router, ROUTE4);
}

fn of_two_connections_one_stays<R: Router>() {
    // The router's identifier is 10.9.0.2: lower and higher than ours.
    for id in ["10.9.0.1", "10.9.0.3"] {
        let (topology, setup) = (Topology::new("bgp-collide"), Setup::default());
        let config = listening(ROUTER4, "")
            .replace("as = 65001", &format!("as = 65001\nrouter_id = '{id}'"));
        let speaker = topology.speak(&config);
        let router = R::start(&topology, &setup);
        learns(&router, ROUTE4);
        let before = speaker.established(ROUTER4);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(speaker.neighbour(ROUTER4).flaps, before.flaps, "it stays");
    }
}

fn a_graceful_shutdown_is_seen_before_the_withdraw<R: Router>() {
    let (topology, setup) = (Topology::new("bgp-gshut"), Setup::default());
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, ""));
    learns(&router, ROUTE4);
    speaker.stand(VIP4, Standing::GracefulShutdown);
    sees(&router, ROUTE4, "says goodbye", |seen| {
        seen.is_some_and(|it| {
            it.communities
                .iter()
                .any(|word| word == "graceful-shutdown")
        })
    });
    speaker.stand(VIP4, Standing::Withdrawn);
    forgets(&router, ROUTE4);
    assert_eq!(speaker.neighbour(ROUTER4).flaps, 0);
}

fn end_of_rib_is_held_until_the_first_verdicts<R: Router>() {
    let (topology, setup) = (Topology::new("bgp-eor"), Setup::default());
    let mut router = R::start(&topology, &setup);
    let speaker: Speaker = topology.listen(&bgp(ROUTER4, ""));
    speaker.established(ROUTER4);
    speaker.stand(VIP4, Standing::Announced);
    learns(&router, ROUTE4);
    assert!(!router.heard_end_of_rib());
    speaker.handle.settled();
    until("End-of-RIB", PATIENCE, || {
        Ok(router.heard_end_of_rib().then_some(()))
    })
    .expect("it comes");
}

fn a_planned_stop_withdraws_and_says_why<R: Router>() {
    let (topology, setup) = (Topology::new("bgp-stop"), Setup::default());
    let router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, ""));
    learns(&router, ROUTE4);
    speaker.stop("kernel update");
    forgets(&router, ROUTE4);
    ends(&router, &setup);
    let error = router.last_error(&setup);
    assert!(
        error.contains("dministrative") || error.contains("kernel update"),
        "{error}"
    );
}

#[test]
fn a_router_of_two_octets_gets_as4_path_beside_as_trans() {
    let topology = Topology::new("bgp-as2");
    let setup = Setup {
        two_octets: true,
        ..Setup::default()
    };
    let router: Bird = Router::start(&topology, &setup);
    let keys = "[[bgp.announcements]]\nas_path = [65010, 4200000010]";
    let _speaker = topology.speak(&bgp(ROUTER4, keys));
    let path = learns(&router, ROUTE4).path;
    assert_eq!(path, "65001 65010 4200000010");
}

crate::matrix! {
    announced_withdrawn_and_announced_again
    signed_sessions_come_up_with_the_right_password_alone
    generalized_ttl_security_accepts_neighbours_on_the_link_only
    what_comes_from_further_away_than_allowed_is_not_heard
    a_session_over_ipv6_carries_ipv6
    one_session_carries_both_families_each_with_its_next_hop
    ipv4_routes_have_an_ipv6_next_hop_where_both_know_how
    a_neighbour_on_the_link_hears_both_next_hops
    a_route_refresh_is_answered
    a_frozen_router_is_noticed_by_the_hold_time
    a_frozen_speaker_is_noticed_by_the_router
    a_killed_speaker_is_noticed_at_once
    a_killed_router_is_noticed_at_once_and_spoken_to_again
    an_interface_that_goes_down_ends_the_session_and_brings_it_back
    a_passive_speaker_is_connected_to
    a_passive_router_is_connected_to
    of_two_connections_one_stays
    attributes_change_and_arrive_without_a_reset
    an_internal_neighbour_hears_the_preference
    a_four_octet_as_is_shown_to_the_router
    a_neighbour_of_any_as_is_taken_as_it_is
    segments_are_as_long_as_allowed_and_no_longer
    too_many_prefixes_end_the_session
    a_graceful_shutdown_is_seen_before_the_withdraw
    end_of_rib_is_held_until_the_first_verdicts
    a_planned_stop_withdraws_and_says_why
}
