//! RFC 9568 section 6.4 as a table: in each state, what each event does and where it leads.

use super::*;

/// The events of the RFC's pseudocode.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Startup,
    Shutdown,
    /// The state's own timer: `Active_Down_Timer`, `Adver_Timer`.
    Timer,
    Zero,
    Lower,
    EqualFromLower,
    EqualFromHigher,
    Higher,
}

use Happens::{EqualFromHigher, EqualFromLower, Higher, Lower, Shutdown, Startup, Timer, Zero};

fn happens(bench: &mut Bench, what: Happens) -> Vec<Action> {
    match what {
        Startup => bench.on(Event::Gate(true)),
        Shutdown => bench.on(Event::Gate(false)),
        Timer => bench.due().1,
        Zero => bench.later(50).hears(HIGH, 0),
        Lower => bench.later(50).hears(HIGH, 127),
        EqualFromLower => bench.later(50).hears(LOW, 128),
        EqualFromHigher => bench.later(50).hears(HIGH, 128),
        Higher => bench.later(50).hears(LOW, 129),
    }
}

/// Event; state after it, time to the next deadline, actions.
type Row = (Happens, &'static str, Option<u64>, Vec<Action>);

fn check(start: impl Fn() -> Bench, rows: Vec<Row>) {
    for (what, state, left, actions) in rows {
        let mut bench = start();
        let before = bench.name();
        assert_eq!(happens(&mut bench, what), actions, "{before} {what:?}");
        assert_eq!(bench.name(), state, "{before} {what:?}");
        assert_eq!(bench.left(), left.map(ms), "{before} {what:?}");
    }
}

fn owner() -> Settings {
    Settings {
        priority: 255,
        ..settings()
    }
}

/// A router in Initialize, with the link up.
fn initialize(settings: Settings) -> Bench {
    let mut bench = Bench::new(settings);
    bench.on(Event::Link(true));
    bench
}

#[test]
fn initialize_follows_section_6_4_1_of_the_vrrp_rfc() {
    check(
        || initialize(settings()),
        vec![
            (Startup, "backup", Some(350), vec![]),
            (Shutdown, "initialize", None, vec![]),
            (Zero, "initialize", None, vec![]),
            (Lower, "initialize", None, vec![]),
            (Higher, "initialize", None, vec![]),
        ],
    );
    check(
        || initialize(owner()),
        vec![(Startup, "master", Some(100), vec![sent(255), Action::Hold])],
    );
}

#[test]
fn backup_follows_section_6_4_2_of_the_vrrp_rfc() {
    let rows = |lower| {
        vec![
            (Startup, "backup", Some(350), vec![]),
            (Shutdown, "initialize", None, vec![]),
            (Timer, "master", Some(100), vec![sent(128), Action::Hold]),
            (Zero, "backup", Some(50), vec![]),
            (Lower, "backup", Some(lower), vec![]),
            (EqualFromLower, "backup", Some(350), vec![]),
            (EqualFromHigher, "backup", Some(350), vec![]),
            (Higher, "backup", Some(350), vec![]),
        ]
    };
    // A lower priority is discarded, unless preemption is off.
    check(|| Bench::backup(settings()), rows(300));
    let never = Settings {
        preempt: Preempt::Never,
        ..settings()
    };
    check(|| Bench::backup(never.clone()), rows(350));
}

#[test]
fn master_follows_section_6_4_3_of_the_vrrp_rfc() {
    let gone = |state| vec![(EqualFromHigher, state, Some(350), vec![Action::Release])];
    check(
        || Bench::master(settings()),
        [
            vec![
                (Startup, "master", Some(100), vec![]),
                (Shutdown, "initialize", None, vec![sent(0), Action::Release]),
                (Timer, "master", Some(100), vec![sent(128)]),
                (Zero, "master", Some(100), vec![sent(128)]),
                (Higher, "backup", Some(350), vec![Action::Release]),
                // The neighbours' caches were updated a moment ago.
                (Lower, "master", Some(100), vec![sent(128)]),
                (EqualFromLower, "master", Some(100), vec![sent(128)]),
            ],
            gone("backup"),
        ]
        .concat(),
    );
}
