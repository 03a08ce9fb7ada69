//! The levels: bytes, tables of the RFCs, clauses, random events, two speakers on one virtual clock.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    connection::{Remote, Settings},
    event::{Action, Event, Side, State},
    message::{
        Capabilities, Communities, Family, Message, Notification, Open, Raw, Received, decode,
        frame,
    },
    peering::Peering,
    rib::{NextHops, Route, Routes},
};
use crate::machine::Machine as _;

mod bytes;
mod changes;
mod clauses;
mod collision;
mod dice;
mod garbage;
mod judged;
mod pair;
mod policy;
mod rib;
mod table;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn both() -> BTreeSet<Family> {
    [Family::Ipv4, Family::Ipv6].into()
}

fn settings() -> Settings {
    Settings {
        local_as: 65001,
        remote: Remote::Number(65002),
        id: OURS,
        passive: false,
        hold_time: Duration::from_secs(9),
        keepalive: None,
        connect_retry: Duration::from_secs(5),
        delay_open: Duration::ZERO,
        families: both(),
        extended_next_hop: true,
        max_prefixes: None,
        strict: false,
        settle: Duration::from_secs(30),
    }
}

fn their_open() -> Open {
    Open {
        asn: 65002,
        hold_time: Duration::from_secs(90),
        id: THEIRS,
        capabilities: Capabilities {
            families: both(),
            four_octet_as: true,
            refresh: true,
            enhanced_refresh: false,
            extended_next_hop: false,
        },
    }
}

fn hops() -> NextHops {
    NextHops {
        v4: Some(OURS),
        v6: Some("2001:db8::1".parse().unwrap()),
        link_local: None,
        prefer_v6: false,
    }
}

fn route() -> Route {
    Route {
        med: None,
        local_pref: 100,
        prepend: 0,
        behind: Vec::new(),
        communities: Communities::default(),
    }
}

fn routes(prefixes: &[&str]) -> Arc<Routes> {
    let all = prefixes
        .iter()
        .map(|prefix| (prefix.parse().unwrap(), route()));
    Arc::new(all.collect())
}

/// A message as the other end receives it: encoded and decoded.
fn received(message: &Message) -> Received {
    let bytes = message.encode().unwrap();
    assert_eq!(frame(&bytes), Ok(Some(bytes.len())));
    decode(&bytes).unwrap()
}

fn update(bytes: &[u8]) -> Raw {
    let length = u16::try_from(19 + bytes.len()).unwrap();
    let mut whole = vec![0xff; 16];
    whole.extend(length.to_be_bytes());
    whole.push(2);
    whole.extend(bytes);
    match decode(&whole) {
        Ok(Received::Update(update)) => update,
        other => panic!("{other:?}"),
    }
}

/// One machine and its clock.
struct Rig {
    peering: Peering,
    now: Instant,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let now = crate::machine::drive::now();
        Self {
            peering: Peering::new(now, settings, 1),
            now,
        }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.peering.on(self.now, event)
    }

    fn hear(&mut self, side: Side, message: &Message) -> Vec<Action> {
        self.on(Event::Received(side, received(message)))
    }

    /// Advances to the next timer, and returns its actions.
    fn next(&mut self) -> Vec<Action> {
        self.now = self.peering.deadline().expect("a timer runs");
        self.peering.tick(self.now)
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut actions = Vec::new();
        while let Some(at) = self.peering.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            actions.extend(self.peering.tick(self.now));
        }
        self.now = end;
        actions
    }

    fn state(&self) -> State {
        self.peering.state()
    }

    /// A machine in this state, on a connection that it made.
    fn upto(settings: Settings, state: State) -> Self {
        let mut rig = Self::new(settings);
        if state == State::Idle {
            return rig;
        }
        rig.on(Event::Start);
        if state >= State::OpenSent {
            rig.on(Event::Dialed(hops()));
        }
        if state >= State::OpenConfirm {
            rig.hear(Side::Ours, &Message::Open(their_open()));
        }
        if state >= State::Established {
            rig.hear(Side::Ours, &Message::Keepalive);
        }
        assert_eq!(rig.state(), state);
        rig
    }
}

/// The messages sent on a side, without the other actions.
fn sent(actions: &[Action]) -> Vec<&Message> {
    let said = actions.iter().filter_map(|action| match action {
        Action::Send(_, message) => Some(message),
        _ => None,
    });
    said.collect()
}

fn notified(actions: &[Action]) -> Option<(u8, u8)> {
    sent(actions).into_iter().find_map(|message| match message {
        Message::Notification(Notification { code, subcode, .. }) => Some((*code, *subcode)),
        _ => None,
    })
}

#[test]
fn the_protocol_machines_use_no_socket_clock_task_or_log() {
    let sources = [
        include_str!("../connection.rs"),
        include_str!("../event.rs"),
        include_str!("../pace.rs"),
        include_str!("../peering/mod.rs"),
        include_str!("../peering/dial.rs"),
        include_str!("../peering/configure.rs"),
        include_str!("../policy.rs"),
        include_str!("../rib.rs"),
        include_str!("../message/mod.rs"),
        include_str!("../message/notify.rs"),
        include_str!("../message/judge.rs"),
        include_str!("../message/received.rs"),
        include_str!("../settings.rs"),
    ];
    for source in sources {
        for word in [
            "tokio",
            "tracing",
            "Instant::now",
            "std::fs",
            "socket2",
            "std::thread",
        ] {
            assert!(!source.contains(word), "{word}");
        }
    }
}
