//! BFD, BGP and VRRP: machines, their bytes, their wire; and what gates and neighbours have in common.
//!
//! ```text
//! bfd/, bgp/, vrrp/   each: mod.rs the machine (or what makes it up), its packets or messages, net/ its sockets and tasks
//! filter/             programs that the kernel runs on a packet before a socket gets it
//! routers             the list of routers, as sockets go by it
//! standing            what a gate comes to, which BGP and VRRP say to the neighbours
//! ```
//! They never decide whether a VIP may be announced: a gate does (`announce/gate`). A machine never knows a socket, a clock
//! or a task.

pub mod bfd;
pub mod bgp;
pub mod filter;
pub mod routers;
pub(crate) mod standing;
pub mod vrrp;
