//! BFD, BGP and VRRP: machines, packets and sockets; and what gates and neighbours have in common.
//!
//! ```text
//! bfd/, bgp/, vrrp/   each: mod.rs the machine (or what makes it up), its packets or messages, net/ its sockets and tasks
//! filter/             programs that the kernel runs on a packet before a socket gets it
//! routers             the list of routers, for sockets
//! standing            the result of a gate, which BGP and VRRP announce
//! ```
//! They never decide whether a VIP may be announced: a gate does (`announce/gate`). A machine never knows a socket, a clock
//! or a task.

pub mod bfd;
pub mod bgp;
pub mod filter;
pub mod routers;
pub mod standing;
pub mod vrrp;
