//! From what people write to addresses: notation, node sets, SLURM, the name service.

pub mod entries;
pub mod fetch;
pub mod hostlist;
pub mod notation;
pub mod resolve;
pub mod slurm;
