//! Sorts the IPv4 ranges of a list by the digits of their first addresses.

use super::entries::Range;

/// Largest number of ranges sorted by digits: above it the second copy would be felt in the daemon's memory.
const MOST_BY_DIGITS: usize = 1 << 18;
/// Smallest number sorted by digits: below it counting the digits is most of the work.
const FEWEST_BY_DIGITS: usize = 1 << 12;

/// Sorts at least by the 12-bit digits of the first address that begin at these bits, the lowest first. Comparing is most of
/// the cost of changing a long, shuffled list.
pub(super) fn sort(ranges: &mut Vec<Range>, digits: &[u32]) {
    if ranges.is_sorted() {
        return;
    }
    if !(FEWEST_BY_DIGITS..=MOST_BY_DIGITS).contains(&ranges.len()) {
        ranges.sort_unstable();
        return;
    }
    let mut other = vec![Range { first: 0, last: 0 }; ranges.len()];
    for low in digits {
        if by_digit(ranges, &mut other, *low) {
            std::mem::swap(ranges, &mut other);
        }
    }
}

/// Writes `from` to `to` in the order of the digit at bit `low`; false when the digit is the same in all.
fn by_digit(from: &[Range], to: &mut [Range], low: u32) -> bool {
    const VALUES: usize = 1 << 12;
    let digit = |range: &Range| (range.first >> low) as usize % VALUES;
    let mut places = vec![0; VALUES];
    for range in from {
        places[digit(range)] += 1;
    }
    if places.contains(&from.len()) {
        return false;
    }
    let mut next = 0;
    for place in &mut places {
        next += std::mem::replace(place, next);
    }
    for range in from {
        let place = &mut places[digit(range)];
        to[*place] = *range;
        *place += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radix_sort_gives_the_order_of_comparison() {
        for length in [
            FEWEST_BY_DIGITS,
            3 * FEWEST_BY_DIGITS + 1,
            MOST_BY_DIGITS + 1,
        ] {
            for mask in [u32::MAX, 0x0fff, 0x0aff_ffff] {
                let mut word = 1u32;
                let mut next = || {
                    word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    word & mask
                };
                let mut ranges: Vec<Range> = (0..length)
                    .map(|_| next())
                    .map(|first| Range { first, last: first })
                    .collect();
                let mut expected = ranges.clone();
                expected.sort_unstable();
                let mut by_page = ranges.clone();
                sort(&mut by_page, &[16, 28]);
                assert!(by_page.is_sorted_by_key(|range| range.first >> 16));
                sort(&mut ranges, &[0, 12, 24]);
                assert_eq!(ranges, expected, "{length} under {mask:x}");
            }
        }
    }
}
