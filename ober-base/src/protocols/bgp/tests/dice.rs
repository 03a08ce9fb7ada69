//! Random events in random order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::protocols::bgp::{event::Path, message::Refresh};

#[derive(Clone, Debug)]
enum Roll {
    Pass(u64),
    Start,
    Stop,
    DialEnds(bool),
    Accepted,
    Hear(Side, u8),
    Garbage(Side),
    Closed(Side),
    Bfd(u8),
    Routes(u8),
    Settled,
}

fn roll() -> impl Strategy<Value = Roll> {
    let side = || prop_oneof![Just(Side::Ours), Just(Side::Theirs)];
    prop_oneof![
        4 => (0..20_000u64).prop_map(Roll::Pass),
        1 => Just(Roll::Start),
        1 => Just(Roll::Stop),
        4 => any::<bool>().prop_map(Roll::DialEnds),
        3 => Just(Roll::Accepted),
        12 => (side(), 0..8u8).prop_map(|(side, what)| Roll::Hear(side, what)),
        1 => side().prop_map(Roll::Garbage),
        1 => side().prop_map(Roll::Closed),
        1 => (0..3u8).prop_map(Roll::Bfd),
        3 => (0..4u8).prop_map(Roll::Routes),
        1 => Just(Roll::Settled),
    ]
}

fn message(what: u8) -> Received {
    match what {
        0 | 1 => Received::Open(their_open()),
        2..=4 => Received::Keepalive,
        5 => Received::Update(update(&[0, 0, 0, 0])),
        6 => Received::Refresh(Some(Family::Ipv4), Refresh::Request),
        _ => Received::Notification(Notification::bare(6, 4)),
    }
}

/// The world's record: the open connections, and whether one is being made.
#[derive(Default)]
struct World {
    open: BTreeSet<Side>,
    dialing: bool,
    visitor: bool,
}

impl World {
    fn act(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Dial => {
                    assert!(!self.dialing && !self.open.contains(&Side::Ours));
                    self.dialing = true;
                }
                Action::HangUp => assert!(std::mem::take(&mut self.dialing)),
                Action::Accept => {
                    assert!(std::mem::take(&mut self.visitor));
                    assert!(self.open.insert(Side::Theirs));
                }
                Action::Refuse => assert!(std::mem::take(&mut self.visitor)),
                Action::Send(side, message) => {
                    assert!(self.open.contains(side), "{message:?}");
                    message.encode().unwrap();
                }
                Action::Close(side) => assert!(self.open.remove(side)),
                Action::Failed(_) => {}
            }
        }
        assert!(!self.visitor, "nobody said what becomes of the visitor");
    }
}

fn event(world: &mut World, roll: &Roll) -> Option<Event> {
    let open = |world: &World, side| world.open.contains(&side);
    Some(match *roll {
        Roll::Pass(_) => return None,
        Roll::Start => Event::Start,
        Roll::Stop => Event::Stop(Notification::shutdown("bye")),
        Roll::DialEnds(_) if !world.dialing => return None,
        Roll::DialEnds(true) => {
            world.dialing = false;
            world.open.insert(Side::Ours);
            Event::Dialed(hops())
        }
        Roll::DialEnds(false) => {
            world.dialing = false;
            Event::NotDialed("refused".into())
        }
        Roll::Accepted => {
            world.visitor = true;
            Event::Accepted(hops())
        }
        Roll::Hear(side, what) if open(world, side) => Event::Received(side, message(what)),
        Roll::Garbage(side) if open(world, side) => {
            Event::Garbage(side, Notification::NOT_SYNCHRONIZED)
        }
        Roll::Closed(side) if open(world, side) => Event::Closed(side, "reset".into()),
        Roll::Hear(..) | Roll::Garbage(_) | Roll::Closed(_) => return None,
        Roll::Bfd(path) => Event::Bfd([Path::Down, Path::Up, Path::AdminDown][usize::from(path)]),
        Roll::Routes(set) => {
            let all = ["192.0.2.10/32", "2001:db8::10/128"];
            let some = all
                .iter()
                .enumerate()
                .filter(|(bit, _)| set >> bit & 1 == 1);
            Event::Routes(routes(&some.map(|(_, prefix)| *prefix).collect::<Vec<_>>()))
        }
        Roll::Settled => Event::Settled,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_bgp_session_stays_consistent_after_any_events_and_no_timer_spins(
        rolls in prop::collection::vec(roll(), 0..120),
        strict in any::<bool>(),
        passive in any::<bool>(),
        delay in 0..2u64,
    ) {
        let delay_open = Duration::from_secs(delay);
        let mut rig = Rig::new(Settings { passive, delay_open, strict, ..settings() });
        let mut world = World::default();
        let mut flaps = 0;
        for roll in rolls {
            let before = rig.state();
            let actions = match (&roll, event(&mut world, &roll)) {
                (_, Some(event)) => rig.on(event),
                (Roll::Pass(milliseconds), None) => {
                    let end = rig.now + Duration::from_millis(*milliseconds);
                    while let Some(at) = rig.peering.deadline().filter(|at| *at <= end) {
                        rig.now = at.max(rig.now);
                        let was = rig.state();
                        world.act(&rig.peering.tick(rig.now));
                        flaps += u64::from(was == State::Established && rig.state() != was);
                        prop_assert!(rig.peering.deadline().is_none_or(|next| next > rig.now), "it spins");
                    }
                    rig.now = end;
                    continue;
                }
                (_, None) => continue,
            };
            world.act(&actions);
            flaps += u64::from(before == State::Established && rig.state() != before);
            if rig.state() == State::Established {
                // Only one is left.
                prop_assert!(world.open.len() <= 2);
            }
            let report = rig.peering.report();
            prop_assert_eq!(report.flaps, flaps);
            prop_assert_eq!(report.agreed.is_some(), rig.state() == State::Established);
        }
    }
}
