//! The ring: which worker each slot belongs to, by weighted rendezvous with quotas. Each share is exact to one slot.
//! Adding or removing a worker moves the slots it gains or loses, and the few others that the quotas require. Every
//! node that has the same workers fills the same ring.

use std::{cmp::Reverse, collections::BinaryHeap};

use ober_common::abi::{RING_SLOTS, Ring, WORKERS};

use crate::system::hash::mix;

/// A worker with a weight above 0.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// From 1, as in the ring.
    number: u16,
    weight: u32,
    /// How many slots it is to have.
    quota: usize,
}

/// A member's bid for a slot: the bits of a positive floating-point number, which sort like the number; then the
/// member's number, so that no two bids for a slot are equal.
type Bid = (u64, u16);

/// The slots a member has, the one with its lowest bid on top.
type MemberSlots = BinaryHeap<Reverse<(u64, usize)>>;

/// Fills a ring. `weights[n]` is the share of worker `n`; 0 leaves it out. Without a weight above 0 the ring is empty,
/// and its packets are dropped.
///
/// Each slot asks the members in the order of their bids. A member that has more slots than its quota gives up the one
/// with its lowest bid, which then asks the next member (Gale and Shapley's deferred acceptance). The outcome does not
/// depend on which slot asks first.
pub fn fill(weights: &[u32]) -> Ring {
    let mut ring = Ring {
        slots: [0; RING_SLOTS],
    };
    let members = members(weights);
    let mut held = vec![MemberSlots::new(); members.len()];
    for slot in 0..RING_SLOTS {
        place(&members, &mut held, slot);
    }
    for (member, held) in members.iter().zip(held) {
        for Reverse((_, slot)) in held {
            ring.slots[slot] = member.number;
        }
    }
    ring
}

/// Finds a member for a slot, and for every slot that loses its member in the course.
fn place(members: &[Member], held: &mut [MemberSlots], slot: usize) {
    // Every member whose bid for the slot is `below` or higher has refused it.
    let (mut slot, mut below) = (slot, (u64::MAX, u16::MAX));
    while let Some((at, bid)) = next(members, slot, below) {
        held[at].push(Reverse((bid.0, slot)));
        if held[at].len() <= members[at].quota {
            return;
        }
        let Some(Reverse((bid, refused))) = held[at].pop() else {
            return;
        };
        (slot, below) = (refused, (bid, members[at].number));
    }
}

/// The highest bid for the slot that is less than `below`, and the index of its member.
fn next(members: &[Member], slot: usize, below: Bid) -> Option<(usize, Bid)> {
    let bids = members.iter().map(|member| bid(slot, *member)).enumerate();
    bids.filter(|(_, bid)| *bid < below)
        .max_by_key(|(_, bid)| *bid)
}

/// `-weight / ln(u)` with `u` the member's own uniform number for the slot: the highest bids are spread in proportion to
/// the weights (Schindelhauer and Schomaker's logarithmic method), so few slots are refused.
#[expect(clippy::cast_precision_loss, reason = "53 bits are kept on purpose")]
fn bid(slot: usize, member: Member) -> Bid {
    let number = u64::from(member.number);
    let uniform = ((mix((slot as u64) << 16 | number) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    (
        (-f64::from(member.weight) / uniform.ln()).to_bits(),
        member.number,
    )
}

/// Every worker with a weight above 0. Slots left over by the division go to the largest remainders, the lower number
/// first.
fn members(weights: &[u32]) -> Vec<Member> {
    let all: Vec<_> = (1u16..)
        .zip(weights.iter().copied().take(WORKERS))
        .filter(|(_, weight)| *weight > 0)
        .collect();
    let sum: u64 = all.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let slots = |weight: u32| RING_SLOTS as u64 * u64::from(weight);
    let mut members: Vec<Member> = all
        .into_iter()
        .map(|(number, weight)| Member {
            number,
            weight,
            quota: usize::try_from(slots(weight) / sum).unwrap_or(RING_SLOTS),
        })
        .collect();
    let given: usize = members.iter().map(|member| member.quota).sum();
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|at| Reverse(slots(members[*at].weight) % sum));
    for at in order.into_iter().take(RING_SLOTS - given) {
        members[at].quota += 1;
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Slots without a worker, then those of each worker.
    fn shares(ring: &Ring) -> Vec<usize> {
        let mut shares = vec![0; WORKERS + 1];
        for owner in ring.slots {
            shares[usize::from(owner)] += 1;
        }
        shares
    }

    fn moved(before: &Ring, after: &Ring) -> usize {
        let pairs = before.slots.iter().zip(after.slots);
        pairs.filter(|(old, new)| **old != *new).count()
    }

    #[test]
    fn a_ring_without_workers_is_empty() {
        assert_eq!(fill(&[]).slots, [0; RING_SLOTS]);
        assert_eq!(fill(&[0, 0]).slots, [0; RING_SLOTS]);
    }

    #[test]
    fn each_of_64_workers_has_64_slots_and_a_ring_has_no_more_workers() {
        let ring = fill(&[1; WORKERS + 3]);
        assert_eq!(shares(&ring)[0], 0);
        assert!(shares(&ring)[1..].iter().all(|share| *share == 64));
    }

    #[test]
    fn losing_one_of_64_workers_moves_its_own_slots_and_few_others() {
        let all = fill(&[1; WORKERS]);
        for gone in [0, 17, 63] {
            let mut weights = [1; WORKERS];
            weights[gone] = 0;
            let moved = moved(&all, &fill(&weights));
            assert!(
                (64..=64 + RING_SLOTS / 50).contains(&moved),
                "{moved} slots moved"
            );
        }
    }

    proptest! {
        #[test]
        fn every_workers_share_of_the_ring_matches_its_weight_to_one_slot(
            weights in proptest::collection::vec(prop_oneof![0u32..4, 0u32..1000, Just(u32::MAX)], 1..=WORKERS),
        ) {
            let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            prop_assume!(sum > 0);
            let shares = shares(&fill(&weights));
            prop_assert_eq!(shares[0], 0);
            for (share, weight) in shares[1..].iter().zip(&weights) {
                let exact = RING_SLOTS as u64 * u64::from(*weight) / sum;
                let exact = usize::try_from(exact).unwrap();
                prop_assert!(*share == exact || *share == exact + 1, "{share} slots where {exact} are fair");
                prop_assert!(*weight > 0 || *share == 0);
            }
        }

        #[test]
        fn losing_a_worker_moves_its_own_slots_and_few_others(
            mut weights in proptest::collection::vec(0u32..4, 2..12), gone in 0usize..12,
        ) {
            let gone = gone % weights.len();
            let before = fill(&weights);
            weights[gone] = 0;
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let after = fill(&weights);
            let own = shares(&before)[gone + 1];
            prop_assert!(moved(&before, &after) <= own + RING_SLOTS / 20);
            prop_assert_eq!(shares(&after)[gone + 1], 0);
        }
    }
}
