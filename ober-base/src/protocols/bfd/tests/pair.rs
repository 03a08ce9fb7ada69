//! Two sessions against each other on one virtual clock, through a network that delays, loses and reorders.

use proptest::prelude::*;

use super::*;

/// Loses at most `burst` packets in a row in each direction, and delays each by up to `spread` more than `delay`.
#[derive(Clone, Copy, Debug)]
struct Network {
    delay: Duration,
    spread: Duration,
    burst: u32,
    /// From this moment on no packet arrives.
    cut: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    arrives: Instant,
    to: usize,
    control: Control,
}

struct Pair {
    now: Instant,
    ends: [Session; 2],
    network: Network,
    dice: Dice,
    air: Vec<Flight>,
    lost: [u32; 2],
    /// The states that each end's clients got, and when.
    notified: [Vec<(Instant, State)>; 2],
    heard: [Instant; 2],
}

impl Pair {
    fn new(timers: [Timers; 2], network: Network, seed: u64) -> Self {
        let now = crate::machine::drive::now();
        let [one, two] = [0, 1].map(|end: usize| {
            let number = discriminator(10 + u32::try_from(end).unwrap());
            Session::new(now, &settings(timers[end]), number, seed + end as u64)
        });
        Self {
            now,
            ends: [one, two],
            network,
            dice: Dice(seed),
            air: Vec::new(),
            lost: [0; 2],
            notified: [Vec::new(), Vec::new()],
            heard: [now; 2],
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timer = (0..2)
                .filter_map(|which| Some((self.ends[which].deadline()?, which)))
                .min();
            let flight = (0..self.air.len()).min_by_key(|at| self.air[*at].arrives);
            let arrives = flight.map(|at| self.air[at].arrives);
            let next = [timer.map(|(due, _)| due), arrives]
                .into_iter()
                .flatten()
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = next.max(self.now);
            match (timer, flight) {
                (Some((due, which)), _) if due <= next => {
                    let actions = self.ends[which].tick(self.now);
                    self.act(which, actions);
                }
                (_, Some(at)) => {
                    let Flight { to, control, .. } = self.air.swap_remove(at);
                    self.heard[to] = self.now;
                    let actions = self.ends[to].on(self.now, received(control));
                    self.act(to, actions);
                }
                (_, None) => break,
            }
        }
        self.now = end;
    }

    fn act(&mut self, from: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { control, .. } => self.fly(from, control),
                Action::Tell { state, .. } => self.notified[from].push((self.now, state)),
                Action::Over => {}
            }
        }
    }

    fn fly(&mut self, from: usize, control: Control) {
        let cut = self.network.cut.is_some_and(|cut| self.now >= cut);
        let unlucky = self.dice.roll().is_multiple_of(2);
        if cut || (unlucky && self.lost[from] < self.network.burst) {
            self.lost[from] += 1;
            return;
        }
        self.lost[from] = 0;
        let spread = u64::try_from(self.network.spread.as_nanos()).unwrap();
        let extra = Duration::from_nanos(self.dice.roll() % (spread + 1));
        self.air.push(Flight {
            arrives: self.now + self.network.delay + extra,
            to: 1 - from,
            control,
        });
    }

    fn configure(&mut self, end: usize, timers: Timers) {
        let event = Event::Configure {
            mode: Mode::SingleHop,
            timers,
            passive: false,
            hold_down: Duration::ZERO,
        };
        let actions = self.ends[end].on(self.now, event);
        self.act(end, actions);
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].state, self.ends[1].state]
    }

    /// Waits until both are Up and every Poll is answered, then clears the records.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.run(Duration::from_secs(1));
            if self.states() == [State::Up; 2] && self.ends.iter().all(|end| end.poll.is_none()) {
                self.run(self.network.delay + self.network.spread);
                self.notified = [Vec::new(), Vec::new()];
                return;
            }
        }
        panic!("they never find each other: {:?}", self.states());
    }
}

fn quiet() -> Network {
    Network {
        delay: MILLISECOND,
        spread: Duration::ZERO,
        burst: 0,
        cut: None,
    }
}

fn any_timers(multiplier: std::ops::Range<u8>) -> impl Strategy<Value = Timers> {
    (20..500_u64, 20..500_u64, multiplier)
        .prop_map(|(transmit, receive, multiplier)| timers(transmit, receive, multiplier))
}

#[test]
fn two_sessions_come_up_negotiate_timers_and_detect_a_cut() {
    let mut pair = Pair::new([timers(50, 200, 3), timers(100, 300, 5)], quiet(), 1);
    pair.settle();
    let snapshot = |pair: &Pair, end: usize| {
        let snapshot = pair.ends[end].snapshot();
        (
            snapshot.transmit.unwrap().as_millis(),
            snapshot.detection.unwrap().as_millis(),
        )
    };
    // (max(50, 300), 5 x max(200, 100)) and (max(100, 200), 3 x max(300, 50)).
    assert_eq!(
        (snapshot(&pair, 0), snapshot(&pair, 1)),
        ((300, 1000), (200, 900))
    );
    pair.network.cut = Some(pair.now);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.states(), [State::Down; 2]);
    pair.network.cut = None;
    pair.settle();
}

#[test]
fn the_peer_sees_a_planned_stop_as_admin_down() {
    let mut pair = Pair::new([timers(50, 50, 3), timers(50, 50, 3)], quiet(), 2);
    pair.settle();
    let actions = pair.ends[0].on(pair.now, Event::AdminDown);
    pair.act(0, actions);
    pair.run(Duration::from_secs(5));
    let states = |end: usize| {
        pair.notified[end]
            .iter()
            .map(|(_, state)| *state)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        [states(0), states(1)],
        [[State::AdminDown], [State::AdminDown]]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_cut_is_detected_one_detection_time_after_the_last_packet(
        one in any_timers(1..6), two in any_timers(1..6), delay in 0..10_u64, seed: u64
    ) {
        let network = Network { delay: Duration::from_millis(delay), ..quiet() };
        let mut pair = Pair::new([one, two], network, seed >> 8);
        pair.settle();
        pair.network.cut = Some(pair.now);
        pair.run(Duration::from_secs(10));
        for (end, ours, peer) in [(0, one, two), (1, two, one)] {
            let detection = ours.receive.max(peer.transmit).duration() * u32::from(peer.multiplier.get());
            let [(at, State::Down)] = pair.notified[end][..] else {
                panic!("{:?}", pair.notified);
            };
            // The other end may send Down first, but the cut loses it.
            prop_assert_eq!(at - pair.heard[end], detection);
        }
    }

    #[test]
    fn losing_fewer_packets_in_a_row_than_the_multiplier_is_never_a_failure(
        one in any_timers(2..6), two in any_timers(2..6), delay in 0..50_u64, seed: u64
    ) {
        let burst = u32::from(one.multiplier.min(two.multiplier).get()) - 1;
        let network = Network { delay: Duration::from_millis(delay), burst, ..quiet() };
        let mut pair = Pair::new([one, two], network, seed >> 8);
        pair.settle();
        pair.run(Duration::from_mins(1));
        prop_assert_eq!(&pair.notified, &[vec![], vec![]]);
    }

    #[test]
    fn delay_that_varies_by_less_than_an_interval_with_one_loss_fewer_is_no_failure(
        one in any_timers(2..6), two in any_timers(2..6), seed: u64
    ) {
        let fastest = [one, two].iter().map(|timers| timers.transmit.min(timers.receive)).min().unwrap();
        let network = Network {
            spread: fastest.duration() * 9 / 10,
            burst: u32::from(one.multiplier.min(two.multiplier).get()) - 2,
            ..quiet()
        };
        let mut pair = Pair::new([one, two], network, seed >> 8);
        pair.settle();
        // Packets reordered during the start have arrived.
        pair.run(Duration::from_secs(5));
        pair.settle();
        pair.run(Duration::from_mins(1));
        prop_assert_eq!(&pair.notified, &[vec![], vec![]]);
    }

    #[test]
    fn timers_that_change_at_both_ends_at_any_moment_under_loss_cause_no_failure(
        begin in any_timers(3..6),
        changes in proptest::collection::vec((0..2_usize, any_timers(3..6), 0..3000_u64), 1..12),
        delay in 0..20_u64, seed: u64
    ) {
        let network = Network { delay: Duration::from_millis(delay), burst: 1, ..quiet() };
        let mut pair = Pair::new([begin, begin], network, seed >> 8);
        pair.settle();
        let mut last = [begin, begin];
        for (end, timers, pause) in changes {
            pair.configure(end, timers);
            last[end] = timers;
            pair.run(Duration::from_millis(pause));
        }
        pair.run(Duration::from_secs(20));
        prop_assert_eq!(&pair.notified, &[vec![], vec![]]);
        for (end, ours, peer) in [(0, last[0], last[1]), (1, last[1], last[0])] {
            let detection = ours.receive.max(peer.transmit).duration() * u32::from(peer.multiplier.get());
            prop_assert_eq!(pair.ends[end].detection(), detection);
            prop_assert_eq!(pair.ends[end].pace(), Some(ours.transmit.max(peer.receive).duration()));
        }
    }
}
