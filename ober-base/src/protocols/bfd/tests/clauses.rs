//! Clause by clause, RFC 5880 sections 6.8.4 to 6.8.16, RFC 5881 and RFC 5883.

use super::*;

fn tell(state: State, diagnostic: Diagnostic) -> Action {
    Action::Tell { state, diagnostic }
}

#[test]
fn a_session_begins_down_at_the_slow_rate_and_without_the_peers_discriminator() {
    let mut bench = Bench::new(&settings(timers(50, 60, 4)));
    let first = Control {
        state: State::Down,
        yours: None,
        multiplier: NonZeroU8::new(4).unwrap(),
        mine: discriminator(1),
        min_tx: Micros(1_000_000),
        min_rx: Micros(60_000),
        ..says(State::Down)
    };
    assert_eq!(bench.session.deadline(), Some(bench.now));
    assert_eq!(bench.tick(), [send(first)]);
    let began = bench.now;
    assert_eq!(bench.wait(), [send(first)]);
    let pause = bench.now - began;
    assert!(
        pause >= 750 * MILLISECOND && pause <= 1000 * MILLISECOND,
        "{pause:?}"
    );
}

#[test]
fn a_change_of_state_is_reported_to_clients_first_and_sent_to_the_peer_at_once() {
    let mut bench = Bench::new(&settings(timers(50, 50, 3)));
    bench.tick();
    let actions = bench.hear(Control {
        yours: None,
        ..says(State::Down)
    });
    let init = Control {
        state: State::Init,
        ..bench.contents()
    };
    assert_eq!(actions, [send(init)]);
    assert_eq!(init.yours, Some(discriminator(2)));
    let actions = bench.hear(says(State::Init));
    // The interval changes with the state, which starts a Poll Sequence.
    let up = Control {
        state: State::Up,
        poll: true,
        min_tx: Micros(50_000),
        ..init
    };
    assert_eq!(actions, [tell(State::Up, Diagnostic::None), send(up)]);
}

#[test]
fn silence_for_the_detection_time_takes_a_session_down_with_diagnostic_1_and_resets_the_peer() {
    let mut bench = Bench::up();
    let began = bench.now;
    // 3 times the peer's 300 ms, which are slower than this end's 50 ms.
    bench.silence(899 * MILLISECOND);
    assert_eq!(bench.session.state, State::Up);
    let actions = bench.wait();
    assert_eq!(bench.now - began, 900 * MILLISECOND);
    let down = Control {
        state: State::Down,
        diagnostic: Diagnostic::TimeExpired,
        yours: None,
        min_tx: Micros(1_000_000),
        poll: true,
        ..bench.contents()
    };
    assert_eq!(
        actions,
        [tell(State::Down, Diagnostic::TimeExpired), send(down)]
    );
    assert_eq!(bench.session.remote, Remote::UNKNOWN);
}

#[test]
fn a_session_in_init_goes_down_after_the_detection_time_without_a_report_to_clients() {
    let mut bench = Bench::new(&settings(timers(50, 50, 3)));
    bench.tick();
    bench.hear(Control {
        yours: None,
        ..says(State::Down)
    });
    let actions = bench.silence(900 * MILLISECOND);
    assert_eq!(
        (bench.session.state, notified(&actions)),
        (State::Down, vec![])
    );
    assert_eq!(bench.session.diagnostic, Diagnostic::TimeExpired);
}

#[test]
fn a_peer_that_sends_down_takes_the_session_down_with_diagnostic_3() {
    let mut bench = Bench::up();
    let actions = bench.hear(says(State::Down));
    assert_eq!(
        actions[0],
        tell(State::Down, Diagnostic::NeighborSignaledDown)
    );
    let [down] = sent(&actions)[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(
        (down.state, down.diagnostic),
        (State::Down, Diagnostic::NeighborSignaledDown)
    );
    // The peer is still received, so its discriminator is still sent.
    assert_eq!(down.yours, Some(discriminator(2)));
}

#[test]
fn a_poll_is_answered_at_once_with_final_and_without_poll_and_leaves_the_timer_alone() {
    let mut bench = Bench::up();
    bench.hear(Control {
        fin: true,
        ..says(State::Up)
    });
    bench.silence(100 * MILLISECOND);
    let due = bench.session.transmit_due();
    let answer = Control {
        fin: true,
        ..bench.contents()
    };
    assert_eq!(
        bench.hear(Control {
            poll: true,
            ..says(State::Up)
        }),
        [send(answer)]
    );
    assert_eq!(bench.session.transmit_due(), due);
}

#[test]
fn a_peer_that_wants_no_periodic_packets_gets_only_answers_and_state_changes() {
    let mut bench = Bench::up();
    let silent = Control {
        min_rx: Micros(0),
        ..says(State::Up)
    };
    bench.hear(silent);
    assert_eq!(sent(&bench.silence(800 * MILLISECOND)), []);
    assert_eq!(
        sent(&bench.hear(Control {
            poll: true,
            ..silent
        }))
        .len(),
        1
    );
    // When the peer can receive again, it gets a due packet at once.
    bench.silence(400 * MILLISECOND);
    assert_eq!(bench.hear(says(State::Up)).len(), 1);
}

#[test]
fn a_peer_in_demand_mode_is_sent_nothing_while_both_are_up_and_no_poll_is_under_way() {
    let mut bench = Bench::up();
    let demand = Control {
        demand: true,
        fin: true,
        ..says(State::Up)
    };
    bench.hear(demand);
    assert_eq!(sent(&bench.silence(800 * MILLISECOND)), []);
    // The peer's silence is still a failure: this end is not in demand mode.
    let actions = bench.silence(100 * MILLISECOND);
    assert_eq!(notified(&actions), [State::Down]);
    assert!(!sent(&bench.silence(1000 * MILLISECOND)).is_empty());
}

#[test]
fn a_passive_session_sends_nothing_before_it_hears_the_peer_or_after_it_loses_it() {
    let mut bench = Bench::new(&Settings {
        passive: true,
        ..settings(timers(50, 50, 3))
    });
    assert_eq!(bench.session.deadline(), None);
    assert_eq!(bench.tick(), []);
    assert_eq!(
        sent(&bench.hear(Control {
            yours: None,
            ..says(State::Down)
        }))
        .len(),
        1
    );
    bench.hear(says(State::Up));
    bench.silence(900 * MILLISECOND);
    assert_eq!(
        (bench.session.state, bench.session.deadline()),
        (State::Down, None)
    );
}

#[test]
fn an_admin_down_session_sends_at_the_slow_rate_and_ignores_packets_until_enabled() {
    let mut bench = Bench::up();
    let actions = bench.on(Event::AdminDown);
    assert_eq!(actions[0], tell(State::AdminDown, Diagnostic::AdminDown));
    let [down] = sent(&actions)[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(
        (down.state, down.diagnostic, down.min_tx),
        (State::AdminDown, Diagnostic::AdminDown, Micros(1_000_000))
    );
    for state in State::ALL {
        assert_eq!(
            bench.hear(Control {
                poll: true,
                ..says(state)
            }),
            []
        );
    }
    let ignored = bench
        .session
        .counters
        .drops
        .each()
        .find(|(why, _)| *why == Refusal::AdminDown);
    assert_eq!(ignored, Some((Refusal::AdminDown, 4)));
    let actions = bench.on(Event::Enable);
    assert_eq!(
        (
            bench.session.state,
            sent(&actions).len(),
            notified(&actions)
        ),
        (State::Down, 1, vec![])
    );
    bench.hear(says(State::Down));
    assert_eq!(notified(&bench.hear(says(State::Init))), [State::Up]);
}

#[test]
fn a_removed_session_sends_admin_down_for_the_peers_detection_time_and_then_ends() {
    let mut bench = Bench::up();
    assert_eq!(sent(&bench.on(Event::Leave)).len(), 1);
    let began = bench.now;
    let mut said = 0;
    loop {
        let actions = bench.wait();
        if actions == [Action::Over] {
            break;
        }
        said += sent(&actions)
            .iter()
            .filter(|control| control.state == State::AdminDown)
            .count();
    }
    // Three times the slow interval of a second.
    assert_eq!(bench.now - began, 3000 * MILLISECOND);
    assert!((3..=4).contains(&said), "{said}");
    let mut unknown = Bench::new(&settings(timers(50, 50, 3)));
    assert_eq!(unknown.on(Event::Leave), [Action::Over]);
}

#[test]
fn a_removed_session_that_is_enabled_again_stays() {
    let mut bench = Bench::up();
    bench.on(Event::Leave);
    bench.on(Event::Enable);
    assert!(!bench.silence(5000 * MILLISECOND).contains(&Action::Over));
    assert_eq!(bench.session.state, State::Down);
}

#[test]
fn packets_with_a_ttl_below_the_minimum_of_single_or_multi_hop_are_refused() {
    let event = |hops, ttl| Event::Received {
        control: says(State::Init),
        hops,
        ttl,
    };
    for (mode, hops, least) in [
        (Mode::SingleHop, Hops::Single, 255),
        (Mode::Auto, Hops::Single, 255),
        (Mode::Auto, Hops::Multi, 255),
        (Mode::MultiHop { min_ttl: 250 }, Hops::Multi, 250),
    ] {
        let mut bench = Bench::new(&Settings {
            mode,
            ..settings(timers(50, 50, 3))
        });
        assert_eq!(bench.on(event(hops, least - 1)), [], "{mode:?}");
        assert_eq!(bench.session.state, State::Down);
        bench.on(event(hops, least));
        assert_eq!(bench.session.state, State::Up, "{mode:?}");
    }
}

#[test]
fn a_session_in_auto_mode_answers_on_the_peers_port_and_does_not_change_it_while_up() {
    let event = |state, hops| Event::Received {
        control: says(state),
        hops,
        ttl: 255,
    };
    let mut bench = Bench::new(&Settings {
        mode: Mode::Auto,
        ..settings(timers(50, 50, 3))
    });
    let ports = |actions: Vec<Action>| {
        let ports = actions.into_iter().filter_map(|action| match action {
            Action::Send { hops, .. } => Some(hops),
            Action::Tell { .. } | Action::Over => None,
        });
        ports.collect::<Vec<_>>()
    };
    assert_eq!(ports(bench.tick()), [Hops::Single]);
    assert_eq!(
        ports(bench.on(event(State::Down, Hops::Multi))),
        [Hops::Multi]
    );
    assert_eq!(
        ports(bench.on(event(State::Init, Hops::Multi))),
        [Hops::Multi]
    );
    assert_eq!(bench.on(event(State::Down, Hops::Single)), []);
    assert_eq!(
        (bench.session.state, bench.session.hops),
        (State::Up, Hops::Multi)
    );
    let mut fixed = Bench::new(&settings(timers(50, 50, 3)));
    assert_eq!(fixed.on(event(State::Down, Hops::Multi)), []);
}

#[test]
fn an_overslept_detection_time_is_no_failure_if_a_packet_was_waiting() {
    let mut bench = Bench::up();
    bench.now += 2000 * MILLISECOND;
    assert_eq!(notified(&bench.tick()), []);
    assert_eq!(notified(&bench.hear(says(State::Up))), []);
    assert_eq!(notified(&bench.silence(899 * MILLISECOND)), []);
    bench.now += 2000 * MILLISECOND;
    bench.tick();
    // No packet was waiting.
    assert_eq!(notified(&bench.silence(EXCUSE)), [State::Down]);
}

#[test]
fn late_packets_are_counted_with_their_gap() {
    let mut bench = Bench::up();
    bench.hear(says(State::Up));
    bench.silence(375 * MILLISECOND);
    bench.hear(says(State::Up));
    assert_eq!(bench.session.counters.late, 0);
    bench.silence(376 * MILLISECOND);
    bench.hear(says(State::Up));
    let late = Late {
        at: bench.now,
        gap: 376 * MILLISECOND,
    };
    assert_eq!(
        (
            bench.session.counters.late,
            bench.session.counters.last_late
        ),
        (1, Some(late))
    );
}

#[test]
fn without_a_realtime_thread_bfd_timers_are_limited_to_50_ms() {
    use crate::machine::realtime::Priority;
    for (priority, kept) in [
        (Priority::Realtime, timers(10, 20, 3)),
        (Priority::Nice, timers(50, 50, 3)),
        (Priority::Ordinary, timers(50, 50, 3)),
    ] {
        assert_eq!(timers(10, 20, 3).on(priority), kept);
        assert_eq!(timers(300, 60, 2).on(priority), timers(300, 60, 2));
    }
}

#[test]
fn a_refused_packet_is_counted_and_changes_no_state() {
    let mut bench = Bench::up();
    let before = bench.session.snapshot();
    for why in Refusal::ALL {
        assert_eq!(bench.on(Event::Refused(why)), []);
    }
    let after = bench.session.snapshot();
    assert!(after.counters.drops.each().all(|(_, count)| count == 1));
    assert_eq!(
        Snapshot {
            counters: before.counters,
            ..after
        },
        before
    );
}
