//! Finds faults that no other test was written for: a seed decides what breaks next in a whole installation, and invariants are
//! checked all the time.
//!
//! ```text
//! seed -> script -> runner -- begin, end --> fault -> world: two nodes behind FRR, one beside keepalived
//!                     |                                 |
//!                   board <--- breaches, attempts --- watch: clients, strangers, routes, masters, kernels, resources
//! ```
//!
//! The script is pure: the same seed is the same sequence of faults. When they happen also depends on how soon the world is
//! whole again, for no fault that takes a node away begins while another node is away: two such faults at once are not
//! what the design covers.

pub mod board;
pub mod fault;
mod run;
pub mod script;
mod watch;
mod world;

pub use run::{Options, Report, run};

use std::time::Duration;

// The limits of the invariants. `tests/bench/failover.md` measures the times behind them on two cores that do nothing else: a
// withdrawal reaches the router in 0.1 s, a frozen node in 0.2 s. Here the daemons may be debug builds, eleven programs and all
// clients share those cores, and faults burn them; so each limit is at least ten times the measured time.

/// How long single attempts of clients may fail after a fault takes a node away, and after the node's return.
pub const CUT: Duration = Duration::from_millis(2500);
/// The same where no connection is closed: two probes of the gate (1 s each) and the time between them (0.6 s) must go by.
pub const FROZEN: Duration = Duration::from_secs(5);
/// A request is repeated, as every S3 client does, and must have an answer within this.
pub const REQUEST: Duration = Duration::from_secs(20);
/// A node that does not serve is announced no longer than this: as [`FROZEN`], and what the router takes.
pub const WITHDRAWAL: Duration = Duration::from_secs(6);
/// A site that has been whole this long counts as steady.
const STEADY: Duration = Duration::from_millis(600);
/// Once its faults are over, a node serves and is announced, and there is one master, within this.
pub const RETURN: Duration = Duration::from_secs(25);
/// Two masters that hear each other: one advertisement (100 ms, RFC 9568 section 6.4.3), and what the machine adds.
pub const TWO_MASTERS: Duration = Duration::from_secs(2);
/// The nodes' `reconcile`.
pub const RECONCILE: Duration = Duration::from_secs(2);
/// What a pass and the question may take on top of that interval.
pub const RECONCILED: Duration = Duration::from_secs(10);
