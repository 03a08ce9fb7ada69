//! From written names to addresses: notation, node sets, SLURM, the name service.
//!
//! ```text
//! notation/   how addresses, prefixes, names and servers are written     hostlist/   expressions to names and items
//! slurm       addresses of nodes in slurm.conf                           resolve/    names to addresses
//! entries     the addresses of a list; radix sorts them                  fetch       one HTTP request to a URL
//! server_line/ a server as it is written, with its weight, tier and limit
//! ```
//! A text that is nearly an address is never treated as a name.

pub mod entries;
pub mod fetch;
pub mod hostlist;
pub mod notation;
mod radix;
pub mod resolve;
pub mod server_line;
pub mod slurm;
