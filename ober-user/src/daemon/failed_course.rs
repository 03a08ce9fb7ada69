//! The way back from a change that failed, and the doubt that remains when it fails too.

use crate::{
    api::status,
    plan::{self, State, Step},
};

/// A way back failed: a part of each of these states may be there.
#[derive(Clone)]
pub(crate) struct Doubt {
    pub(super) since: u64,
    /// The steps that failed, and why.
    pub(super) failures: Vec<String>,
    pub(super) maybe: Vec<State>,
}

impl Doubt {
    pub(super) fn describe(&self) -> status::Doubt {
        status::Doubt {
            since: self.since,
            failures: self.failures.clone(),
        }
    }
}

/// A change that failed, from which the way back is made.
#[derive(Clone, Copy)]
pub(super) struct FailedCourse<'w> {
    pub(super) steps: &'w [Step],
    pub(super) from: &'w State,
    pub(super) to: &'w State,
    /// The doubt before the change began.
    pub(super) doubt: Option<&'w Doubt>,
    /// Were the lists filled?
    pub(super) filled: bool,
}

impl FailedCourse<'_> {
    /// The steps back after `done` steps, when the next one failed, maybe half way.
    pub(super) fn back(self, done: usize) -> Vec<Step> {
        // Workers that are not replaced are as they were.
        let half = |at: usize, step: &Step| at == done && *step != Step::Workers;
        let mut at = self.from.clone();
        for (number, step) in self.steps.iter().enumerate() {
            if number < done || half(number, step) {
                at = at.after(step, self.to);
            }
        }
        let mut back = match self.doubt {
            None => plan::steps(&at, self.from),
            Some(_) => plan::regain(&self.maybe(), self.from),
        };
        back.retain(|step| *step != Step::Commit);
        back
    }

    /// The states of which a part may be there.
    pub(super) fn maybe(self) -> Vec<State> {
        let before = self.doubt.map(|doubt| doubt.maybe.clone());
        let mut maybe = before.unwrap_or_default();
        for state in [self.from, self.to] {
            if !maybe.contains(state) {
                maybe.push(state.clone());
            }
        }
        maybe
    }
}
