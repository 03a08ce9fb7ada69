//! What no probe sees: workers that could not be asked, a driver that does not run the attached program, clients that the node
//! drops behind it.

use super::*;

#[test]
fn workers_that_could_not_be_probed_change_no_standing_and_are_reported() {
    let mut bench = Bench::up(settings());
    let unasked = |worker| ProbeResult {
        worker,
        answer: Err(Trouble::Unasked("Too many open files".into())),
        services: vec![],
    };
    for _ in 0..10 {
        while bench.round.is_none() {
            bench.due();
        }
        let (round, workers) = bench.round.take().unwrap();
        let findings = workers.into_iter().map(unasked).collect();
        bench.on(Event::Probed { round, findings });
        assert_eq!(bench.gate.state(), State::Up);
        assert_eq!(bench.gate.unasked(), Some("Too many open files"));
    }
    assert_eq!(
        bench.gate.tally().serving,
        WORKERS,
        "the round before stands"
    );
    bench.rounds(1, true);
    assert_eq!(bench.gate.unasked(), None);
}

#[test]
fn enough_bad_answers_close_the_gate_although_other_workers_could_not_be_probed() {
    let mut bench = Bench::up(Settings {
        min_workers: AtLeast::Number(2),
        fall: 1,
        ..settings()
    });
    while bench.round.is_none() {
        bench.due();
    }
    let (round, _) = bench.round.take().unwrap();
    let unasked = ProbeResult {
        answer: Err(Trouble::Unasked("no memory".into())),
        ..finding(0, Ok(()))
    };
    let findings = vec![unasked, finding(1, Err("timeout"))];
    bench.on(Event::Probed { round, findings });
    assert_eq!(
        bench.gate.state(),
        State::Down,
        "both are needed, and one is bad"
    );
}

#[test]
fn a_driver_that_does_not_run_the_program_closes_the_gate_at_once() {
    let mut bench = Bench::up(settings());
    bench.on(Event::Holds(Fact::Runs, false));
    assert_eq!(
        (bench.gate.state(), bench.gate.standing()),
        (State::Down, Standing::Withdrawn)
    );
    assert_eq!(bench.gate.reason(), Reason::Blind);
    bench.on(Event::Holds(Fact::Runs, true));
    assert_ne!(bench.gate.state(), State::Up, "all has to be proven again");
    let rise = bench.gate.settings.rise;
    bench.rounds(rise, true);
    assert_eq!(bench.gate.state(), State::Up);
}

#[test]
fn lost_connections_count_in_a_round_only_where_the_vip_is_to_be_withdrawn_for_them() {
    let mut bench = Bench::up(settings());
    bench.on(Event::Lost(true));
    bench.rounds(5, true);
    assert_eq!(bench.gate.state(), State::Up);
    assert!(bench.gate.lost());
    let mut bench = Bench::up(Settings {
        lost: Lost::Withdraw,
        ..settings()
    });
    bench.on(Event::Lost(true));
    bench.rounds(2, true);
    assert_eq!(
        (bench.gate.state(), bench.gate.reason()),
        (State::Down, Reason::Lost)
    );
    bench.on(Event::Lost(false));
    bench.rounds(3, true);
    assert_eq!(bench.gate.state(), State::Up);
}
