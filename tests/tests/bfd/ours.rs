//! Our BFD at both ends.

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread::{available_parallelism, scope, sleep},
    time::Duration,
};

use ober_tests::lab::until;
use ober_user::protocols::bfd::{Mode, Settings, State};

use crate::link::{Bfd, Link, OURS4, OURS6, PATIENCE, THEIRS4, THEIRS6, every, settings};

/// Up at both ends, at this pace.
fn up(link: &Link, milliseconds: u64, mode: Mode) -> [Bfd; 2] {
    let paced = |peer: &str| Settings {
        timers: every(milliseconds),
        mode,
        ..settings(peer)
    };
    let ours = link.bfd(&[paced(THEIRS4), paced(THEIRS6)]);
    let theirs = Bfd::on(&link.theirs, &[paced(OURS4), paced(OURS6)]);
    for peer in [THEIRS4, THEIRS6] {
        ours.comes(peer, State::Up);
        let negotiated = || {
            Ok(
                (ours.session(peer).detection_microseconds == Some(milliseconds * 3000))
                    .then_some(()),
            )
        };
        until("the timers are negotiated", PATIENCE, negotiated).expect("they are");
    }
    [ours, theirs]
}

#[test]
fn two_daemons_in_auto_mode_come_up_over_both_families_and_part_without_a_failure() {
    let link = Link::new("bfd-ours");
    let [ours, theirs] = up(&link, 100, Mode::Auto);
    for peer in [OURS4, OURS6] {
        assert_eq!(theirs.comes(peer, State::Up).hops, "single-hop");
    }
    ours.admin_down();
    let changes = [(); 4].map(|()| theirs.change().1.state);
    assert_eq!(
        changes,
        [State::Up, State::Up, State::AdminDown, State::AdminDown]
    );
    // An end whose sessions are removed sends AdminDown, which is no failure.
    ours.set(&[]);
    assert!(
        theirs
            .status()
            .sessions
            .iter()
            .all(|session| session.failures == 0)
    );
}

#[test]
fn full_cpu_load_causes_no_bfd_failure_at_50_ms_times_three() {
    let link = Link::new("bfd-busy");
    let [ours, theirs] = up(&link, 50, Mode::SingleHop);
    let done = AtomicBool::new(false);
    let burners = 2 * available_parallelism().expect("the number of cores").get();
    scope(|scope| {
        for _ in 0..burners {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    black_box((0..1000_u64).sum::<u64>());
                }
            });
        }
        sleep(Duration::from_secs(5));
        done.store(true, Ordering::Relaxed);
    });
    for end in [&ours, &theirs] {
        let status = end.status();
        for session in &status.sessions {
            println!(
                "realtime {}: {} late, last {:?}",
                status.realtime, session.late, session.last_late
            );
            assert_eq!(
                (session.state, session.failures),
                (State::Up, 0),
                "{session:#?}"
            );
        }
    }
}
