//! The ways a request can fail, in the order of its life.

use std::{net::SocketAddr, time::Duration};

use hyper::StatusCode;

/// How a request failed. The first four happen before the server has anything of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The connection attempt was answered with a reset.
    #[error("connect to {0}: refused")]
    Refused(SocketAddr),
    /// The connection attempt was not answered.
    #[error("connect to {0}: no answer")]
    Unanswered(SocketAddr),
    /// The client's own machine could not make the connection.
    #[error("connect to {address}: {why}")]
    Local { address: SocketAddr, why: String },
    /// Connected, but TLS did not come about.
    #[error("TLS handshake of {local} with {address}: {why}")]
    Handshake {
        address: SocketAddr,
        local: SocketAddr,
        why: String,
    },
    /// The connection ended with the request under way and no answer.
    #[error("{request}: connection cut: {why}")]
    Cut { request: String, why: String },
    /// The answer began and did not end.
    #[error("{request}: answer ends after {got} bytes: {why}")]
    Truncated {
        request: String,
        got: u64,
        why: String,
    },
    /// No whole answer in time.
    #[error("{request}: no whole answer within {limit:?}")]
    Late { request: String, limit: Duration },
    /// The answer's bytes are not those stored.
    #[error("{request}: wrong byte at offset {offset}")]
    Wrong { request: String, offset: u64 },
    /// The server answered with an error status.
    #[error("{request}: status {status} {text}")]
    Status {
        request: String,
        status: StatusCode,
        /// The beginning of the answer's body.
        text: String,
    },
}

/// A connection that ended under a request.
pub(super) fn cut(request: &str, error: &dyn std::error::Error) -> Failure {
    Failure::Cut {
        request: request.to_owned(),
        why: chain(error),
    }
}

/// An error and all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
