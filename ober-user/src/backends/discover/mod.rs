//! Discovery of servers. Each kind of source is a file that turns an answer into servers and does nothing else. [`ask`]
//! gets the answers, [`engine`] asks repeatedly, [`source`] keeps the last answer, [`merge`] makes one list of all.
//!
//! ```text
//! engine -> ask -> (fetch, command, dns) -> answer -> dns, docker, json, lines, consul -> Vec<Found>
//!   |                                                                                        |
//!   +--> backends <- merge <- source (failpolicy) <------------------------------------------+
//! ```
//! A failure is never an empty list: when a source cannot be asked, answers with an error or with nonsense, its
//! `failpolicy` decides about its servers. The same holds for an answer of more than 1 MiB, or with more servers than
//! `limits.servers`; both are noticed while it is read.
//!
//! A source never makes a server except by `names/server_line`, which checks it; `own` leaves out this node's own sockets.

pub mod ask;
mod consul;
pub mod dns;
mod docker;
pub mod engine;
pub mod json;
pub mod lines;
pub mod merge;
pub mod own;
pub mod source;

#[cfg(test)]
mod tests;

use crate::names::{
    notation::Miss,
    server_line::{self, TooMany},
};

/// Why a source has no answer.
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
    Line {
        number: usize,
        source: server_line::Error,
    },
    #[error("item {number}: {source}")]
    Item { number: usize, source: Miss },
    #[error("{of}: {source}")]
    Miss { of: String, source: Miss },
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    Expression(#[from] server_line::ExpressionError),
}
