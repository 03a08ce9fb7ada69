//! What a storage server needs to take packets for the VIPs itself: `backend-setup`. A balancer in mode dr sends it frames whose
//! destination is still the VIP, in mode ipip such packets within others; the answers go to the clients without a detour.
//!
//! ```text
//! setup    what the operator typed, and the settings that follow
//! look     this server: settings, addresses, tunnels, files
//! plan     from facts and setup, without I/O, the changes and remarks
//! objects  addresses, links, modules and units, as `host/object` looks at them and puts them
//! text     the file of settings and the unit
//! print    the same for a machine without this program: sh, ansible, netplan
//! ```
//! A VIP is never on this server before the settings that keep the server from answering for it, neither on the way forth nor
//! on the way back. It reads no configuration of ours: a storage server has none.

pub mod look;
pub(super) mod objects;
mod plan;
pub mod print;
pub mod setup;
mod text;

#[cfg(test)]
mod tests;

pub use look::look;
pub use plan::plan;
pub use setup::{Mode, Setup};
