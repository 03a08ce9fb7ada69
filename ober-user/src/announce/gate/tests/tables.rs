//! Every state and everything that may happen in it.

use super::*;

const HEALTHS: [Health; 5] = [
    Health::Init,
    Health::Rising,
    Health::Up,
    Health::Falling,
    Health::Down,
];

#[test]
fn gate_health_changes_as_the_table_says() {
    use Health::{Down, Falling, Init, Rising, Up};
    let signals = [
        Signal::Good { enough: false },
        Signal::Good { enough: true },
        Signal::Bad { enough: false },
        Signal::Bad { enough: true },
        Signal::Hard,
    ];
    for (health, row) in [
        //        good    enough  bad      enough  hard
        (Init, [Rising, Up, Init, Down, Init]),
        (Rising, [Rising, Up, Down, Down, Down]),
        (Up, [Up, Up, Falling, Down, Down]),
        (Falling, [Up, Up, Falling, Down, Down]),
        (Down, [Rising, Up, Down, Down, Down]),
    ] {
        assert_eq!(
            signals.map(|signal| next(health, signal)),
            row,
            "{health:?}"
        );
    }
}

#[test]
fn orders_are_shown_before_health_and_disabled_before_draining() {
    for health in HEALTHS {
        assert_eq!(shown(health, true, true), State::Disabled);
        assert_eq!(shown(health, true, false), State::Disabled);
        assert_eq!(shown(health, false, true), State::Draining);
    }
    assert_eq!(
        HEALTHS.map(|health| shown(health, false, false)),
        [
            State::Init,
            State::Rising,
            State::Up,
            State::Falling,
            State::Down
        ]
    );
}

/// What may happen, as a column of the table.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Good,
    Bad,
    Silence,
    LastWorker,
    OneWorker,
    Interface,
    Program,
    Address,
    Bfd,
    File,
    Drain,
    Undrain,
    Disable,
    Enable,
}

impl Happens {
    const ALL: [Self; 14] = [
        Self::Good,
        Self::Bad,
        Self::Silence,
        Self::LastWorker,
        Self::OneWorker,
        Self::Interface,
        Self::Program,
        Self::Address,
        Self::Bfd,
        Self::File,
        Self::Drain,
        Self::Undrain,
        Self::Disable,
        Self::Enable,
    ];

    fn to(self, bench: &mut Bench) {
        match self {
            Self::Good => bench.rounds(1, true),
            Self::Bad => bench.rounds(1, false),
            Self::Silence => bench.pass(Duration::from_millis(2200)),
            Self::LastWorker => (0..WORKERS).for_each(|worker| bench.worker(worker, false)),
            Self::OneWorker => bench.worker(0, false),
            Self::Interface => bench.on(Event::Holds(Fact::Interface, false)),
            Self::Program => bench.on(Event::Holds(Fact::Program, false)),
            Self::Address => bench.on(Event::Holds(Fact::Address, false)),
            Self::Bfd => bench.on(Event::Bfd(false)),
            Self::File => bench.on(Event::File(true)),
            Self::Drain => bench.order(Order::Drain),
            Self::Undrain => bench.order(Order::Undrain),
            Self::Disable => bench.order(Order::Disable),
            Self::Enable => bench.order(Order::Enable),
        }
    }
}

/// A cell: the state after it, and the standings that it gives the VIP.
type Cell = (State, &'static [Standing]);

#[test]
fn every_gate_state_handles_every_event_as_the_table_says() {
    use Standing::{Announced, GracefulShutdown, Withdrawn};
    use State::{Disabled, Down, Draining, Falling, Init, Rising, Up};
    const NONE: &[Standing] = &[];
    const GONE: &[Standing] = &[Withdrawn];
    const LEAVES: &[Standing] = &[GracefulShutdown];
    const OPENS: &[Standing] = &[Announced];
    #[rustfmt::skip]
    let table: [(State, [Cell; 14]); 7] = [
        //          good            bad              silence         last worker     one worker      interface
        //          program         address          bfd             file            drain           undrain         disable         enable
        (Init,     [(Rising, NONE), (Init, NONE),    (Down, NONE),   (Init, NONE),   (Init, NONE),   (Init, NONE),
                    (Init, NONE),   (Init, NONE),    (Init, NONE),   (Disabled, NONE), (Draining, NONE), (Init, NONE), (Disabled, NONE), (Init, NONE)]),
        (Rising,   [(Rising, NONE), (Down, NONE),    (Down, NONE),   (Down, NONE),   (Rising, NONE), (Down, NONE),
                    (Down, NONE),   (Down, NONE),    (Rising, NONE), (Disabled, NONE), (Draining, NONE), (Rising, NONE), (Disabled, NONE), (Rising, NONE)]),
        (Up,       [(Up, NONE),     (Falling, NONE), (Falling, NONE), (Down, GONE),  (Up, NONE),     (Down, GONE),
                    (Down, GONE),   (Down, GONE),    (Up, NONE),     (Disabled, GONE), (Draining, LEAVES), (Up, NONE), (Disabled, GONE), (Up, NONE)]),
        (Falling,  [(Up, NONE),     (Down, GONE),    (Down, GONE),   (Down, GONE),   (Falling, NONE), (Down, GONE),
                    (Down, GONE),   (Down, GONE),    (Falling, NONE), (Disabled, GONE), (Draining, LEAVES), (Falling, NONE), (Disabled, GONE), (Falling, NONE)]),
        (Down,     [(Rising, NONE), (Down, NONE),    (Down, NONE),   (Down, NONE),   (Down, NONE),   (Down, NONE),
                    (Down, NONE),   (Down, NONE),    (Down, NONE),   (Disabled, NONE), (Draining, NONE), (Down, NONE), (Disabled, NONE), (Down, NONE)]),
        (Disabled, [(Disabled, NONE), (Disabled, NONE), (Disabled, NONE), (Disabled, NONE), (Disabled, NONE), (Disabled, NONE),
                    (Disabled, NONE), (Disabled, NONE), (Disabled, NONE), (Disabled, NONE), (Disabled, NONE), (Disabled, NONE), (Disabled, NONE), (Up, OPENS)]),
        (Draining, [(Draining, NONE), (Draining, NONE), (Draining, NONE), (Draining, GONE), (Draining, NONE), (Draining, GONE),
                    (Draining, GONE), (Draining, GONE), (Draining, NONE), (Disabled, GONE), (Draining, NONE), (Up, OPENS), (Disabled, GONE), (Draining, NONE)]),
    ];
    assert_eq!(table.map(|(state, _)| state), State::ALL);
    for (state, row) in table {
        for (happens, (after, advertised)) in Happens::ALL.into_iter().zip(row) {
            let mut bench = Bench::at(state);
            happens.to(&mut bench);
            assert_eq!(
                (bench.gate.state(), bench.stands.as_slice()),
                (after, advertised),
                "{happens:?} in {state:?}"
            );
        }
    }
}
