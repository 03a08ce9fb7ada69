//! The clauses of the gate, each by itself.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(200);

#[test]
fn a_gate_starts_closed_probes_once_all_facts_are_known_and_opens_after_rise_good_rounds() {
    let mut bench = Bench::new(settings());
    for fact in [Fact::Interface, Fact::Program, Fact::Address] {
        assert_eq!(bench.gate.on(bench.now, Event::Holds(fact, true)), []);
    }
    let both = |round| Action::Probe {
        round,
        workers: vec![0, 1],
    };
    let one = Event::Worker {
        worker: 1,
        in_ring: true,
    };
    let first = Action::Probe {
        round: 1,
        workers: vec![1],
    };
    assert_eq!(bench.gate.on(bench.now, one), [first]);
    bench.worker(0, true);
    let good = |round| Event::Probed {
        round,
        findings: vec![finding(0, Ok(())), finding(1, Ok(()))],
    };
    assert_eq!(bench.gate.on(bench.now, good(1)), []);
    assert_eq!(bench.gate.deadline(), Some(bench.now + FAST));
    assert_eq!(bench.gate.tick(bench.now + FAST), [both(2)]);
    assert_eq!(bench.gate.on(bench.now + FAST, good(2)), []);
    assert_eq!(bench.gate.tick(bench.now + 2 * FAST), [both(3)]);
    assert!(!bench.gate.settled());
    assert_eq!(
        bench.gate.on(bench.now + 2 * FAST, good(3)),
        [Action::Stand(Standing::Announced)]
    );
    assert_eq!(bench.gate.reason(), Reason::Served { workers: 2 });
    assert!(bench.gate.settled());
    assert_eq!(bench.gate.deadline(), Some(bench.now + 2 * FAST + SECOND));
}

#[test]
fn an_answer_to_a_round_that_began_before_a_hard_fact_changed_does_not_count() {
    let mut bench = Bench::ready(Settings {
        rise: 1,
        ..settings()
    });
    let (round, _) = bench.round.take().unwrap();
    bench.on(Event::Holds(Fact::Address, false));
    bench.on(Event::Holds(Fact::Address, true));
    let findings = vec![finding(0, Ok(())), finding(1, Ok(()))];
    bench.on(Event::Probed { round, findings });
    assert_eq!(
        (bench.gate.state(), bench.stands.as_slice()),
        (State::Init, [].as_slice())
    );
    bench.rounds(1, true);
    assert_eq!(bench.stands, [Standing::Announced]);
}

#[test]
fn a_gate_started_without_workers_is_down_after_fall_rounds_and_then_stops_probing() {
    let mut bench = Bench::new(settings());
    bench.due();
    assert_eq!(bench.gate.state(), State::Init);
    bench.due();
    assert_eq!(bench.gate.state(), State::Down);
    let none = Reason::Workers {
        running: 0,
        needed: 1,
    };
    assert_eq!(bench.gate.reason(), none);
    assert!(bench.gate.settled());
    assert_eq!(bench.elapsed(), 2 * FAST);
    assert_eq!(
        bench.gate.deadline(),
        None,
        "nothing to ask while nobody runs"
    );
    assert_eq!(bench.stands, []);
}

#[test]
fn after_its_last_worker_ended_a_gate_needs_rise_good_rounds_to_reopen() {
    let mut bench = Bench::up(settings());
    bench.worker(0, false);
    assert_eq!(bench.gate.state(), State::Up, "one is enough");
    bench.worker(1, false);
    assert_eq!(bench.gate.state(), State::Down);
    bench.worker(0, true);
    assert_eq!(bench.gate.state(), State::Down);
    bench.rounds(2, true);
    assert_eq!(bench.gate.state(), State::Rising);
    bench.rounds(1, true);
    assert_eq!(
        bench.stands,
        [
            Standing::Announced,
            Standing::Withdrawn,
            Standing::Announced
        ]
    );
}

#[test]
fn fewer_workers_than_min_workers_withdraw_at_once_for_numbers_and_percentages() {
    for (min_workers, enough) in [
        (AtLeast::Number(1), true),
        (AtLeast::Number(2), false),
        (AtLeast::Percent(50), true),
        (AtLeast::Percent(51), false),
    ] {
        let mut bench = Bench::up(Settings {
            min_workers,
            ..settings()
        });
        bench.worker(1, false);
        assert_eq!(
            bench.gate.standing() == Standing::Announced,
            enough,
            "{min_workers:?}"
        );
    }
}

#[test]
fn each_workers_count_of_live_servers_is_held_against_min_servers_number_or_percentage() {
    let with = |min_servers, up, all| {
        let mut bench = Bench::up(Settings {
            min_servers,
            fall: 1,
            ..settings()
        });
        bench.answer(Ok(()), &[Live { up: 9, all: 9 }, Live { up, all }]);
        (bench.gate.state(), bench.gate.tally().servers)
    };
    assert_eq!(with(AtLeast::Number(1), 0, 4), (State::Down, Some(0)));
    assert_eq!(with(AtLeast::Number(1), 1, 4), (State::Up, Some(1)));
    assert_eq!(with(AtLeast::Percent(50), 1, 4), (State::Down, Some(1)));
    assert_eq!(with(AtLeast::Percent(50), 2, 4), (State::Up, Some(2)));
    assert_eq!(
        with(AtLeast::Percent(50), 0, 0),
        (State::Down, Some(0)),
        "a part is at least one"
    );
    assert_eq!(with(AtLeast::Number(0), 0, 0), (State::Up, Some(0)));
}

#[test]
fn one_unanswering_worker_closes_the_gate_only_if_all_workers_are_required() {
    for (min_workers, state) in [
        (AtLeast::Number(1), State::Up),
        (AtLeast::Percent(100), State::Falling),
    ] {
        let mut bench = Bench::up(Settings {
            min_workers,
            ..settings()
        });
        bench.due();
        let (round, _) = bench.round.take().unwrap();
        let findings = vec![finding(0, Ok(())), finding(1, Err("timeout"))];
        bench.on(Event::Probed { round, findings });
        assert_eq!(bench.gate.state(), state);
        assert_eq!(bench.gate.tally().serving, 1);
        if state == State::Falling {
            assert_eq!(
                bench.gate.reason().to_string(),
                "1 of 2 needed workers answer: worker 1: timeout"
            );
        }
    }
}

#[test]
fn a_soft_fault_takes_the_configured_down_action_and_a_hard_fault_always_withdraws() {
    use Standing::{Announced, Depreferenced, GracefulShutdown, Withdrawn};
    for (down, at_once, in_the_end) in [
        (Down::Withdraw, Withdrawn, Withdrawn),
        (Down::Depreference, Depreferenced, Depreferenced),
        (Down::GracefulShutdown, GracefulShutdown, Withdrawn),
    ] {
        let settings = Settings { down, ..settings() };
        let mut bench = Bench::up(settings.clone());
        bench.rounds(2, false);
        assert_eq!(bench.stands, [Announced, at_once], "{down:?}");
        bench.pass(SECOND * 11);
        assert_eq!(bench.gate.standing(), in_the_end, "{down:?}");
        bench.on(Event::Holds(Fact::Interface, false));
        assert_eq!(bench.gate.standing(), Withdrawn, "{down:?}");
        bench.on(Event::Holds(Fact::Interface, true));
        bench.rounds(1, false);
        assert_eq!(
            bench.gate.standing(),
            Withdrawn,
            "not before it is proven again"
        );
        bench.rounds(3, true);
        assert_eq!(bench.gate.standing(), Announced);
        bench.on(Event::Holds(Fact::Program, false));
        assert_eq!(bench.gate.standing(), Withdrawn);
    }
}

#[test]
fn a_vip_that_was_never_up_is_not_announced_even_depreferenced() {
    let mut bench = Bench::ready(Settings {
        down: Down::Depreference,
        ..settings()
    });
    bench.rounds(4, false);
    assert_eq!(
        (bench.gate.state(), bench.stands.as_slice()),
        (State::Down, [].as_slice())
    );
}

#[test]
fn a_vip_that_recovers_within_the_graceful_time_is_announced_again_and_the_timer_ends() {
    let mut bench = Bench::up(Settings {
        down: Down::GracefulShutdown,
        ..settings()
    });
    bench.rounds(2, false);
    bench.rounds(3, true);
    assert_eq!(bench.gate.standing(), Standing::Announced);
    for _ in 0..20 {
        bench.rounds(1, true);
    }
    assert_eq!(
        bench.stands,
        [
            Standing::Announced,
            Standing::GracefulShutdown,
            Standing::Announced
        ]
    );
}

#[test]
fn a_gate_heeds_bfd_only_if_configured_and_closes_after_fall_rounds() {
    let mut bench = Bench::up(settings());
    bench.rounds(5, true);
    assert_eq!(bench.gate.state(), State::Up);
    let mut bench = Bench::ready(Settings {
        bfd: true,
        ..settings()
    });
    bench.rounds(3, true);
    assert_eq!(
        (bench.gate.state(), bench.gate.reason()),
        (State::Down, Reason::Bfd)
    );
    bench.on(Event::Bfd(true));
    bench.rounds(3, true);
    assert_eq!(bench.gate.state(), State::Up);
    let before = bench.now;
    bench.on(Event::Bfd(false));
    bench.rounds(1, true);
    assert_eq!(bench.gate.state(), State::Falling);
    bench.rounds(1, true);
    assert_eq!(bench.gate.state(), State::Down);
    assert_eq!(bench.now - before, FAST, "asked at once, then fast");
}

#[test]
fn a_draining_vip_is_announced_gracefully_for_a_time_and_then_withdrawn_until_undrain() {
    let mut bench = Bench::up(settings());
    bench.order(Order::Drain);
    for _ in 0..20 {
        bench.rounds(1, true);
    }
    assert_eq!(bench.gate.state(), State::Draining);
    bench.order(Order::Undrain);
    assert_eq!(bench.gate.state(), State::Up, "it was proven all the while");
    assert_eq!(
        bench.stands,
        [
            Standing::Announced,
            Standing::GracefulShutdown,
            Standing::Withdrawn,
            Standing::Announced
        ]
    );
}

#[test]
fn without_graceful_time_draining_withdraws_at_once() {
    let mut bench = Bench::up(Settings {
        graceful_time: Duration::ZERO,
        ..settings()
    });
    bench.order(Order::Drain);
    assert_eq!(bench.stands, [Standing::Announced, Standing::Withdrawn]);
}

#[test]
fn a_vip_drained_while_falling_stays_drained_when_the_fall_ends() {
    for (down, end) in [
        (Down::Withdraw, Standing::Withdrawn),
        (Down::Depreference, Standing::GracefulShutdown),
        (Down::GracefulShutdown, Standing::GracefulShutdown),
    ] {
        let mut bench = Bench::up(Settings { down, ..settings() });
        bench.rounds(1, false);
        bench.order(Order::Drain);
        bench.rounds(1, false);
        assert_eq!(
            (bench.gate.state(), bench.gate.standing()),
            (State::Draining, end)
        );
        bench.pass(SECOND * 11);
        assert_eq!(bench.gate.standing(), Standing::Withdrawn);
        bench.rounds(3, true);
        assert_eq!(bench.gate.standing(), Standing::Withdrawn);
        bench.order(Order::Undrain);
        assert_eq!(bench.gate.standing(), Standing::Announced);
    }
}

#[test]
fn a_hard_fault_during_a_drain_withdraws_the_vip_until_undrain() {
    let mut bench = Bench::at(State::Draining);
    bench.worker(0, false);
    bench.worker(1, false);
    bench.worker(0, true);
    bench.rounds(3, true);
    assert_eq!(bench.stands, [Standing::Withdrawn]);
    assert_eq!(bench.gate.state(), State::Draining);
    bench.order(Order::Undrain);
    assert_eq!(bench.stands, [Standing::Withdrawn, Standing::Announced]);
}

#[test]
fn undrain_and_enable_open_no_gate_while_its_facts_are_bad() {
    for (order, undo) in [
        (Order::Drain, Order::Undrain),
        (Order::Disable, Order::Enable),
    ] {
        let mut bench = Bench::up(settings());
        bench.order(order);
        bench.on(Event::Holds(Fact::Address, false));
        bench.stands.clear();
        bench.order(undo);
        assert_eq!(
            (bench.gate.state(), bench.stands.as_slice()),
            (State::Down, [].as_slice())
        );
        assert_eq!(bench.gate.reason(), Reason::Address);
        bench.on(Event::Holds(Fact::Address, true));
        bench.rounds(3, true);
        assert_eq!(bench.stands, [Standing::Announced]);
    }
}

#[test]
fn each_order_undoes_only_its_opposite_and_the_disable_file_undoes_no_order() {
    let mut bench = Bench::up(settings());
    bench.on(Event::File(true));
    bench.order(Order::Disable);
    assert_eq!(bench.gate.reason(), Reason::Ordered(Order::Disable));
    bench.order(Order::Enable);
    assert_eq!(
        (bench.gate.state(), bench.gate.reason()),
        (State::Disabled, Reason::File)
    );
    bench.order(Order::Disable);
    bench.on(Event::File(false));
    assert_eq!(bench.gate.state(), State::Disabled);
    bench.order(Order::Drain);
    bench.order(Order::Enable);
    assert_eq!(
        (bench.gate.state(), bench.gate.standing()),
        (State::Draining, Standing::Withdrawn)
    );
    bench.order(Order::Undrain);
    assert_eq!(bench.gate.state(), State::Up);
    assert_eq!(
        bench.stands,
        [
            Standing::Announced,
            Standing::Withdrawn,
            Standing::Announced
        ]
    );
}

#[test]
fn disabling_a_depreferenced_vip_withdraws_it_and_enabling_does_not_announce_it_again() {
    let mut bench = Bench::up(Settings {
        down: Down::Depreference,
        ..settings()
    });
    bench.rounds(2, false);
    bench.order(Order::Disable);
    bench.order(Order::Enable);
    bench.rounds(1, false);
    assert_eq!(
        (bench.gate.state(), bench.gate.standing()),
        (State::Down, Standing::Withdrawn)
    );
}

#[test]
fn a_vip_that_flaps_waits_longer_each_time_and_one_that_stayed_up_does_not() {
    let mut bench = Bench::up(Settings::default());
    let mut waits = Vec::new();
    for _ in 0..6 {
        let down = bench.now;
        bench.worker(0, false);
        bench.worker(1, false);
        bench.worker(0, true);
        while bench.gate.state() != State::Up {
            bench.rounds(1, true);
        }
        waits.push((bench.now - down).as_secs());
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    while bench.now - bench.gate.since() < Duration::from_secs(5) {
        bench.rounds(1, true);
    }
    let down = bench.now;
    bench.worker(0, false);
    bench.worker(0, true);
    bench.rounds(2, true);
    assert_eq!(bench.gate.state(), State::Rising);
    bench.rounds(1, true);
    assert_eq!(bench.gate.state(), State::Up);
    assert!(bench.now - down < SECOND);
}

#[test]
fn a_gate_held_back_after_a_flap_gives_that_as_its_reason() {
    let mut bench = Bench::up(Settings::default());
    bench.on(Event::Holds(Fact::Interface, false));
    bench.on(Event::Holds(Fact::Interface, true));
    bench.rounds(4, true);
    assert_eq!(
        (bench.gate.state(), bench.gate.reason()),
        (State::Rising, Reason::Held)
    );
}

#[test]
fn the_last_twenty_transitions_are_remembered_and_all_are_counted() {
    let mut bench = Bench::up(settings());
    for _ in 0..30 {
        bench.order(Order::Disable);
        bench.order(Order::Enable);
    }
    let history = bench.gate.history();
    assert_eq!(history.len(), REMEMBERED);
    let last = history.back().unwrap();
    assert_eq!((last.from, last.to), (State::Disabled, State::Up));
    assert_eq!(bench.gate.transitions()["order"], 30);
    assert_eq!(bench.gate.transitions()["served"], 32);
}

#[test]
fn a_gate_follows_new_settings_at_once() {
    let mut bench = Bench::up(settings());
    bench.worker(1, false);
    let strict = Settings {
        min_workers: AtLeast::Number(2),
        ..settings()
    };
    bench.on(Event::Configure {
        settings: Box::new(strict),
        workers: WORKERS,
    });
    assert_eq!(bench.gate.state(), State::Down);
    bench.on(Event::Configure {
        settings: Box::new(settings()),
        workers: 1,
    });
    bench.rounds(3, true);
    assert_eq!(bench.gate.state(), State::Up);
}
