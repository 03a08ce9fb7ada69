//! What is wrong with this machine (`doctor/`), and with what the configuration names (`trial/`, the command `test`). `finding`
//! is the type of both, and its JSON.
//!
//! It never changes this machine and never announces a VIP.

pub mod doctor;
pub mod finding;
pub mod trial;
