//! Against FRR's bfdd.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use ober_tests::{
    lab::until,
    peers::{Daemon, Frr},
};
use ober_user::protocols::bfd::{Diagnostic, Mode, Settings, State};
use serde_json::Value;

use crate::link::{Bfd, Link, OURS4, OURS6, PATIENCE, THEIRS4, THEIRS6, every, settings};

/// How FRR writes 100 ms, three times.
const TIMERS: &str = "receive-interval 100\n transmit-interval 100\n detect-multiplier 3\n";

fn frr(link: &Link, config: &str) -> Frr {
    Frr::start(&link.lab, &link.theirs, config).expect("FRR starts")
}

fn peer(frr: &Frr, address: &str) -> Value {
    let peers = frr.show("bfd peers").expect("FRR's peers");
    let found = peers
        .as_array()
        .expect("a list")
        .iter()
        .find(|peer| peer["peer"] == address)
        .cloned();
    found
        .with_context(|| format!("{address} in {peers:#}"))
        .expect("it is there")
}

/// Waits until FRR reports this value of its peer.
fn says(frr: &Frr, address: &str, key: &str, value: &str) {
    let said = || {
        let peer = peer(frr, address);
        (peer[key] == value)
            .then_some(())
            .with_context(|| format!("{peer:#}"))
            .map(Some)
    };
    until(&format!("FRR says {key} {value}"), PATIENCE, said).expect("it says so");
}

/// A session over one hop that is up at both ends.
fn up(link: &Link) -> (Frr, Bfd) {
    let frr = frr(link, &format!("bfd\n peer {OURS4}\n {TIMERS}"));
    let bfd = link.bfd(&[settings(THEIRS4)]);
    bfd.comes(THEIRS4, State::Up);
    assert_eq!(bfd.change().1.state, State::Up);
    (frr, bfd)
}

#[test]
fn sessions_over_one_hop_come_up_over_both_families_and_negotiate() {
    let link = Link::new("bfd-frr-up");
    let frr = frr(
        &link,
        &format!(
            "bfd\n peer {OURS4}\n {TIMERS} peer {OURS6}\n receive-interval 200\n transmit-interval 150\n detect-multiplier 5\n"
        ),
    );
    let bfd = link.bfd(&[settings(THEIRS4), settings(THEIRS6)]);
    for (ours, theirs) in [(OURS4, THEIRS4), (OURS6, THEIRS6)] {
        bfd.comes(theirs, State::Up);
        says(&frr, ours, "status", "up");
    }
    let negotiated = || {
        let (four, six) = (bfd.session(THEIRS4), bfd.session(THEIRS6));
        let done = four.transmit_microseconds == Some(100_000)
            && four.detection_microseconds == Some(300_000)
            // FRR accepts a packet each 200 ms; our detection time is five of FRR's, 150 ms apart.
            && six.transmit_microseconds == Some(200_000)
            && six.detection_microseconds == Some(750_000);
        done.then_some(())
            .with_context(|| format!("{four:#?}{six:#?}"))
            .map(Some)
    };
    until("both sessions are negotiated", PATIENCE, negotiated).expect("they are");
    says(&frr, OURS4, "diagnostic", "ok");
    let four = bfd.session(THEIRS4);
    assert_eq!(
        (four.hops.as_str(), four.failures, four.drops.len()),
        ("single-hop", 0, 0)
    );
    assert_eq!(bfd.status().drops.len(), 0);
}

#[test]
fn a_session_over_several_hops_comes_up_over_both_families() {
    let link = Link::new("bfd-frr-multi");
    let frr = frr(
        &link,
        &format!(
            "bfd\n peer 10.9.9.1 multihop local-address 10.9.9.2\n {TIMERS} peer fd99::1 multihop local-address fd99::2\n {TIMERS}"
        ),
    );
    let multi = |peer: &str, local: &str| Settings {
        local: Some(local.parse().expect("an address")),
        mode: Mode::MultiHop { min_ttl: 254 },
        ..settings(peer)
    };
    let bfd = link.bfd(&[multi("10.9.9.2", "10.9.9.1"), multi("fd99::2", "fd99::1")]);
    for (ours, theirs) in [("10.9.9.1", "10.9.9.2"), ("fd99::1", "fd99::2")] {
        assert_eq!(bfd.comes(theirs, State::Up).hops, "multi-hop");
        says(&frr, ours, "status", "up");
    }
}

#[test]
fn auto_mode_follows_frr_to_the_multihop_port_that_ttl_security_makes_it_use() {
    let link = Link::new("bfd-frr-gtsm");
    // BFD does not need an established BGP session.
    let frr = frr(
        &link,
        &format!(
            "router bgp 65002\n no bgp ebgp-requires-policy\n neighbor {OURS4} remote-as 65001\n \
             neighbor {OURS4} ttl-security hops 1\n neighbor {OURS4} bfd 3 100 100\n neighbor {OURS4} update-source {THEIRS4}\n"
        ),
    );
    let single = link.bfd(&[settings(THEIRS4)]);
    // Our single-hop session does not listen on the multihop port.
    sleep(Duration::from_secs(3));
    assert_ne!(single.session(THEIRS4).state, State::Up);
    single.set(&[Settings {
        mode: Mode::Auto,
        ..settings(THEIRS4)
    }]);
    let session = single.comes(THEIRS4, State::Up);
    assert_eq!(
        (session.mode.as_str(), session.hops.as_str()),
        ("auto", "multi-hop")
    );
    says(&frr, OURS4, "status", "up");
}

#[test]
fn auto_mode_stays_on_the_single_hop_port_if_the_neighbour_uses_it() {
    let link = Link::new("bfd-frr-auto");
    let frr = frr(&link, &format!("bfd\n peer {OURS4}\n {TIMERS}"));
    let bfd = link.bfd(&[Settings {
        mode: Mode::Auto,
        ..settings(THEIRS4)
    }]);
    assert_eq!(bfd.comes(THEIRS4, State::Up).hops, "single-hop");
    says(&frr, OURS4, "status", "up");
}

#[test]
fn a_killed_neighbour_is_detected_within_its_detection_time() {
    let link = Link::new("bfd-frr-kill");
    let (mut frr, bfd) = up(&link);
    let negotiated =
        || Ok((bfd.session(THEIRS4).detection_microseconds == Some(300_000)).then_some(()));
    until("the detection time is negotiated", PATIENCE, negotiated).expect("it is");
    let killed = Instant::now();
    frr.daemon(Daemon::Bfdd)
        .expect("bfdd")
        .signal(Signal::SIGKILL)
        .expect("kill");
    let (at, change) = bfd.change();
    assert_eq!(
        (change.state, change.diagnostic),
        (State::Down, Diagnostic::TimeExpired)
    );
    let took = at - killed;
    println!("a killed neighbour, 100 ms x 3: told after {took:?}");
    // The last packet may be an interval old; the upper bound leaves a busy machine its time.
    assert!(
        took > Duration::from_millis(190) && took < Duration::from_millis(600),
        "{took:?}"
    );
    // It comes back by itself.
    frr.restart(&link.theirs, Daemon::Bfdd)
        .expect("bfdd starts again");
    frr.configure(&format!("bfd\n peer {OURS4}\n {TIMERS}"))
        .expect("configure");
    assert_eq!(bfd.change().1.state, State::Up);
    let session = bfd.session(THEIRS4);
    assert_eq!((session.ups, session.failures), (2, 1));
}

#[test]
fn the_neighbour_sees_a_planned_stop_as_admin_down() {
    let link = Link::new("bfd-frr-stop");
    let (frr, bfd) = up(&link);
    bfd.admin_down();
    says(&frr, OURS4, "status", "down");
    says(&frr, OURS4, "remote-diagnostic", "administratively down");
    assert_eq!(bfd.change().1.state, State::AdminDown);
    assert_eq!(bfd.session(THEIRS4).state, State::AdminDown);
}

#[test]
fn a_removed_session_sends_admin_down_ends_and_can_be_set_again() {
    let link = Link::new("bfd-frr-gone");
    let (frr, bfd) = up(&link);
    bfd.set(&[]);
    says(&frr, OURS4, "remote-diagnostic", "administratively down");
    assert!(bfd.status().sessions.is_empty());
    bfd.set(&[settings(THEIRS4)]);
    bfd.comes(THEIRS4, State::Up);
    bfd.set(&[]);
    // Long after the session's end a new one begins.
    sleep(Duration::from_secs(4));
    bfd.set(&[settings(THEIRS4)]);
    bfd.comes(THEIRS4, State::Up);
    let changes = bfd.changes();
    assert!(!changes.contains(&State::Down), "{changes:?}");
}

#[test]
fn a_neighbours_shutdown_is_reported_as_admin_down_and_not_as_a_failure() {
    let link = Link::new("bfd-frr-shut");
    let (frr, bfd) = up(&link);
    frr.configure(&format!("bfd\n peer {OURS4}\n shutdown\n"))
        .expect("configure");
    assert_eq!(bfd.change().1.state, State::AdminDown);
    let session = bfd.session(THEIRS4);
    assert_eq!(
        (session.state, session.remote_state, session.failures),
        (State::Down, State::AdminDown, 0)
    );
    frr.configure(&format!("bfd\n peer {OURS4}\n no shutdown\n"))
        .expect("configure");
    assert_eq!(bfd.change().1.state, State::Up);
}

#[test]
fn an_interface_that_goes_down_is_a_failure_and_its_session_returns_with_it() {
    let link = Link::new("bfd-frr-link");
    let (_frr, bfd) = up(&link);
    link.theirs
        .ip(&["link set eth1 down"])
        .expect("take the link down");
    let (_, change) = bfd.change();
    assert_eq!(change.state, State::Down);
    link.theirs
        .ip(&["link set eth1 up"])
        .expect("bring the link up");
    assert_eq!(bfd.change().1.state, State::Up);
}

#[test]
fn timers_change_without_a_flap_in_both_directions_and_on_both_sides() {
    let link = Link::new("bfd-frr-timers");
    let (frr, bfd) = up(&link);
    let follows = |ours: Option<u64>, theirs: Option<u64>| {
        let followed = || {
            let session = bfd.session(THEIRS4);
            let same = (
                session.transmit_microseconds,
                session.detection_microseconds,
            ) == (ours, theirs);
            same.then_some(())
                .with_context(|| format!("{session:#?}"))
                .map(Some)
        };
        until("the new timers are in force", PATIENCE, followed).expect("they are");
    };
    follows(Some(100_000), Some(300_000));
    for milliseconds in [400, 60, 1000, 100] {
        bfd.set(&[Settings {
            timers: every(milliseconds),
            ..settings(THEIRS4)
        }]);
        let slower = milliseconds.max(100) * 1000;
        follows(Some(slower), Some(3 * slower));
        sleep(Duration::from_millis(300));
    }
    frr.configure(&format!(
        "bfd\n peer {OURS4}\n receive-interval 500\n transmit-interval 250\n detect-multiplier 4\n"
    ))
    .expect("configure");
    follows(Some(500_000), Some(1_000_000));
    sleep(Duration::from_secs(2));
    let session = bfd.session(THEIRS4);
    assert_eq!(
        (session.state, session.ups, session.failures),
        (State::Up, 1, 0)
    );
    assert!(bfd.changes().is_empty());
    says(&frr, OURS4, "status", "up");
}

#[test]
fn a_passive_session_waits_for_an_active_neighbour_and_two_passive_ones_never_start() {
    let link = Link::new("bfd-frr-passive");
    let bfd = link.bfd(&[Settings {
        passive: true,
        ..settings(THEIRS4)
    }]);
    let frr = frr(
        &link,
        &format!("bfd\n peer {OURS4}\n {TIMERS} passive-mode\n"),
    );
    sleep(Duration::from_secs(2));
    assert_eq!(
        (bfd.session(THEIRS4).sent, bfd.session(THEIRS4).received),
        (0, 0)
    );
    frr.configure(&format!("bfd\n peer {OURS4}\n no passive-mode\n"))
        .expect("configure");
    bfd.comes(THEIRS4, State::Up);
    says(&frr, OURS4, "status", "up");
}
