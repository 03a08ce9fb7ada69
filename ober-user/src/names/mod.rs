//! From what people write to addresses: notation, node sets, SLURM, servers and their terms, the name service.

pub mod entries;
pub mod fetch;
pub mod hostlist;
pub mod notation;
pub mod resolve;
pub mod server_line;
pub mod slurm;
