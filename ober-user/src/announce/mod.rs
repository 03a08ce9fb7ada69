//! From gates to neighbours: who is told of which VIP, and when its address comes and goes.

pub mod addresses;
