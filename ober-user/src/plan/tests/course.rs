//! The order of a change, what holds at each of its steps, and the way back.

use std::{collections::BTreeSet, net::IpAddr};

use proptest::{prelude::*, sample::subsequence};

use super::{super::*, Service, parse, text};
use crate::config::Config;

fn some_service() -> impl Strategy<Value = Service> {
    let access = prop_oneof![Just("open"), Just("red"), Just("blue")];
    let name = prop_oneof![Just("one"), Just("two"), Just("three")];
    let ports = subsequence(vec![80_u16, 81, 82], 1..=3);
    let ports = ports.prop_flat_map(move |ports| {
        let many = prop::collection::vec(access.clone(), ports.len());
        many.prop_map(move |access| ports.iter().copied().zip(access).collect::<Vec<_>>())
    });
    (name, subsequence(vec![1_u8, 2, 3, 4], 1..=3), ports)
}

/// A configuration and the VIPs that VRRP moves in it.
fn some_node() -> impl Strategy<Value = (Config, BTreeSet<IpAddr>)> {
    let services = prop::collection::vec(some_service(), 0..3).prop_map(|mut services| {
        let mut names = BTreeSet::new();
        services.retain(|(name, ..)| names.insert(*name));
        services
    });
    let interfaces = subsequence(vec!["in0", "in1", "in2"], 1..=2);
    let moved = subsequence(vec![1_u8, 2, 3, 4], 0..=4);
    (interfaces, 1_u8..4, services, moved).prop_map(|(interfaces, workers, services, moved)| {
        let moved = moved.iter().map(|vip| IpAddr::from([192, 0, 2, *vip]));
        (
            parse(&text(&interfaces, workers, &services)),
            moved.collect(),
        )
    })
}

fn with_vrrp(mut state: State, moved: &BTreeSet<IpAddr>) -> State {
    state.moved = state.announced.intersection(moved).copied().collect();
    state.addresses = state.announced.difference(&state.moved).copied().collect();
    state
}

/// Two states of a node, one after another.
fn some_change() -> impl Strategy<Value = (State, State)> {
    let changed = (
        subsequence(vec!["red", "blue"], 0..=2),
        any::<bool>(),
        any::<bool>(),
    );
    (some_node(), some_node(), changed).prop_map(|(old, new, (lists, servers, workers))| {
        let changed = Changed {
            lists: lists.into_iter().map(ToOwned::to_owned).collect(),
            servers,
            workers,
        };
        let from = with_vrrp(State::of(&old.0), &old.1);
        let mut to = with_vrrp(State::next(&old.0, &new.0, &changed), &new.1);
        if from.moved != to.moved {
            to.speaking = Edition::New;
        }
        (from, to)
    })
}

/// What must hold whenever a change may be interrupted.
fn sound(at: &State, from: &State, to: &State) -> Result<(), TestCaseError> {
    prop_assert!(
        at.admitted <= at.running,
        "a worker that is not there gets connections"
    );
    for (place, behind) in &at.services {
        let served = at.sockets.iter().any(|key| {
            key.service == behind.service
                && key.port.get() == place.port
                && key.family.holds(place.vip)
        });
        prop_assert!(
            served && at.workers != Edition::None,
            "{place} has no sockets"
        );
        if let Some(list) = &behind.list {
            prop_assert!(at.lists.contains_key(list), "{place} lacks its list");
            continue;
        }
        let open = |state: &State| {
            let behind = state.services.get(place);
            behind.is_some_and(|behind| behind.list.is_none())
        };
        prop_assert!(
            open(from) || open(to),
            "{place} is open and was never to be"
        );
    }
    for vip in &at.announced {
        let served = at.services.keys().any(|place| place.vip == *vip);
        prop_assert!(served, "{vip} is announced and not served");
        let here = at.addresses.contains(vip) || at.moved.contains(vip);
        prop_assert!(here, "{vip} is announced and not here");
        let all = |state: &State| at.interfaces.is_superset(&state.interfaces);
        prop_assert!(
            all(from) || all(to),
            "{vip} is announced and an interface bare"
        );
    }
    for (place, behind) in &from.services {
        let stays = to
            .services
            .get(place)
            .is_some_and(|next| next.service == behind.service);
        if stays {
            prop_assert!(at.services.contains_key(place), "{place} was interrupted");
            let alike = from.moved.contains(&place.vip) == to.moved.contains(&place.vip);
            let announced =
                at.announced.contains(&place.vip) || !from.announced.contains(&place.vip);
            prop_assert!(
                announced || !alike,
                "{} was withdrawn for nothing",
                place.vip
            );
        }
    }
    Ok(())
}

/// The state before the first step, and after each.
fn course(from: &State, to: &State) -> Vec<State> {
    let mut states = vec![from.clone()];
    for step in steps(from, to) {
        let next = states.last().cloned().unwrap_or_default();
        states.push(next.after(&step, to));
    }
    states
}

proptest! {
    #[test]
    fn no_prefix_of_a_change_announces_an_unserved_vip_or_opens_a_restricted_service(
        (from, to) in some_change(),
    ) {
        let states = course(&from, &to);
        for at in &states {
            sound(at, &from, &to)?;
        }
        prop_assert_eq!(states.last(), Some(&to));
    }

    #[test]
    fn a_change_that_fails_at_any_step_is_undone_by_a_course_that_keeps_the_same_laws(
        (from, to) in some_change(),
    ) {
        // A step that fails may have been done in part: it counts as done, and as not done.
        for failed in course(&from, &to) {
            let back = course(&failed, &from);
            for at in &back {
                sound(at, &failed, &from)?;
            }
            prop_assert_eq!(back.last(), Some(&from));
        }
    }

    /// The way back may fail too, anywhere and more than once, and then it is not known what of it was done.
    #[test]
    fn after_a_failed_undo_the_next_change_restores_the_node_from_any_state(
        (from, to) in some_change(),
        failed in any::<prop::sample::Index>(),
        lost in prop::collection::vec(any::<bool>(), 32),
        (other, moved) in some_node(),
        wanted in 0..3_usize,
    ) {
        let forward = course(&from, &to);
        let mut at = failed.get(&forward).clone();
        for (step, lost) in steps(&at.clone(), &from).iter().zip(lost) {
            if !lost {
                at = at.after(step, &from);
            }
        }
        // The old configuration is in force, and the next change may be to that, to the refused one, or to another.
        let other = with_vrrp(State::of(&other), &moved);
        let wanted = [&from, &to, &other][wanted];
        let was_sound = sound(&at, &from, &to).is_ok();
        let (before, mut left) = (at.clone(), at.announced.clone());
        for step in regain(&[from.clone(), to.clone()], wanted) {
            if let Step::Withdraw { vips } = &step {
                left.retain(|vip| !vips.contains(vip));
            }
            at = at.after(&step, wanted);
            for vip in &at.announced {
                let served = at.services.keys().any(|place| place.vip == *vip);
                prop_assert!(served || !was_sound, "{vip} is announced and not served after {step}");
            }
        }
        prop_assert_eq!(&at, wanted);
        // A place that all possible states have in the same way is not interrupted.
        for (place, behind) in &before.services {
            let same = |state: &State| state.services.get(place) == Some(behind);
            if same(&from) && same(&to) && same(wanted) && before.announced.contains(&place.vip) {
                let moves = |state: &State| state.moved.contains(&place.vip);
                let alike = moves(&from) == moves(wanted) && moves(&to) == moves(wanted);
                prop_assert!(!alike || left.contains(&place.vip), "{} was withdrawn", place.vip);
            }
        }
    }

    #[test]
    fn no_neighbour_loses_its_session_before_every_step_that_may_refuse_was_tried((from, to) in some_change()) {
        let steps = steps(&from, &to);
        let parts = |step: &Step| {
            matches!(step, Step::Withdraw { .. } | Step::TakeOut { .. } | Step::Speak)
        };
        let tries = |step: &Step| matches!(step, Step::Attach { .. } | Step::Open);
        let parted = steps.iter().position(parts).unwrap_or(steps.len());
        prop_assert!(steps.iter().skip(parted).all(|step| !tries(step)), "{steps:?}");
        let speaks = steps.contains(&Step::Speak);
        prop_assert_eq!(speaks, steps.contains(&Step::Open));
        // A VIP that moves between VRRP and this node is withdrawn after the workers have changed.
        let workers = steps.iter().position(|step| *step == Step::Workers);
        let stays = |vip: &IpAddr| staying(&from, &to).any(|place| place.vip == *vip);
        let turns = |step: &Step| matches!(step, Step::Withdraw { vips } if vips.iter().all(stays));
        let turning = steps.iter().position(turns);
        prop_assert!(turning.is_none() || workers < turning, "{steps:?}");
    }

    #[test]
    fn a_start_and_a_stop_keep_the_same_laws_as_a_change((node, moved) in some_node()) {
        let (nothing, node) = (State::default(), with_vrrp(State::of(&node), &moved));
        for (from, to) in [(&nothing, &node), (&node, &nothing)] {
            let states = course(from, to);
            for at in &states {
                sound(at, from, to)?;
            }
            prop_assert_eq!(states.last(), Some(to));
        }
    }
}

#[test]
fn the_steps_of_a_change_have_the_documented_order() {
    let old = parse(&text(
        &["in0"],
        1,
        &[("one", vec![1, 2], vec![(80, "red"), (81, "open")])],
    ));
    let new = parse(&text(
        &["in1"],
        1,
        &[("one", vec![1, 3], vec![(80, "blue")])],
    ));
    let changed = Changed {
        workers: true,
        ..Changed::default()
    };
    let (from, mut to) = (State::of(&old), State::next(&old, &new, &changed));
    to.speaking = Edition::New;
    let words: Vec<String> = steps(&from, &to).iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "attach to in1",
            "open what the new neighbours need",
            "withdraw 192.0.2.2, and wait until the neighbours have the withdrawal",
            "take 192.0.2.1:81, 192.0.2.2:80, 192.0.2.2:81 out of the kernel",
            "change the workers, one before the others",
            "fill blue",
            "put the services with their lists into the kernel",
            "start sessions with the new neighbours",
            "detach from in0",
            "add the addresses 192.0.2.3",
            "remove the addresses 192.0.2.2",
            "guard the VIPs; gates that are new open on proof",
            "put the new configuration in force",
        ]
    );
    assert_eq!(steps(&from, &from), []);
}
