//! The ring: which worker each slot belongs to, by weighted rendezvous. Adding or removing a worker moves only the
//! slots it gains or loses; nobody's other slots change, and every node that knows the same workers fills the same ring.

use ober_common::abi::{RING_SLOTS, Ring, WORKERS};

/// Fills a ring. `weights[n]` is the share of worker `n`; 0 leaves it out. No weights above 0: an empty ring, which drops.
pub fn fill(weights: &[u32]) -> Ring {
    let mut ring = Ring {
        slots: [0; RING_SLOTS],
    };
    let members: Vec<(u16, f64)> = (1u16..)
        .zip(weights.iter().take(WORKERS))
        .filter(|(_, weight)| **weight > 0)
        .map(|(number, weight)| (number, f64::from(*weight)))
        .collect();
    for (slot, owner) in (0u64..).zip(ring.slots.iter_mut()) {
        let bids = members
            .iter()
            .map(|member| (score(slot, *member), member.0));
        let best = bids.max_by(|(one, _), (other, _)| one.total_cmp(other));
        *owner = best.map_or(0, |(_, number)| number);
    }
    ring
}

/// A member's bid for a slot: `-weight / ln(u)` with `u` its own uniform number for the slot. The highest bid wins,
/// and wins in proportion to the weights (Schindelhauer and Schomaker's logarithmic method).
#[expect(clippy::cast_precision_loss, reason = "53 bits are kept on purpose")]
fn score(slot: u64, (number, weight): (u16, f64)) -> f64 {
    let uniform = ((mix(slot << 16 | u64::from(number)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -weight / uniform.ln()
}

/// A bijection that scatters neighbouring numbers (the finalizer of splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(ring: &Ring) -> Vec<usize> {
        let mut shares = vec![0; WORKERS + 1];
        for owner in ring.slots {
            shares[usize::from(owner)] += 1;
        }
        shares
    }

    #[test]
    fn nobody_means_an_empty_ring() {
        assert_eq!(fill(&[]).slots, [0; RING_SLOTS]);
        assert_eq!(fill(&[0, 0]).slots, [0; RING_SLOTS]);
    }

    #[test]
    fn shares_follow_the_weights() {
        let shares = shares(&fill(&[1, 2, 5]));
        for (share, eighths) in [(shares[1], 1), (shares[2], 2), (shares[3], 5)] {
            let fair = RING_SLOTS / 8 * eighths;
            assert!(
                share.abs_diff(fair) < fair / 5,
                "{share} slots where {fair} are fair"
            );
        }
        assert_eq!(shares[0], 0);
    }

    proptest! {
        #[test]
        fn losing_a_worker_moves_only_its_own_slots(
            mut weights in proptest::collection::vec(0u32..4, 1..12), gone in 0usize..12,
        ) {
            let gone = gone % weights.len();
            let before = fill(&weights);
            weights[gone] = 0;
            let after = fill(&weights);
            let was = u16::try_from(gone).unwrap() + 1;
            for (old, new) in before.slots.iter().zip(after.slots) {
                prop_assert!(*old == new || *old == was);
                prop_assert!(new != was);
            }
        }
    }
}
