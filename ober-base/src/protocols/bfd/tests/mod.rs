//! The levels: the table of the standard, its clauses, laws under any sequence of events, two machines against each other.
//! Tests with real sockets and routers are in `tests/tests/bfd`.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::{NonZeroU8, NonZeroU32},
};

use super::*;

mod bytes;
mod clauses;
mod clients;
mod formulas;
mod laws;
mod pair;
mod polls;

const MILLISECOND: Duration = Duration::from_millis(1);

fn timers(transmit: u64, receive: u64, multiplier: u8) -> Timers {
    Timers {
        transmit: Duration::from_millis(transmit).into(),
        receive: Duration::from_millis(receive).into(),
        multiplier: NonZeroU8::new(multiplier).unwrap(),
    }
}

fn settings(timers: Timers) -> Settings {
    Settings {
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        local: None,
        interface: None,
        mode: Mode::SingleHop,
        timers,
        passive: false,
        hold_down: Duration::ZERO,
    }
}

fn discriminator(number: u32) -> Discriminator {
    NonZeroU32::new(number).unwrap()
}

/// A packet of a peer with 300 ms and a multiplier of three: it is number 2 and knows this end as number 1.
fn says(state: State) -> Control {
    Control {
        diagnostic: Diagnostic::None,
        state,
        poll: false,
        fin: false,
        independent: false,
        demand: false,
        multiplier: NonZeroU8::new(3).unwrap(),
        mine: discriminator(2),
        yours: Some(discriminator(1)),
        min_tx: Micros(300_000),
        min_rx: Micros(300_000),
        min_echo_rx: Micros(0),
    }
}

fn received(control: Control) -> Event {
    Event::Received {
        control,
        hops: Hops::Single,
        ttl: 255,
    }
}

/// A session and its clock.
struct Bench {
    now: Instant,
    session: Session,
}

impl Bench {
    fn new(settings: &Settings) -> Self {
        let now = crate::machine::drive::now();
        Self {
            now,
            session: Session::new(now, settings, discriminator(1), 7),
        }
    }

    /// 50 ms in both directions, a multiplier of three, Up with the peer of [`says`].
    fn up() -> Self {
        let mut bench = Self::new(&settings(timers(50, 50, 3)));
        bench.tick();
        bench.hear(says(State::Init));
        assert_eq!(bench.session.state, State::Up);
        bench
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.session.on(self.now, event)
    }

    fn hear(&mut self, control: Control) -> Vec<Action> {
        self.on(received(control))
    }

    fn tick(&mut self) -> Vec<Action> {
        self.session.tick(self.now)
    }

    /// Advances to the session's deadline.
    fn wait(&mut self) -> Vec<Action> {
        self.now = self.session.deadline().unwrap();
        self.tick()
    }

    /// Advances by `time` without packets; returns all actions.
    fn silence(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut done = Vec::new();
        while self.session.deadline().is_some_and(|due| due <= end) {
            done.extend(self.wait());
        }
        self.now = end;
        done
    }

    /// The contents of the session's packets.
    fn contents(&self) -> Control {
        self.session.contents()
    }
}

fn send(control: Control) -> Action {
    Action::Send {
        control,
        hops: Hops::Single,
    }
}

fn sent(actions: &[Action]) -> Vec<Control> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { control, .. } => Some(*control),
        Action::Tell { .. } | Action::Over => None,
    });
    sent.collect()
}

fn notified(actions: &[Action]) -> Vec<State> {
    let notified = actions.iter().filter_map(|action| match action {
        Action::Tell { state, .. } => Some(*state),
        Action::Send { .. } | Action::Over => None,
    });
    notified.collect()
}

#[test]
fn every_bfd_state_and_received_state_leads_where_rfc_5880_says() {
    use State::{AdminDown, Down, Init, Up};
    for (ours, row) in [
        //          peer: AdminDown  Down       Init       Up
        (AdminDown, [AdminDown, AdminDown, AdminDown, AdminDown]),
        (Down, [Down, Init, Up, Down]),
        (Init, [Down, Init, Up, Up]),
        (Up, [Down, Down, Up, Up]),
    ] {
        assert_eq!(State::ALL.map(|peer| next(ours, peer)), row, "{ours:?}");
    }
}
