//! BGP with BFD beside it: every row with every router.

use std::time::{Duration, Instant};

use ober_tests::lab::until;
use ober_user::{
    api::status::bfd::{Bfd, Session},
    api::status::bgp::PathState,
    protocols::bfd::State,
};

use crate::{
    router::{ROUTE4, Router, Setup, ends, forgets, learns},
    topology::{PATIENCE, ROUTER4, Speaker, Topology, bgp, listening},
};

/// Our detection time is 600 ms, the router's six seconds: it is always this node that ends the session.
const SLOW_TO_MISS: &str = "hold_time = '180s'\nbfd = 'uneven'\n";
const UNEVEN: &str = "[bfd.profiles.uneven]\ntransmit = '2s'\nreceive = '200ms'\n";

fn watched() -> Setup {
    Setup {
        hold_time: 180,
        bfd: true,
        ..Setup::default()
    }
}

fn session(speaker: &Speaker) -> Option<Session> {
    let sessions = Bfd::from(&speaker.bfd.overview()).sessions;
    sessions
        .into_iter()
        .find(|it| it.peer.to_string() == ROUTER4)
}

/// Up at both ends, and as fast as agreed.
fn comes_up(speaker: &Speaker) -> Session {
    until("BFD comes up", PATIENCE, || {
        let session = session(speaker);
        let up = |it: &Session| {
            it.state == State::Up
                && it.remote_state == State::Up
                && it.detection_microseconds == Some(600_000)
        };
        anyhow::ensure!(session.as_ref().is_some_and(up), "{session:#?}");
        Ok(session)
    })
    .unwrap_or_else(|error| panic!("{error:#}"))
}

/// Both protocols up, and so for two seconds: FRR, once it knows the connection's address, may begin its BFD anew and take
/// BGP down with it.
fn settles(speaker: &Speaker) {
    comes_up(speaker);
    until("both protocols stay up", PATIENCE, || {
        let before = speaker.neighbour(ROUTER4).flaps;
        std::thread::sleep(Duration::from_secs(2));
        let now = speaker.neighbour(ROUTER4);
        let up = now.state.name() == "established" && now.bfd == Some(PathState::Up);
        anyhow::ensure!(up && now.flaps == before, "{now:#?}");
        Ok(Some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}

fn a_path_that_bfd_finds_cut_ends_the_session_at_once_and_both_come_back<R: Router>() {
    let (topology, setup) = (Topology::new("bgp-bfd"), watched());
    let mut router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, &format!("{SLOW_TO_MISS}{UNEVEN}")));
    learns(&router, ROUTE4);
    settles(&speaker);
    let before = speaker.neighbour(ROUTER4).flaps;
    let began = Instant::now();
    topology.cut_bfd(true);
    let after = speaker.until(ROUTER4, "has lost its session", |it| it.flaps > before);
    let took = began.elapsed();
    let said = after.last_sent.expect("a notification");
    assert_eq!((said.code, said.subcode), (6, 10));
    // The hold time is three minutes; the rest leaves a busy machine its time.
    assert!(took < Duration::from_secs(5), "{took:?}");
    until("the router was told why", PATIENCE, || {
        let log = router.log();
        // RFC 9384, which FRR writes one way and BIRD another.
        let lines = [
            "received from neighbor 10.9.0.1 6/10",
            "Received: Unknown error 6.10",
        ];
        anyhow::ensure!(lines.iter().any(|words| log.contains(words)), "{log}");
        Ok(Some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    topology.cut_bfd(false);
    comes_up(&speaker);
    speaker.established(ROUTER4);
    learns(&router, ROUTE4);
}

fn a_strict_session_waits_for_bfd_and_comes_back_with_it<R: Router>() {
    let (topology, setup) = (Topology::new("bgp-strict"), watched());
    let mut router = R::start(
        &topology,
        &Setup {
            bfd: false,
            ..setup.clone()
        },
    );
    let speaker = topology.speak(&bgp(
        ROUTER4,
        &format!("{SLOW_TO_MISS}strict = true\n{UNEVEN}"),
    ));
    speaker.until(ROUTER4, "waits for BFD", |it| {
        it.state.name() == "open-confirm"
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_ne!(speaker.neighbour(ROUTER4).state.name(), "established");
    assert!(!router.established(&setup));
    router.configure(&setup);
    settles(&speaker);
    learns(&router, ROUTE4);
    let before = speaker.neighbour(ROUTER4).flaps;
    topology.cut_bfd(true);
    speaker.until(ROUTER4, "has lost its session", |it| it.flaps > before);
    forgets(&router, ROUTE4);
    std::thread::sleep(Duration::from_secs(3));
    assert_ne!(speaker.neighbour(ROUTER4).state.name(), "established");
    topology.cut_bfd(false);
    speaker.established(ROUTER4);
    learns(&router, ROUTE4);
}

/// FRR takes GTSM for a reason to run multihop BFD; BIRD does not. `auto`, the default, follows either.
fn ttl_security_and_bfd_go_together<R: Router>() {
    let topology = Topology::new("bgp-bfd-gtsm");
    let setup = Setup {
        ttl_security: true,
        ..watched()
    };
    let router = R::start(&topology, &setup);
    // Not `strict`: without `update-source` FRR begins its multihop BFD only when the BGP session is up.
    let keys = "hold_time = '180s'\nttl_security = 1\nbfd = 'fast'";
    let speaker = topology.speak(&listening(ROUTER4, keys));
    speaker.established(ROUTER4);
    learns(&router, ROUTE4);
    let session = comes_up(&speaker);
    assert_eq!(
        (session.mode.as_str(), session.hops.as_str()),
        ("auto", R::BFD_WITH_GTSM)
    );
}

fn a_frozen_speaker_is_noticed_by_bfd_and_comes_back<R: Router>() {
    crate::topology::become_victim();
    let (topology, setup) = (Topology::new("bgp-bfd-freeze"), watched());
    let router = R::start(&topology, &setup);
    let config = bgp(ROUTER4, "hold_time = '180s'\nbfd = 'fast'");
    let mut victim = topology.victim(&config);
    learns(&router, ROUTE4);
    until("the router watches us", PATIENCE, || {
        Ok(router.bfd_is_up().then_some(()))
    })
    .expect("BFD");
    // A frozen process keeps its connection: only BFD can notice.
    victim
        .signal(nix::sys::signal::Signal::SIGSTOP)
        .expect("freeze it");
    forgets(&router, ROUTE4);
    victim.kill().expect("kill it");
    let _again = topology.victim(&config);
    learns(&router, ROUTE4);
}

fn a_planned_stop_is_told_by_bgp_before_bfd_says_anything<R: Router>() {
    let (topology, setup) = (Topology::new("bgp-bfd-stop"), watched());
    let mut router = R::start(&topology, &setup);
    let speaker = topology.speak(&bgp(ROUTER4, "hold_time = '180s'\nbfd = 'fast'"));
    learns(&router, ROUTE4);
    settles(&speaker);
    speaker.stop("kernel update");
    ends(&router, &setup);
    until("the router was told why", PATIENCE, || {
        let log = router.log();
        let notified = log.find("dministrative");
        anyhow::ensure!(notified.is_some(), "{log}");
        // FRR logs BFD as down later too: our BFD ends after BGP.
        let down = ["BFD down", "BFD session down"]
            .iter()
            .find_map(|it| log.find(it));
        anyhow::ensure!(down.is_none_or(|down| notified < Some(down)), "{log}");
        Ok(Some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}

crate::matrix! {
    a_path_that_bfd_finds_cut_ends_the_session_at_once_and_both_come_back
    a_strict_session_waits_for_bfd_and_comes_back_with_it
    ttl_security_and_bfd_go_together
    a_frozen_speaker_is_noticed_by_bfd_and_comes_back
    a_planned_stop_is_told_by_bgp_before_bfd_says_anything
}
