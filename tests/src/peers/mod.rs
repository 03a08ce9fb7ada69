//! Real routers in a host of the laboratory: FRR, BIRD and keepalived, as Debian packages them. Each instance keeps its
//! sockets, process numbers and configuration in the laboratory's directory, so any number run side by side and the machine's
//! own `/etc` and `/run` are never read nor written. They end with their handle or with their host.

mod bird;
mod frr;
pub mod keepalived;
mod nsd;

pub use bird::Bird;
pub use frr::{Daemon, Frr};
pub use keepalived::Keepalived;
pub use nsd::Nsd;
