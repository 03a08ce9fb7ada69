//! Laws that hold under any sequence of events.

use proptest::prelude::*;

use super::*;

/// A random step.
#[derive(Clone, Copy, Debug)]
enum Step {
    Event(Event),
    /// Time passes: less than the machine waits for, or more.
    Pass(Duration),
    /// The time until the machine's deadline passes.
    Deadline,
}

fn state() -> impl Strategy<Value = State> {
    (0..4_usize).prop_map(|number| State::ALL[number])
}

fn some_timers() -> impl Strategy<Value = Timers> {
    (10..2000_u64, 10..2000_u64, 1..6_u8)
        .prop_map(|(transmit, receive, multiplier)| timers(transmit, receive, multiplier))
}

fn packet() -> impl Strategy<Value = Event> {
    let flags = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.1));
    let numbers = (0..2_000_000_u32, 0..2_000_000_u32, 1..6_u8, 250..=255_u8);
    (state(), flags, numbers, any::<bool>()).prop_map(|(state, flags, numbers, single)| {
        let (poll, fin, demand) = flags;
        let (min_tx, min_rx, multiplier, ttl) = numbers;
        let control = Control {
            poll: poll && !fin,
            fin,
            demand,
            multiplier: NonZeroU8::new(multiplier).unwrap(),
            min_tx: Micros(min_tx),
            min_rx: Micros(if min_rx < 100_000 { 0 } else { min_rx }),
            ..says(state)
        };
        let hops = if single { Hops::Single } else { Hops::Multi };
        Event::Received {
            control,
            hops,
            ttl: if ttl < 252 { ttl } else { 255 },
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let configure = (some_timers(), any::<bool>()).prop_map(|(timers, passive)| {
        Step::Event(Event::Configure {
            mode: Mode::Auto,
            timers,
            passive,
            hold_down: 300 * MILLISECOND,
        })
    });
    prop_oneof![
        8 => packet().prop_map(Step::Event),
        1 => configure,
        1 => prop_oneof![Just(Event::AdminDown), Just(Event::Enable), Just(Event::Leave)].prop_map(Step::Event),
        3 => (0..1500_u64).prop_map(|passed| Step::Pass(Duration::from_millis(passed))),
        8 => Just(Step::Deadline),
    ]
}

/// Checks a session from outside.
struct Observer {
    bench: Bench,
    notified: State,
    /// The last packet that did not answer a Poll, and when it was sent.
    last: Option<(Control, Instant)>,
}

impl Observer {
    fn step(&mut self, step: Step) {
        let before = self.bench.session.clone();
        let (actions, event) = match step {
            Step::Event(event) => (self.bench.on(event), Some(event)),
            Step::Pass(time) => {
                let soonest = self
                    .bench
                    .session
                    .deadline()
                    .unwrap_or(self.bench.now + time);
                // Usually never later than the driver would call, and sometimes late.
                let late = if time > 1400 * MILLISECOND {
                    time
                } else {
                    Duration::ZERO
                };
                self.bench.now = (self.bench.now + time).min(soonest) + late;
                (self.bench.tick(), None)
            }
            Step::Deadline => {
                self.bench.now = self
                    .bench
                    .session
                    .deadline()
                    .unwrap_or(self.bench.now)
                    .max(self.bench.now);
                (self.bench.tick(), None)
            }
        };
        if event.is_none() {
            let due = self.bench.session.deadline();
            let leaving = actions.contains(&Action::Over);
            assert!(
                leaving || due.is_none_or(|due| due > self.bench.now),
                "the driver would spin: {due:?}"
            );
        }
        for control in sent(&actions) {
            self.packet(&before, control);
        }
        Self::answers(&before, event, &actions);
        self.tells(&before, &actions);
    }

    fn packet(&mut self, before: &Session, control: Control) {
        assert!(!(control.poll && control.fin));
        assert_eq!(
            (control.mine, control.demand, control.independent),
            (discriminator(1), false, false)
        );
        assert!(
            control.state == State::Up || control.min_tx >= Micros(1_000_000),
            "slow until Up"
        );
        assert!(
            control.yours.is_some() || matches!(control.state, State::Down | State::AdminDown),
            "what its decoder would refuse"
        );
        assert!(
            !self.bench.session.passive || control.yours.is_some(),
            "the passive side speaks first"
        );
        if control.fin {
            return;
        }
        let plain = Control {
            poll: false,
            ..control
        };
        if let Some((last, at)) = self.last.replace((plain, self.bench.now)) {
            // The pause is at least that of the faster of the old and the new intervals.
            let slowest = |session: &Session| session.pace().unwrap_or_default() * 3 / 4;
            let pause = slowest(before).min(slowest(&self.bench.session));
            let news = last != plain || before.sent.is_none_or(|sent| sent.contents != plain);
            assert!(
                news || self.bench.now - at >= pause,
                "{:?} after the last, {pause:?}",
                self.bench.now - at
            );
        }
    }

    fn answers(before: &Session, event: Option<Event>, actions: &[Action]) {
        let finals = sent(actions).iter().filter(|control| control.fin).count();
        let asked = match event {
            Some(Event::Received { control, hops, ttl }) => {
                let admitted = before.clone().admit(hops, ttl).is_ok();
                admitted && control.poll && before.state != State::AdminDown
            }
            _ => false,
        };
        assert_eq!(
            finals,
            usize::from(asked),
            "a Poll has one answer, and nothing else has"
        );
    }

    fn tells(&mut self, before: &Session, actions: &[Action]) {
        for state in notified(actions) {
            match state {
                State::Up => assert_eq!(self.bench.session.state, State::Up),
                State::Down => assert_eq!(
                    (before.state, self.bench.session.state),
                    (State::Up, State::Down)
                ),
                State::AdminDown => assert_ne!(self.bench.session.state, State::Up),
                State::Init => panic!("nobody needs to know"),
            }
            assert!(self.notified != state || state == State::Down, "told twice");
            self.notified = state;
        }
        if self.bench.session.state != State::Up {
            assert_ne!(
                self.notified,
                State::Up,
                "a session that is not Up is told to be"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_bfd_session_keeps_rfc_5880_after_any_events(
        timers in some_timers(), passive: bool, steps in proptest::collection::vec(step(), 1..80)
    ) {
        let settings = Settings { mode: Mode::Auto, passive, hold_down: 300 * MILLISECOND, ..settings(timers) };
        let mut watch = Observer { bench: Bench::new(&settings), notified: State::Down, last: None };
        for step in steps {
            watch.step(step);
        }
    }

    #[test]
    fn silence_ends_a_session_after_the_peers_multiplier_times_the_slower_interval(
        timers in some_timers(), peer in some_timers()
    ) {
        let mut bench = Bench::new(&settings(timers));
        bench.tick();
        let said = Control { min_tx: peer.transmit, min_rx: peer.receive, multiplier: peer.multiplier, ..says(State::Init) };
        bench.hear(said);
        bench.hear(Control { state: State::Up, fin: true, ..said });
        let began = bench.now;
        while bench.session.state == State::Up {
            bench.wait();
        }
        let pace = timers.receive.max(peer.transmit).duration();
        prop_assert_eq!(bench.now - began, pace * u32::from(peer.multiplier.get()));
    }
}
