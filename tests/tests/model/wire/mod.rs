//! The programs against the kernel they guard: the same frames go to a node with the programs and to one without. Raw sockets
//! at both show which packets arrive, put together from fragments, and for which destination.
//!
//! - What a stranger sends to a service, or speaks to a routing protocol, never arrives.
//! - What the model passes, frame by frame, arrives as it does without the programs.
//! - What an honest sender may send is never called malformed.

mod nodes;
mod sequence;
mod witness;

use std::collections::{BTreeMap, BTreeSet};

use ober_common::abi::Verdict;
use ober_tests::{
    model::Node,
    packets::{Rng, Target, fuzz, rich_target},
};

use self::{
    nodes::{WireNode, WireNodes},
    sequence::{Sequence, sequence},
    witness::Arrival,
};
use super::kernel::Kernel;

/// Most sequences of one kind of fault that are shown.
const SHOWN: usize = 5;

/// May it arrive, by the lists of the service or of the routers that it is for?
fn may_arrive(node: &Node, arrival: &Arrival) -> bool {
    if arrival.loops() {
        return false;
    }
    let flow = arrival.flow();
    if let Some(service) = node.service(&flow) {
        return service
            .list
            .is_none_or(|list| node.on_list(list, arrival.source));
    }
    let routing = arrival.is_vrrp() || node.speaks_routing(&flow);
    let listed = |list| node.on_list(list, arrival.source);
    !routing || node.routers.is_none_or(listed)
}

/// Does the model let every frame of it pass?
fn passes(node: &Node, sequence: &Sequence) -> bool {
    let verdicts = sequence
        .frames
        .iter()
        .map(|frame| node.judge(frame).verdict);
    verdicts.into_iter().all(|verdict| {
        matches!(
            verdict,
            Verdict::NotOurs | Verdict::Fragment | Verdict::Passed
        )
    })
}

/// The verdicts that end frames of it.
fn dropped(node: &Node, sequence: &Sequence) -> String {
    let verdicts = sequence
        .frames
        .iter()
        .map(|frame| node.judge(frame).verdict);
    let drops = verdicts.filter(|verdict| verdict.drops());
    let names: BTreeSet<&str> = drops.map(Verdict::name).collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

/// The results of many sequences.
#[derive(Debug, Default)]
struct Account {
    sequences: usize,
    /// Arrived without the programs, of those that may not.
    kept_out: usize,
    /// Arrived at both, for services and routing protocols.
    let_in: usize,
    /// Arrived without the programs, as they may, and not with them; by the verdicts of the frames that were dropped.
    closed: BTreeMap<String, usize>,
    openings: Vec<String>,
    changed: Vec<String>,
}

impl Account {
    fn add(
        &mut self,
        target: &Target,
        sequence: &Sequence,
        [bare, guarded]: [BTreeSet<Arrival>; 2],
    ) {
        let node = &target.node;
        self.sequences += 1;
        let tell =
            |what: &str| format!("{what}\n  without {bare:?}\n  with    {guarded:?}\n{sequence}");
        if guarded.iter().any(|arrival| !may_arrive(node, arrival)) {
            self.openings.push(tell("arrived, and may not"));
        }
        if passes(node, sequence) && bare != guarded {
            self.changed
                .push(tell("every frame passes, and something else arrives"));
        }
        for arrival in &bare {
            let came = guarded.contains(arrival);
            match (may_arrive(node, arrival), came) {
                (false, _) => self.kept_out += 1,
                (true, true) => self.let_in += 1,
                (true, false) => {
                    let dropped = dropped(node, sequence);
                    if sequence.honest && dropped.contains(Verdict::Malformed.name()) {
                        self.changed.push(tell("honest, and called malformed"));
                    }
                    *self.closed.entry(dropped).or_default() += 1;
                }
            }
        }
    }
}

fn both(places: &mut WireNodes, sequence: &Sequence) -> [BTreeSet<Arrival>; 2] {
    let at = |place: &mut WireNode| place.hear(&sequence.frames);
    [at(&mut places.bare), at(&mut places.guarded)]
}

#[test]
fn no_sequence_of_frames_reaches_a_forbidden_listener_and_passed_frames_arrive_unchanged() {
    let mut target = rich_target();
    let mut kernel = Kernel::load("wire", &mut target);
    kernel.quiet(&mut target);
    let mut places = WireNodes::new(&target, &mut kernel).unwrap();
    let mut account = Account::default();
    for (number, seed) in fuzz::seeds().take(fuzz::cases()).enumerate() {
        let sequence = sequence(&target, &mut Rng::new(seed), number);
        let heard = both(&mut places, &sequence);
        account.add(&target, &sequence, heard);
    }
    let Account {
        sequences,
        kept_out,
        let_in,
        closed,
        openings,
        changed,
    } = account;
    println!("{sequences} sequences: {kept_out} kept out, {let_in} let in, closed {closed:?}");
    let show = |what: &[String]| what[..what.len().min(SHOWN)].join("\n");
    assert!(
        openings.is_empty(),
        "{} openings\n{}",
        openings.len(),
        show(&openings)
    );
    assert!(
        changed.is_empty(),
        "{} changed\n{}",
        changed.len(),
        show(&changed)
    );
    // A run in which nothing arrives proves nothing.
    assert!(
        kept_out > sequences / 20,
        "{kept_out} kept out of {sequences}"
    );
    assert!(let_in > sequences / 20, "{let_in} let in of {sequences}");
}
