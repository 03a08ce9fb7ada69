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
//! servers to its `failpolicy`.

pub mod ask;
mod consul;
pub mod dns;
mod docker;
pub mod engine;
mod json;
pub mod lines;
pub mod merge;
pub mod source;

#[cfg(test)]
mod tests;

use std::num::{NonZeroU16, NonZeroU32};

use serde::{Deserialize, Serialize};

/// A server as its source names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// An address or a name that is still to be resolved.
    pub host: String,
    pub port: NonZeroU16,
    /// Its share among the servers of its tier, by the source's own measure; 0: no new work.
    pub weight: u32,
    /// Servers of a higher tier work only when all of the lower ones are down.
    pub tier: u32,
    /// Connections at once, where the source tells.
    pub max_connections: Option<NonZeroU32>,
    /// The name it has a certificate for, where the source tells.
    pub name: Option<String>,
}

impl Found {
    /// Like every other.
    pub fn new(host: impl Into<String>, port: NonZeroU16) -> Self {
        Self {
            host: host.into(),
            port,
            weight: 1,
            tier: 0,
            max_connections: None,
            name: None,
        }
    }
}

/// Why a source does not tell its servers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no answer within {0:?}")]
    Late(std::time::Duration),
    #[error(transparent)]
    Dns(#[from] dns::Error),
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
    #[error("ask {url}: {source}")]
    Fetch {
        url: String,
        source: crate::fetch::Error,
    },
    #[error("ask {url}: status {status}")]
    Status { url: String, status: u16 },
    #[error("ask {url}: the answer is longer than {most} bytes")]
    TooLong { url: String, most: usize },
    #[error(transparent)]
    Command(#[from] crate::command::Error),
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
    #[error("{0}; write `weight=`, `tier=` or `max_connections=`")]
    Standing(String),
    #[error(transparent)]
    Hostlist(#[from] crate::hostlist::Error),
}
