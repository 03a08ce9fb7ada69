//! The processes of a slot that no longer serve. Each gets the signal to finish, is killed when its time is over, and is watched
//! until it has ended.

use std::time::{Duration, Instant};

use super::{Action, Pid, Policy, Why};

/// The next step for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Retire { at: Instant, drain: Duration },
    Kill { at: Instant },
    Killed,
}

/// Oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving(Vec<(Pid, Step)>);

impl Leaving {
    pub(super) fn pids(&self) -> Vec<Pid> {
        self.0.iter().map(|(pid, _)| *pid).collect()
    }

    pub(super) fn kill(&mut self, pid: Pid, why: Why) -> Vec<Action> {
        self.0.push((pid, Step::Killed));
        vec![Action::Kill { pid, why }]
    }

    /// Tells a process to finish; when more than `policy.finishing` finish, the oldest are killed.
    pub(super) fn retire(&mut self, now: Instant, pid: Pid, policy: &Policy) -> Vec<Action> {
        let at = now + policy.drain;
        self.0.push((pid, Step::Kill { at }));
        let mut actions = vec![Action::Retire { pid }];
        let alive = self.0.iter().filter(|(_, step)| *step != Step::Killed);
        let excess = alive.count().saturating_sub(policy.finishing);
        let oldest = self.0.iter_mut().filter(|(_, step)| *step != Step::Killed);
        for (pid, step) in oldest.take(excess) {
            *step = Step::Killed;
            let why = Why::TooManyFinishing;
            actions.push(Action::Kill { pid: *pid, why });
        }
        actions
    }

    /// Tells a process to finish at a later time.
    pub(super) fn retire_at(&mut self, at: Instant, pid: Pid, drain: Duration) {
        self.0.push((pid, Step::Retire { at, drain }));
    }

    /// Kills every finishing process at `limit` at the latest.
    pub(super) fn hurry(&mut self, limit: Instant) {
        for (_, step) in &mut self.0 {
            if let Step::Kill { at } = step {
                *at = limit.min(*at);
            }
        }
    }

    pub(super) fn ended(&mut self, pid: Pid) {
        self.0.retain(|(leaving, _)| *leaving != pid);
    }

    pub(super) fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        for (pid, step) in &mut self.0 {
            match *step {
                Step::Retire { at, drain } if at <= now => {
                    // At least 1 ms later, so that the process can react to the signal before it is killed.
                    let at = now + drain.max(Duration::from_millis(1));
                    *step = Step::Kill { at };
                    actions.push(Action::Retire { pid: *pid });
                }
                Step::Kill { at } if at <= now => {
                    *step = Step::Killed;
                    let why = Why::DrainOver;
                    actions.push(Action::Kill { pid: *pid, why });
                }
                Step::Retire { .. } | Step::Kill { .. } | Step::Killed => {}
            }
        }
        actions
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.0.iter().filter_map(|(_, step)| match step {
            Step::Retire { at, .. } | Step::Kill { at } => Some(*at),
            Step::Killed => None,
        });
        due.min()
    }
}
