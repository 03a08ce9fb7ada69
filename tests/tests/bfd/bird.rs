//! Against BIRD.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use ober_tests::{lab::until, peers::Bird};
use ober_user::protocols::bfd::{Diagnostic, Mode, Settings, State};

use crate::link::{Link, OURS4, OURS6, PATIENCE, THEIRS4, THEIRS6, every, settings};

/// BIRD with neighbours, each with what follows its address, at `interval` three times.
fn config(interval: &str, neighbours: &[(&str, &str)]) -> String {
    let mut text = format!(
        "router id 10.0.0.2;\nprotocol bfd {{\n interface \"*\" {{ interval {interval}; multiplier 3; idle tx interval 1 s; }};\n \
         multihop {{ interval {interval}; multiplier 3; }};\n"
    );
    for (address, rest) in neighbours {
        writeln!(text, " neighbor {address} {rest};").expect("write");
    }
    text + "}\n"
}

fn bird(link: &Link, config: &str) -> Bird {
    Bird::start(&link.lab, &link.theirs, config).expect("BIRD starts")
}

/// Waits until BIRD shows its session in that state.
fn says(bird: &Bird, address: &str, state: &str) {
    let said = || {
        let sessions = bird.command("show bfd sessions")?;
        let line = sessions.lines().find(|line| line.starts_with(address));
        let state = line.is_some_and(|line| line.contains(state));
        state.then_some(()).context(sessions).map(Some)
    };
    until(&format!("BIRD says {address} is {state}"), PATIENCE, said).expect("it says so");
}

#[test]
fn sessions_over_one_hop_come_up_over_both_families_and_stay() {
    let link = Link::new("bfd-bird-up");
    let bird = bird(
        &link,
        &config(
            "100 ms",
            &[(OURS4, "dev \"eth1\""), (OURS6, "dev \"eth1\"")],
        ),
    );
    let bfd = link.bfd(&[settings(THEIRS4), settings(THEIRS6)]);
    for (ours, theirs) in [(OURS4, THEIRS4), (OURS6, THEIRS6)] {
        bfd.comes(theirs, State::Up);
        says(&bird, ours, "Up");
        let negotiated =
            || Ok((bfd.session(theirs).detection_microseconds == Some(300_000)).then_some(()));
        until("the detection time is negotiated", PATIENCE, negotiated).expect("it is");
    }
    std::thread::sleep(Duration::from_secs(2));
    for theirs in [THEIRS4, THEIRS6] {
        assert_eq!(bfd.session(theirs).failures, 0);
    }
}

#[test]
fn a_session_with_a_link_local_neighbour_comes_up_on_its_interface() {
    let link = Link::new("bfd-bird-local");
    link.ours
        .ip(&["addr add fe80::1/64 dev eth1 nodad"])
        .expect("an address");
    link.theirs
        .ip(&["addr add fe80::2/64 dev eth1 nodad"])
        .expect("an address");
    let bird = bird(
        &link,
        &config("100 ms", &[("fe80::1", "dev \"eth1\" local fe80::2")]),
    );
    let bfd = link.bfd(&[Settings {
        interface: Some("eth1".to_owned()),
        local: Some("fe80::1".parse().expect("an address")),
        ..settings("fe80::2")
    }]);
    bfd.comes("fe80::2", State::Up);
    says(&bird, "fe80::1", "Up");
}

#[test]
fn a_session_over_several_hops_comes_up() {
    let link = Link::new("bfd-bird-multi");
    let bird = bird(
        &link,
        &config("100 ms", &[("10.9.9.1", "local 10.9.9.2 multihop yes")]),
    );
    let multi = Settings {
        local: Some("10.9.9.1".parse().expect("an address")),
        // BIRD sends multihop packets with the usual TTL.
        mode: Mode::MultiHop { min_ttl: 60 },
        ..settings("10.9.9.2")
    };
    let bfd = link.bfd(&[multi]);
    bfd.comes("10.9.9.2", State::Up);
    says(&bird, "10.9.9.1", "Up");
}

#[test]
fn a_killed_peer_is_detected_within_the_detection_time_in_both_directions() {
    let link = Link::new("bfd-bird-kill");
    let mut bird = bird(&link, &config("50 ms", &[(OURS4, "dev \"eth1\"")]));
    let bfd = link.bfd(&[Settings {
        timers: every(50),
        ..settings(THEIRS4)
    }]);
    bfd.comes(THEIRS4, State::Up);
    assert_eq!(bfd.change().1.state, State::Up);
    let negotiated =
        || Ok((bfd.session(THEIRS4).detection_microseconds == Some(150_000)).then_some(()));
    until("the detection time is negotiated", PATIENCE, negotiated).expect("it is");
    let killed = Instant::now();
    bird.process().signal(Signal::SIGKILL).expect("kill");
    let (at, change) = bfd.change();
    assert_eq!(
        (change.state, change.diagnostic),
        (State::Down, Diagnostic::TimeExpired)
    );
    let took = at - killed;
    println!("a killed neighbour, 50 ms x 3: told after {took:?}");
    assert!(
        took > Duration::from_millis(90) && took < Duration::from_millis(400),
        "{took:?}"
    );
    bird.restart(&link.theirs).expect("BIRD starts again");
    assert_eq!(bfd.change().1.state, State::Up);
    says(&bird, OURS4, "Up");
    // Dropped without AdminDown, as SIGKILL would end the daemon.
    drop(bfd);
    says(&bird, OURS4, "Down");
}

#[test]
fn a_planned_stop_takes_the_session_of_the_neighbour_down_at_once() {
    let link = Link::new("bfd-bird-stop");
    let bird = bird(&link, &config("2 s", &[(OURS4, "dev \"eth1\"")]));
    let bfd = link.bfd(&[settings(THEIRS4)]);
    bfd.comes(THEIRS4, State::Up);
    says(&bird, OURS4, "Up");
    let began = Instant::now();
    bfd.admin_down();
    says(&bird, OURS4, "Down");
    // BIRD's detection time is six seconds.
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn an_interface_that_goes_down_is_a_failure_and_timers_change_without_one() {
    let link = Link::new("bfd-bird-link");
    let neighbours = [(OURS4, "dev \"eth1\"")];
    let bird = bird(&link, &config("100 ms", &neighbours));
    let bfd = link.bfd(&[settings(THEIRS4)]);
    bfd.comes(THEIRS4, State::Up);
    assert_eq!(bfd.change().1.state, State::Up);
    for (milliseconds, interval) in [(500, "100 ms"), (100, "300 ms"), (60, "60 ms")] {
        bfd.set(&[Settings {
            timers: every(milliseconds),
            ..settings(THEIRS4)
        }]);
        bird.configure(&config(interval, &neighbours))
            .expect("configure");
        std::thread::sleep(Duration::from_millis(1500));
    }
    let session = bfd.session(THEIRS4);
    assert_eq!((session.state, session.failures), (State::Up, 0));
    assert_eq!(session.detection_microseconds, Some(180_000));
    assert!(bfd.changes().is_empty());
    link.ours
        .ip(&["link set eth1 down"])
        .expect("take the link down");
    assert_eq!(bfd.change().1.state, State::Down);
    link.ours
        .ip(&["link set eth1 up"])
        .expect("bring the link up");
    assert_eq!(bfd.change().1.state, State::Up);
}

#[test]
fn a_passive_session_waits_for_an_active_neighbour() {
    let link = Link::new("bfd-bird-passive");
    let bfd = link.bfd(&[Settings {
        passive: true,
        ..settings(THEIRS4)
    }]);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(bfd.session(THEIRS4).sent, 0);
    let bird = bird(&link, &config("100 ms", &[(OURS4, "dev \"eth1\"")]));
    bfd.comes(THEIRS4, State::Up);
    says(&bird, OURS4, "Up");
}
