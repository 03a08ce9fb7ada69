//! Herr Ober, the user half: sixteen rooms, from the one that uses all to those that all use. A room uses only rooms
//! below it; `tests/rooms.rs` holds them to it, and names what still reaches up.
//!
//! ```text
//! cli           one file a command: finds the daemon, asks it, shows the answer
//! diagnose      what is wrong: doctor (this machine), trial (the command `test`)
//! daemon        the one owner of a node: start, change, steps, sync, reconcile, status
//! api           what a node says and takes: requests and answers, status, metrics, HTTP
//! plan          a change as data; the configurations that were in force
//! announce      who may attract traffic (gate) and who is told of it: neighbours, addresses
//! haproxy       the workers: their configuration, their life, what is changed while they run
//! backends      the S3 servers: sources, discovery, checks
//! lists         the access lists: edits, entries, what is on disk
//! certificates  files to copies that workers read; certificates issued by ACME
//! dataplane     the kernel half as the daemon holds it: programs, links, maps, counters
//! config        texts to a valid configuration: text -> sections -> Config
//! protocols     BFD, BGP, VRRP: machines, their bytes, their wire
//! names         from what people write to addresses: notation, node sets, SLURM, DNS
//! system        files, programs, sockets, netlink, TLS
//! machine       a state machine without I/O, what drives it, the real-time thread
//! ```
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

pub mod protocols;

pub mod names;

pub mod system;

pub mod machine;
