//! What is wrong: of this machine (`doctor/`), and of what the configuration names (`trial/`, the command `test`).
//! `finding` is what both found, and its JSON.
//!
//! It never changes this machine and never announces a VIP.

pub mod doctor;
pub mod finding;
pub mod trial;
