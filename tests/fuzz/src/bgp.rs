//! BGP: a stream of messages, the attributes of one UPDATE, and a whole session.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use ober_user::{
    machine::{Machine as _, drive},
    protocols::bgp::{
        connection::{Remote, Settings},
        event::{Action, Event, Path, Side},
        message::{Communities, Family, Notification, Received, Terms, decode, frame, judge},
        peering::Peering,
        rib::{NextHops, Route, Routes},
    },
};

/// The messages of a stream, one after another, as long as they are good.
fn messages(bytes: &[u8]) -> impl Iterator<Item = Result<Received, Notification>> {
    let mut rest = bytes;
    let mut over = false;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        let next = match frame(rest) {
            Ok(length) => {
                let whole = rest.split_off(..length?)?;
                decode(whole)
            }
            Err(notification) => Err(notification),
        };
        over = next.is_err();
        Some(next)
    })
}

fn look_into(received: &Received, bytes: usize) {
    let Received::Update(update) = received else {
        return;
    };
    let families = [
        BTreeSet::from([Family::Ipv4]),
        BTreeSet::from([Family::Ipv4, Family::Ipv6]),
    ];
    let sessions = [(true, true, 1), (true, false, 0), (false, false, 1)];
    for (wide, internal, families) in sessions.map(|(a, b, of)| (a, b, &families[of])) {
        let terms = Terms {
            wide,
            internal,
            families,
        };
        match judge(update, terms) {
            // A prefix takes at least one byte.
            Ok(judged) => assert!(judged.announced.len() + judged.withdrawn.len() <= bytes),
            Err(refusal) => assert!(refusal.data.len() <= bytes + 8),
        }
    }
}

pub(crate) fn stream(bytes: &[u8]) {
    for received in messages(bytes).flatten() {
        look_into(&received, bytes.len());
    }
}

/// The bytes as the attributes of an UPDATE that announces one prefix.
pub(crate) fn attributes(bytes: &[u8]) {
    const PREFIX: [u8; 5] = [32, 192, 0, 2, 10];
    let bytes = bytes.get(..4000).unwrap_or(bytes);
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
    let mut message = vec![0xff; 16];
    message.extend(length(23 + bytes.len() + PREFIX.len()));
    message.extend([2, 0, 0]);
    message.extend(length(bytes.len()));
    message.extend(bytes);
    message.extend(PREFIX);
    stream(&message);
}

fn settings(kind: u8) -> Settings {
    let families = match kind >> 6 {
        0 => BTreeSet::from([Family::Ipv4]),
        1 => BTreeSet::from([Family::Ipv6]),
        _ => BTreeSet::from([Family::Ipv4, Family::Ipv6]),
    };
    Settings {
        local_as: 65001,
        remote: if kind & 1 == 0 {
            Remote::External
        } else {
            Remote::Internal
        },
        id: Ipv4Addr::new(10, 0, 0, 1),
        passive: false,
        hold_time: Duration::from_secs(90),
        keepalive: None,
        connect_retry: Duration::from_secs(5),
        delay_open: Duration::from_secs(u64::from(kind >> 1 & 1)),
        families,
        extended_next_hop: kind & 4 != 0,
        max_prefixes: (kind & 8 != 0).then_some(3),
        strict: kind & 16 != 0,
        settle: Duration::from_secs(30),
    }
}

fn routes() -> Arc<Routes> {
    let route = Route {
        med: Some(7),
        local_pref: 100,
        prepend: 1,
        behind: vec![65010],
        communities: Communities::default(),
    };
    let prefixes = ["192.0.2.10/32", "2001:db8::10/128"];
    let routes = prefixes
        .map(|prefix| (prefix.parse().ok(), route.clone()))
        .into_iter()
        .filter_map(|(prefix, it)| Some((prefix?, it)));
    Arc::new(routes.collect())
}

/// The first byte is how the neighbour is configured; the others are what it sends. Whatever it sends, our answers can be
/// encoded, until we close the connection.
pub(crate) fn session(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    let mut now = drive::now();
    let mut machine = Peering::new(now, settings(kind), 1);
    let hops = NextHops {
        v4: Some(Ipv4Addr::new(10, 0, 0, 1)),
        v6: Some(Ipv6Addr::LOCALHOST),
        link_local: None,
        prefer_v6: kind & 32 != 0,
    };
    machine.on(now, Event::Routes(routes()));
    machine.on(now, Event::Settled);
    machine.on(now, Event::Bfd(Path::Up));
    assert_eq!(machine.on(now, Event::Start), [Action::Dial]);
    machine.on(now, Event::Dialed(hops));
    for received in messages(bytes) {
        now += Duration::from_secs(1);
        let mut actions = machine.tick(now);
        actions.extend(match received {
            Ok(received) => machine.on(now, Event::Received(Side::Ours, received)),
            Err(notification) => machine.on(now, Event::Garbage(Side::Ours, notification)),
        });
        for action in &actions {
            if let Action::Send(_, message) = action {
                assert!(message.encode().is_ok(), "{message:?}");
            }
        }
        if actions.contains(&Action::Close(Side::Ours)) {
            return;
        }
    }
}
