//! Which fault comes next, by the seed alone. Knows no world and no clock.

use std::time::Duration;

use super::fault::Fault;
use crate::packets::Rng;

/// Between two faults, in milliseconds: "every second or so".
const GAP: (u64, u64) = (500, 1500);

/// One random step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Since the step before.
    pub gap: Duration,
    pub fault: &'static Fault,
    /// Which of the places of its kind.
    pub place: usize,
    pub lasts: Duration,
}

/// The steps of a seed, without end. Every fault comes once before any comes again.
#[derive(Debug)]
pub struct Script {
    dice: Rng,
    faults: Vec<&'static Fault>,
    deck: Vec<&'static Fault>,
}

impl Script {
    /// Steps of these faults, of which there must be at least one.
    pub fn new(seed: u64, faults: Vec<&'static Fault>) -> Self {
        Self {
            dice: Rng::new(seed),
            faults,
            deck: Vec::new(),
        }
    }

    fn between(&mut self, (least, most): (u64, u64)) -> Duration {
        let width = usize::try_from(most - least).unwrap_or(0) + 1;
        Duration::from_millis(least + self.dice.below(width) as u64)
    }
}

impl Iterator for Script {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.faults);
        }
        let fault = self.deck.swap_remove(self.dice.below(self.deck.len()));
        Some(Step {
            gap: self.between(GAP),
            fault,
            place: self.dice.below(fault.kind.places()),
            lasts: self.between(fault.lasts),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::fault::FAULTS;
    use std::collections::BTreeSet;

    fn steps(seed: u64, count: usize) -> Vec<Step> {
        Script::new(seed, FAULTS.iter().collect())
            .take(count)
            .collect()
    }

    #[test]
    fn a_seed_determines_the_sequence_of_faults_and_another_seed_gives_another() {
        assert_eq!(steps(7, 300), steps(7, 300));
        assert_ne!(steps(7, 300), steps(8, 300));
    }

    #[test]
    fn there_are_forty_faults_at_least_and_each_comes_once_before_any_comes_again() {
        assert!(FAULTS.len() >= 40, "{}", FAULTS.len());
        for deck in steps(1, 4 * FAULTS.len()).chunks(FAULTS.len()) {
            let names: BTreeSet<_> = deck.iter().map(|step| step.fault.name).collect();
            assert_eq!(names.len(), FAULTS.len());
        }
    }

    #[test]
    fn faults_come_about_once_a_second_and_at_existing_places() {
        let steps = steps(3, 1000);
        let all: Duration = steps.iter().map(|step| step.gap).sum();
        assert!((900..1100).contains(&all.as_secs()), "{all:?}");
        for step in steps {
            assert!(step.place < step.fault.kind.places(), "{step:?}");
            assert!(step.lasts >= Duration::from_millis(step.fault.lasts.0));
        }
    }
}
