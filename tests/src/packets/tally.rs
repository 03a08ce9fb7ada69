//! What a run of random packets has covered, so that a fuzz that no longer covers anything is noticed.

use std::fmt::Write as _;

use ober_common::abi::Verdict;

use super::{Case, Shape};
use crate::model::Judgement;

const SHAPES: usize = Shape::ALL.len();
const VERDICTS: usize = Verdict::ALL.len();

/// Every shape and every verdict must come up once in this many packets, and every shape that a service can have must
/// be let through, refused and found malformed as often.
const ONE_IN: usize = 250;
/// The same for a shape and a verdict together.
const TOGETHER_ONE_IN: usize = 2_500;

/// Packets by shape and verdict.
#[derive(Clone, Debug)]
pub struct Tally {
    packets: usize,
    verdicts: [usize; VERDICTS],
    shapes: [usize; SHAPES],
    together: [[usize; VERDICTS]; SHAPES],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            packets: 0,
            verdicts: [0; VERDICTS],
            shapes: [0; SHAPES],
            together: [[0; VERDICTS]; SHAPES],
        }
    }
}

impl Tally {
    pub fn record(&mut self, case: &Case, judgement: &Judgement) {
        let verdict = judgement.verdict as usize;
        self.packets += 1;
        self.verdicts[verdict] += 1;
        for shape in Shape::ALL
            .into_iter()
            .filter(|shape| case.shapes.contains(shape))
        {
            self.shapes[shape as usize] += 1;
            self.together[shape as usize][verdict] += 1;
        }
    }

    /// The shapes and verdicts that came up too seldom for the run to prove anything about them.
    pub fn thin(&self) -> Vec<String> {
        let enough = self.packets / ONE_IN;
        // The kernel hands out every byte it has, so nothing is unreadable here.
        let verdicts = Verdict::ALL.into_iter().filter(|verdict| {
            *verdict != Verdict::Unreadable && self.verdicts[*verdict as usize] < enough
        });
        let shapes = Shape::ALL
            .into_iter()
            .filter(|shape| self.shapes[*shape as usize] < enough);
        let mut thin: Vec<String> = verdicts.map(|verdict| verdict.name().to_owned()).collect();
        thin.extend(shapes.map(|shape| format!("{shape:?}")));
        thin.extend(
            Shape::ALL
                .into_iter()
                .flat_map(|shape| self.thin_together(shape)),
        );
        thin
    }

    fn thin_together(&self, shape: Shape) -> impl Iterator<Item = String> {
        let enough = (self.packets / TOGETHER_ONE_IN).max(1);
        let row = self.together[shape as usize];
        let served = row[Verdict::Passed as usize] + row[Verdict::Steered as usize];
        let needed = [
            ("served", served),
            ("denied", row[Verdict::Denied as usize]),
        ];
        let wanted = if shape.can_be_served() {
            needed.to_vec()
        } else {
            Vec::new()
        };
        wanted
            .into_iter()
            .filter(move |(_, count)| *count < enough)
            .map(move |(what, count)| format!("{shape:?} {what} {count} times"))
    }

    /// The histogram, a line a shape.
    pub fn table(&self) -> String {
        let mut text = format!("{:>22}{:>8}", "", "packets");
        for verdict in Verdict::ALL {
            write!(text, "{:>14}", verdict.name()).unwrap_or_default();
        }
        let rows = Shape::ALL.map(|shape| {
            (
                format!("{shape:?}"),
                self.shapes[shape as usize],
                self.together[shape as usize],
            )
        });
        let all = ("all".to_owned(), self.packets, self.verdicts);
        for (name, packets, verdicts) in std::iter::once(all).chain(rows) {
            write!(text, "\n{name:>22}{packets:>8}").unwrap_or_default();
            for count in verdicts {
                write!(text, "{count:>14}").unwrap_or_default();
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{case, fuzz, rich_target};

    #[test]
    fn random_packets_cover_every_shape_and_every_verdict() {
        let target = rich_target();
        let mut tally = Tally::default();
        for case in fuzz::seeds().take(5_000).map(|seed| case(&target, seed)) {
            tally.record(&case, &target.node.judge(&case.bytes));
        }
        assert_eq!(tally.thin(), Vec::<String>::new(), "\n{}", tally.table());
    }

    #[test]
    fn a_run_with_one_kind_of_packet_is_reported_as_thin() {
        let mut tally = Tally::default();
        let target = rich_target();
        let arp = Case::fixed(vec![0; 60]);
        for _ in 0..5_000 {
            tally.record(&arp, &target.node.judge(&arp.bytes));
        }
        assert!(tally.thin().len() >= SHAPES + VERDICTS - 2);
    }
}
