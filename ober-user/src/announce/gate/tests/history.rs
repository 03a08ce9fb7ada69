//! Random histories, and the laws that hold in all of them.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Happens(Event),
    /// Time goes on to the next deadline, so many times.
    Due(u8),
    /// Each worker answers the round under way like this; `None`: it could not be asked.
    Answer([Option<bool>; WORKERS], usize),
}

fn step() -> impl Strategy<Value = Step> {
    let fact = select(vec![
        Fact::Interface,
        Fact::Program,
        Fact::Runs,
        Fact::Address,
    ]);
    let order = select(vec![
        Order::Drain,
        Order::Undrain,
        Order::Disable,
        Order::Enable,
    ]);
    let event = prop_oneof![
        3 => (0..WORKERS, any::<bool>()).prop_map(|(worker, in_ring)| Event::Worker { worker, in_ring }),
        3 => (fact, prop::bool::weighted(0.8)).prop_map(|(fact, holds)| Event::Holds(fact, holds)),
        1 => any::<bool>().prop_map(Event::Bfd),
        1 => prop::bool::weighted(0.2).prop_map(Event::Lost),
        1 => prop::bool::weighted(0.2).prop_map(Event::File),
        2 => order.prop_map(Event::Order),
        1 => prop::option::of((0..60_u64).prop_map(Duration::from_secs)).prop_map(Event::Leave),
    ];
    let answer = prop::option::weighted(0.9, prop::bool::weighted(0.9));
    prop_oneof![
        2 => event.prop_map(Step::Happens),
        2 => (1..4_u8).prop_map(Step::Due),
        5 => (prop::array::uniform2(answer), 0..4_usize)
            .prop_map(|(good, up)| Step::Answer(good, up)),
    ]
}

fn rules() -> impl Strategy<Value = Settings> {
    let downs = vec![Down::Withdraw, Down::Depreference, Down::GracefulShutdown];
    let least = select(vec![
        AtLeast::Number(1),
        AtLeast::Number(2),
        AtLeast::Percent(50),
    ]);
    let rules = (
        1..4_u32,
        1..4_u32,
        select(downs),
        least,
        any::<(bool, bool)>(),
        0..12_u64,
        0..6_u64,
    );
    rules.prop_map(
        |(rise, fall, down, min_workers, (bfd, withdraw), graceful, min_up)| Settings {
            rise,
            fall,
            down,
            min_workers,
            bfd,
            lost: if withdraw { Lost::Withdraw } else { Lost::Warn },
            graceful_time: Duration::from_secs(graceful),
            min_up: Duration::from_secs(min_up),
            ..Settings::default()
        },
    )
}

/// The facts as the test keeps them, in another form than the machine.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is in force or not, whatever the others are"
)]
#[derive(Debug)]
struct Known {
    running: [bool; WORKERS],
    good: Vec<Fact>,
    disabled: bool,
    draining: bool,
    leaving: bool,
    file: bool,
    /// Good rounds since the last hard fact that was bad.
    proofs: u32,
    stands: Vec<Standing>,
}

impl Known {
    fn new() -> Self {
        Self {
            running: [false; WORKERS],
            // Holds until an event says otherwise.
            good: vec![Fact::Runs],
            disabled: false,
            draining: false,
            leaving: false,
            file: false,
            proofs: 0,
            stands: vec![],
        }
    }

    fn learn(&mut self, event: &Event) {
        match event {
            Event::Worker { worker, in_ring } => self.running[*worker] = *in_ring,
            Event::Holds(fact, holds) => {
                self.good.retain(|known| known != fact);
                self.good.extend(holds.then_some(*fact));
            }
            Event::File(there) => self.file = *there,
            Event::Order(Order::Drain) => self.draining = true,
            Event::Order(Order::Undrain) => self.draining = false,
            Event::Order(Order::Disable) => self.disabled = true,
            Event::Order(Order::Enable) => self.disabled = false,
            Event::Leave(within) => self.leaving = within.is_some(),
            Event::Bfd(_) | Event::Lost(_) | Event::Probed { .. } | Event::Configure { .. } => {}
        }
    }

    fn hard(&self, settings: &Settings) -> bool {
        let running = self.running.iter().filter(|running| **running).count();
        running < settings.min_workers.of(WORKERS) || self.good.len() < 4
    }
}

fn check(known: &mut Known, bench: &mut Bench, settings: &Settings) -> Result<(), TestCaseError> {
    if known.hard(settings) {
        known.proofs = 0;
        prop_assert_eq!(
            bench.gate.standing(),
            Standing::Withdrawn,
            "a hard fact is bad"
        );
    }
    if known.disabled || known.file {
        prop_assert_eq!(bench.gate.standing(), Standing::Withdrawn, "disabled");
    }
    match bench.gate.standing() {
        Standing::Announced => {
            prop_assert!(known.proofs >= settings.rise, "announced without proof");
            let leaves = known.draining || known.leaving;
            prop_assert!(!leaves, "announced while it leaves");
        }
        Standing::Depreferenced => {
            prop_assert_eq!(settings.down, Down::Depreference);
            prop_assert!(known.proofs >= settings.rise, "never was up");
        }
        Standing::GracefulShutdown => {
            prop_assert!(known.proofs >= settings.rise, "never was up");
        }
        Standing::Withdrawn => {}
    }
    known.stands.append(&mut bench.stands);
    let advertised: Vec<_> = std::iter::once(&Standing::Withdrawn)
        .chain(&known.stands)
        .collect();
    prop_assert!(
        advertised.windows(2).all(|pair| pair[0] != pair[1]),
        "told twice: {:?}",
        advertised
    );
    prop_assert_eq!(
        advertised.last().copied().copied(),
        Some(bench.gate.standing())
    );
    let shown = match (
        known.disabled || known.file,
        known.draining || known.leaving,
    ) {
        (true, _) => Some(State::Disabled),
        (false, true) => Some(State::Draining),
        (false, false) => None,
    };
    prop_assert!(shown.is_none_or(|shown| shown == bench.gate.state()));
    prop_assert!(bench.gate.history().len() <= REMEMBERED);
    Ok(())
}

fn answer(
    known: &mut Known,
    bench: &mut Bench,
    good: [Option<bool>; WORKERS],
    up: usize,
    settings: &Settings,
) {
    let Some((round, workers)) = bench.round.take() else {
        return;
    };
    let findings: Vec<ProbeResult> = workers
        .iter()
        .map(|worker| ProbeResult {
            services: vec![Live { up, all: 3 }],
            answer: match good[*worker] {
                Some(true) => Ok(()),
                Some(false) => Err(Trouble::Bad("no".into())),
                None => Err(Trouble::Unasked("no descriptor".into())),
            },
            worker: *worker,
        })
        .collect();
    let serving = workers
        .iter()
        .filter(|worker| good[**worker] == Some(true) && known.running[**worker] && up > 0);
    if serving.count() >= settings.min_workers.of(WORKERS) {
        known.proofs = known.proofs.saturating_add(1);
    }
    bench.on(Event::Probed { round, findings });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn after_any_events_a_gate_announces_no_unproven_vip_and_repeats_no_standing(
        settings in rules(),
        steps in vec(step(), 0..120),
    ) {
        let mut bench = Bench::new(settings.clone());
        let mut known = Known::new();
        for step in steps {
            match step {
                Step::Happens(event) => {
                    known.learn(&event);
                    bench.on(event);
                }
                Step::Due(times) => {
                    for _ in 0..times {
                        if bench.gate.deadline().is_some() {
                            bench.due();
                        }
                    }
                }
                Step::Answer(good, up) => answer(&mut known, &mut bench, good, up, &settings),
            }
            check(&mut known, &mut bench, &settings)?;
        }
    }

    #[test]
    fn after_any_events_a_gate_opens_by_itself_once_all_facts_are_good(
        settings in rules(),
        steps in vec(step(), 0..60),
    ) {
        let mut bench = Bench::new(settings.clone());
        let mut known = Known::new();
        for step in steps {
            match step {
                Step::Happens(event) => bench.on(event),
                Step::Due(_) if bench.gate.deadline().is_some() => bench.due(),
                Step::Due(_) => {}
                Step::Answer(good, up) => answer(&mut known, &mut bench, good, up, &settings),
            }
        }
        for fact in [Fact::Interface, Fact::Program, Fact::Runs, Fact::Address] {
            bench.on(Event::Holds(fact, true));
        }
        (0..WORKERS).for_each(|worker| bench.worker(worker, true));
        bench.on(Event::Bfd(true));
        bench.on(Event::Lost(false));
        bench.on(Event::File(false));
        bench.order(Order::Enable);
        bench.order(Order::Undrain);
        bench.on(Event::Leave(None));
        let patience = bench.now + settings.hold_max + Duration::from_secs(5);
        while bench.now < patience {
            bench.rounds(1, true);
        }
        prop_assert_eq!(bench.gate.state(), State::Up);
        prop_assert_eq!(bench.gate.standing(), Standing::Announced);
    }
}
