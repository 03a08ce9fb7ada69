//! Two speakers on one virtual clock, connected by a model of TCP: messages of a connection arrive in order, but late;
//! connections overtake one another, break, or fail to open.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::protocols::bgp::message::judge;

/// A connection: the speaker that dialed it, and its number.
type Wire = (usize, u32);

#[derive(Debug)]
enum Arrival {
    /// The dialed speaker sees the connection, or the dialer learns that it failed.
    Syn(Wire),
    Dialed(Wire),
    NotDialed(Wire),
    Bytes(Wire, usize, Vec<u8>),
    Closed(Wire, usize),
}

/// One of the two speakers.
struct Speaker {
    peering: Peering,
    /// The connection that is being made.
    dialing: Option<Wire>,
    sides: BTreeMap<Side, Wire>,
    visitor: Option<Wire>,
    /// The other speaker's routes, on each connection.
    table: BTreeMap<Wire, BTreeSet<IpNet>>,
    dials: u32,
}

struct Pair {
    now: Instant,
    speakers: [Speaker; 2],
    /// In the order of arrival; the number orders those of one moment.
    coming: BTreeMap<(Instant, u64), Arrival>,
    number: u64,
    /// When the last message of each direction of a connection arrives.
    last: BTreeMap<(Wire, usize), Instant>,
    dice: u64,
    /// Percentage of connections and messages that break.
    loss: u64,
    broken: BTreeSet<Wire>,
}

impl Pair {
    fn new(settings: [Settings; 2], seed: u64, loss: u64) -> Self {
        let now = crate::machine::drive::now();
        let mut number = seed;
        let speakers = settings.map(|settings| {
            number += 1;
            Speaker {
                peering: Peering::new(now, settings, number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                dialing: None,
                sides: BTreeMap::new(),
                visitor: None,
                table: BTreeMap::new(),
                dials: 0,
            }
        });
        Self {
            now,
            speakers,
            coming: BTreeMap::new(),
            number: 0,
            last: BTreeMap::new(),
            dice: seed | 1,
            loss,
            broken: BTreeSet::new(),
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 16) % sides
    }

    fn later(&mut self, at: Instant, arrival: Arrival) {
        self.number += 1;
        self.coming.insert((at, self.number), arrival);
    }

    fn soon(&mut self) -> Instant {
        self.now + Duration::from_millis(1 + self.roll(200))
    }

    /// Sends to `to`, behind everything sent before on this connection.
    fn send(&mut self, wire: Wire, to: usize, arrival: Arrival) {
        let at = self.soon();
        let at = self.last.get(&(wire, to)).map_or(at, |last| at.max(*last));
        self.last.insert((wire, to), at);
        self.later(at, arrival);
    }

    fn event(&mut self, who: usize, event: Event) {
        let actions = self.speakers[who].peering.on(self.now, event);
        self.act(who, actions);
    }

    fn act(&mut self, who: usize, actions: Vec<Action>) {
        let other = 1 - who;
        for action in actions {
            match action {
                Action::Dial => {
                    self.speakers[who].dials += 1;
                    let wire = (who, self.speakers[who].dials);
                    self.speakers[who].dialing = Some(wire);
                    let at = self.soon();
                    let arrival = if self.roll(100) < self.loss {
                        Arrival::NotDialed(wire)
                    } else {
                        Arrival::Syn(wire)
                    };
                    self.later(at, arrival);
                }
                Action::HangUp => self.speakers[who].dialing = None,
                Action::Accept => {
                    let wire = self.speakers[who].visitor.take().unwrap();
                    self.speakers[who].sides.insert(Side::Theirs, wire);
                }
                Action::Refuse => {
                    let wire = self.speakers[who].visitor.take().unwrap();
                    self.send(wire, other, Arrival::Closed(wire, other));
                }
                Action::Send(side, message) => {
                    let wire = self.speakers[who].sides[&side];
                    let bytes = message.encode().unwrap().to_vec();
                    if self.roll(100) < self.loss && self.broken.insert(wire) {
                        // The connection breaks: both ends notice, at different times.
                        self.send(wire, who, Arrival::Closed(wire, who));
                        self.send(wire, other, Arrival::Closed(wire, other));
                    } else if !self.broken.contains(&wire) {
                        self.send(wire, other, Arrival::Bytes(wire, other, bytes));
                    }
                }
                Action::Close(side) => {
                    let wire = self.speakers[who].sides.remove(&side).unwrap();
                    self.speakers[who].table.remove(&wire);
                    self.send(wire, other, Arrival::Closed(wire, other));
                }
                Action::Failed(_) => {}
            }
        }
    }

    fn side(&self, who: usize, wire: Wire) -> Option<Side> {
        let mut sides = self.speakers[who].sides.iter();
        sides
            .find(|(_, known)| **known == wire)
            .map(|(side, _)| *side)
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Syn(wire) => {
                let (dialer, to) = (wire.0, 1 - wire.0);
                self.send(wire, dialer, Arrival::Dialed(wire));
                self.speakers[to].visitor = Some(wire);
                self.event(to, Event::Accepted(hops()));
            }
            Arrival::Dialed(wire) if self.speakers[wire.0].dialing == Some(wire) => {
                self.speakers[wire.0].dialing = None;
                self.speakers[wire.0].sides.insert(Side::Ours, wire);
                self.event(wire.0, Event::Dialed(hops()));
            }
            // The dialer has cancelled it meanwhile.
            Arrival::Dialed(wire) => self.send(wire, 1 - wire.0, Arrival::Closed(wire, 1 - wire.0)),
            Arrival::NotDialed(wire) if self.speakers[wire.0].dialing == Some(wire) => {
                self.speakers[wire.0].dialing = None;
                self.event(wire.0, Event::NotDialed("lost".into()));
            }
            Arrival::NotDialed(_) => {}
            Arrival::Bytes(wire, to, bytes) => self.bytes(wire, to, &bytes),
            Arrival::Closed(wire, to) => {
                if let Some(side) = self.side(to, wire) {
                    self.event(to, Event::Closed(side, "closed".into()));
                }
            }
        }
    }

    fn bytes(&mut self, wire: Wire, to: usize, bytes: &[u8]) {
        let Some(side) = self.side(to, wire) else {
            return;
        };
        assert_eq!(frame(bytes), Ok(Some(bytes.len())));
        let received = decode(bytes).unwrap();
        if let Received::Update(update) = &received {
            let judged = judge(update, super::judged::terms(true, false)).unwrap();
            assert!(judged.malformed.is_empty());
            let table = self.speakers[to].table.entry(wire).or_default();
            table.extend(judged.announced);
            for prefix in judged.withdrawn {
                assert!(table.remove(&prefix), "{prefix} was never announced");
            }
        }
        self.event(to, Event::Received(side, received));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timers = [0, 1].map(|who| self.speakers[who].peering.deadline());
            let arrival = self.coming.keys().next().map(|(at, _)| *at);
            let next = timers.into_iter().chain([arrival]).flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = next.max(self.now);
            if arrival.is_some_and(|at| at <= self.now) {
                let (_, arrival) = self.coming.pop_first().unwrap();
                self.arrive(arrival);
            }
            for who in [0, 1] {
                if self.speakers[who]
                    .peering
                    .deadline()
                    .is_some_and(|at| at <= self.now)
                {
                    let actions = self.speakers[who].peering.tick(self.now);
                    self.act(who, actions);
                }
            }
        }
        self.now = end;
    }

    fn established(&self) -> bool {
        let mut all = self.speakers.iter();
        all.all(|it| it.peering.state() == State::Established)
    }

    /// The routes that the other speaker knows through the one connection that is left.
    fn known(&self, who: usize) -> BTreeSet<IpNet> {
        let sides = &self.speakers[who].sides;
        assert_eq!(sides.len(), 1, "one connection is left: {sides:?}");
        let wire = sides.values().next().unwrap();
        self.speakers[who]
            .table
            .get(wire)
            .cloned()
            .unwrap_or_default()
    }
}

fn two(passive: [bool; 2]) -> [Settings; 2] {
    let left = Settings {
        passive: passive[0],
        ..settings()
    };
    let right = Settings {
        local_as: 65002,
        remote: Remote::Number(65001),
        id: THEIRS,
        passive: passive[1],
        ..settings()
    };
    [left, right]
}

fn begin(settings: [Settings; 2], seed: u64, loss: u64) -> Pair {
    let mut pair = Pair::new(settings, seed, loss);
    for who in [0, 1] {
        pair.event(who, Event::Settled);
        pair.event(who, Event::Start);
    }
    pair
}

const WANTED: [&[&str]; 2] = [&["192.0.2.10/32", "2001:db8::10/128"], &["198.51.100.0/24"]];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn two_speakers_establish_and_exchange_routes_despite_loss_delay_and_collision(
        seed in any::<u64>(),
        loss in 0..40u64,
        passive in prop_oneof![Just([false, false]), Just([true, false]), Just([false, true])],
    ) {
        let mut pair = begin(two(passive), seed, loss);
        for who in [0, 1] {
            pair.event(who, Event::Routes(routes(WANTED[who])));
        }
        pair.run(Duration::from_mins(5));
        pair.loss = 0;
        // The longest pause, the longest retry, and time for a collision that both lost.
        pair.run(Duration::from_mins(6));
        prop_assert!(pair.established(), "{:?}", [0, 1].map(|who| pair.speakers[who].peering.report()));
        let flaps = [0, 1].map(|who| pair.speakers[who].peering.report().flaps);
        pair.event(0, Event::Routes(routes(&["192.0.2.11/32"])));
        pair.run(Duration::from_mins(10));
        prop_assert_eq!(pair.known(1), routes(&["192.0.2.11/32"]).keys().copied().collect());
        prop_assert_eq!(pair.known(0), routes(WANTED[1]).keys().copied().collect());
        prop_assert_eq!([0, 1].map(|who| pair.speakers[who].peering.report().flaps), flaps, "it holds");
    }
}

#[test]
fn two_speakers_that_dial_at_once_establish_a_session() {
    let mut slow = 0;
    for seed in 0..200 {
        let mut pair = begin(two([false, false]), seed * 7919, 0);
        pair.run(Duration::from_secs(3));
        slow += u32::from(!pair.established());
        pair.run(Duration::from_mins(1));
        assert!(pair.established(), "seed {seed}");
    }
    // Each may end the connection that the other kept; that is rare, and they recover.
    assert!(slow < 40, "{slow} of 200");
}

#[test]
fn a_cut_connection_is_detected_within_the_hold_time() {
    let mut pair = begin(two([false, false]), 5, 0);
    pair.run(Duration::from_secs(20));
    assert!(pair.established());
    let cut = pair.now;
    // Nothing arrives any more, and neither end is notified.
    while pair
        .speakers
        .iter()
        .any(|it| it.peering.state() == State::Established)
    {
        pair.coming.clear();
        pair.run(Duration::from_millis(100));
    }
    let took = pair.now - cut;
    assert!(took <= Duration::from_secs(10), "{took:?}");
}
