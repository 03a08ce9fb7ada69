//! Where servers are found that are not written down. Each kind is a file that turns an answer into servers and does
//! nothing else; [`ask`] gets the answers, [`engine`] asks again and again, [`source`] keeps what was found, [`merge`]
//! makes one list of it.
//!
//! ```text
//! engine -> ask -> (fetch, command, dns) -> answer -> dns, docker, json, lines, consul -> Vec<Found>
//!   |                                                                                        |
//!   +--> backends <- merge <- source (failpolicy) <------------------------------------------+
//! ```
//! A failure is never an empty list: what cannot be asked, answers with an error or makes no sense leaves the source's
//! servers to its `failpolicy`. So does an answer of more than 1 MiB, or of more servers than `limits.servers`: both are found
//! out while it is read.
//!
//! A source never makes a server in another way than `found`, which judges it; `own` leaves out this node's own sockets.

pub mod ask;
mod consul;
pub mod dns;
mod docker;
pub mod engine;
mod found;
pub mod json;
pub mod lines;
pub mod merge;
pub mod own;
pub mod source;

#[cfg(test)]
mod tests;

pub use found::Found;

use crate::names::notation::Miss;

/// Why a source does not tell its servers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no answer within {0:?}")]
    Late(std::time::Duration),
    #[error(transparent)]
    Dns(#[from] dns::Error),
    #[error(transparent)]
    Tls(#[from] crate::system::tls::Error),
    #[error("ask {url}: {source}")]
    Fetch {
        url: String,
        source: crate::system::fetch::Error,
    },
    #[error("ask {url}: status {status}")]
    Status { url: String, status: u16 },
    #[error("ask {url}: the answer is longer than {most} bytes")]
    TooLong { url: String, most: usize },
    #[error(transparent)]
    Command(#[from] crate::system::command::Error),
    #[error("{program} ended with {status}: {complaint}")]
    Exit {
        program: String,
        status: String,
        complaint: String,
    },
    #[error("read the answer: {0}")]
    Json(#[from] serde_json::Error),
    #[error("read the answer: {0}")]
    Sense(String),
    #[error("read line {number}: {source}")]
    Line { number: usize, source: lines::Error },
    #[error("item {number}: {source}")]
    Item { number: usize, source: Miss },
    #[error("{of}: {source}")]
    Miss { of: String, source: Miss },
    #[error(
        "it names more than {most} server{}; raise `limits.servers` if that is meant",
        if *.most == 1 { "" } else { "s" }
    )]
    TooMany { most: usize },
    #[error("{0}; write `weight=`, `tier=` or `max_connections=`")]
    Standing(String),
    #[error(transparent)]
    Hostlist(#[from] crate::names::hostlist::Error),
}
