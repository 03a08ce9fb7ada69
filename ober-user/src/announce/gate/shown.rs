//! The parts of a gate that status and metrics show.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{Gate, Order, Orders, Reason, Standing, State, Tally, Transition};

impl Gate {
    pub fn state(&self) -> State {
        self.state
    }

    /// When the state last changed.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why it is in this state.
    pub fn reason(&self) -> Reason {
        match self.orders {
            Orders { disabled: true, .. } => Reason::Ordered(Order::Disable),
            Orders { file: true, .. } => Reason::File,
            Orders { draining: true, .. } => Reason::Ordered(Order::Drain),
            Orders { leaving: true, .. } => Reason::Leaving,
            Orders { .. } => self.cause.clone(),
        }
    }

    /// The standing that [`super::Action::Stand`] last gave the VIP.
    pub fn standing(&self) -> Standing {
        self.advertised
    }

    /// Are new connections lost between XDP and the workers' sockets?
    pub fn lost(&self) -> bool {
        self.lost
    }

    /// Why the workers could not be asked in the last round, so that the result of the one before is kept.
    pub fn unasked(&self) -> Option<&str> {
        self.unasked.as_deref()
    }

    /// The result of the last round.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Was there a verdict yet, good or bad?
    pub fn settled(&self) -> bool {
        self.settled
    }

    /// The last [`super::REMEMBERED`], oldest first.
    pub fn history(&self) -> &VecDeque<Transition> {
        &self.history
    }

    /// All transitions since the start by [`Reason::name`].
    pub fn transitions(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }
}
