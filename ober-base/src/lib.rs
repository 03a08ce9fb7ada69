//! Herr Ober, the four lower rooms: what every part of the daemon stands on. `ober-user` has the other twelve and shows all
//! sixteen in their order; a room uses only rooms below it (`ober-user/tests/rooms.rs`).
//!
//! ```text
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

pub mod protocols;

pub mod names;

pub mod system;

pub mod machine;
