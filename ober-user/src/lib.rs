//! Herr Ober, the user half: seventeen rooms, the lower four in a crate of their own. A room uses only rooms below it in this
//! list; `tests/rooms.rs` checks that.
//!
//! ```text
//! cli           one file a command: finds the daemon, asks it, shows the answer
//! diagnose      what is wrong: doctor (this machine), trial (the command `test`)
//! host          what this machine should be: bootstrap and its undo, the tables that doctor judges by
//! daemon        the one owner of a node's state: start, change, steps, sync, reconcile, status
//! api           the node's interface: requests and answers, status, metrics, HTTP
//! plan          a change as data; the configurations that were in force
//! announce      which workers may attract traffic (gate); announcing it: neighbours, addresses
//! haproxy       the workers: their configuration, their life, changes to them while they run
//! backends      the S3 servers: sources, discovery, checks
//! lists         the access lists: edits, entries, what is on disk
//! certificates  files to copies that workers read; certificates issued by ACME
//! dataplane     the kernel half as seen by the daemon: programs, links, maps, counters
//! config        from texts to a valid configuration: text -> sections -> Config
//!
//! in ober-base, so that a change of a protocol does not compile the rest for its tests:
//! protocols     BFD, BGP, VRRP: state machines, packets, sockets
//! names         from written names to addresses: notation, node sets, SLURM, DNS
//! system        files, programs, sockets, netlink, TLS
//! machine       the trait of a state machine without I/O, its driver, the real-time thread
//! ```
// `println!` and `eprintln!` panic where their stream takes nothing more (a closed pipe, a full disk): a task of the daemon would
// end, or a command half way through its work.
#![warn(clippy::print_stderr, clippy::print_stdout)]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test reads the files it wrote and starts what it needs"
    )
)]

// An empty line between two rooms keeps rustfmt from sorting them.

pub mod cli;

pub mod diagnose;

pub mod host;

pub mod daemon;

pub mod api;

pub mod plan;

pub mod announce;

pub mod haproxy;

pub mod backends;

pub mod lists;

pub mod certificates;

pub mod dataplane;

pub mod config;

pub use ober_base::{machine, names, protocols, system};
