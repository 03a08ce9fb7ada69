//! The shape of every state machine here: BFD, BGP, VRRP, the health gate, the supervision of a HAProxy worker, the check of a
//! server, the renewal of a certificate. `drive` runs one; `realtime` is the thread of BFD and VRRP.
//!
//! A machine never knows a clock, socket, file, task or log. Its caller passes the event and the time; the machine returns the
//! actions to perform. [`crate::machine::drive`] does the waiting.

pub mod drive;
pub mod realtime;

use std::time::Instant;

/// A state machine without I/O.
pub trait Machine {
    /// What may happen to the machine.
    type Event;
    /// What the machine may ask for.
    type Action;

    /// Something happened.
    fn on(&mut self, now: Instant, event: Self::Event) -> Vec<Self::Action>;

    /// The deadline has come. Must move [`Machine::deadline`] past `now`, or the driver spins.
    fn tick(&mut self, now: Instant) -> Vec<Self::Action>;

    /// When to call [`Machine::tick`]; the minimum of the machine's timers.
    fn deadline(&self) -> Option<Instant>;
}
