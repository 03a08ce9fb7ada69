//! HAProxy's own statistics, asked for over the worker's UNIX socket.

use std::{io, path::Path, time::Duration};

use axum::{
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, Uri};
use tokio::{net::UnixStream, time::timeout};

use crate::system::fetch;

/// For the whole exchange: a worker that is stopped or stuck must not delay the page.
const PATIENCE: Duration = Duration::from_secs(5);
/// A statistics page of tens of thousands of lines is well below this.
const LONGEST: usize = 16 << 20;

/// The pages that a worker may be asked for. No other path is passed on: it could hold a whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Stats,
    Csv,
    Json,
    Metrics,
}

impl Page {
    /// From the last part of a path, decoded.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "stats" => Some(Self::Stats),
            "stats;csv" => Some(Self::Csv),
            "stats;json" => Some(Self::Json),
            "metrics" => Some(Self::Metrics),
            _ => None,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Stats => "/stats",
            Self::Csv => "/stats;csv",
            Self::Json => "/stats;json",
            Self::Metrics => "/metrics",
        }
    }

    /// `None`: the query is not valid in HTTP.
    pub(super) fn with(self, query: Option<&str>) -> Option<Uri> {
        let path = self.path();
        let uri = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        uri.parse().ok()
    }
}

/// The worker's answer, of which the status, the body and two headers are passed on.
pub(super) struct Answer(fetch::Answer);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self(answer) = self;
        let mut response = (answer.status, answer.body).into_response();
        // HAProxy has browsers load its page again by `refresh`.
        for name in [header::CONTENT_TYPE, HeaderName::from_static("refresh")] {
            if let Some(value) = answer.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("connect to {socket}: {source}; is the worker running? see `ober-user status`")]
    Connect { socket: String, source: io::Error },
    #[error("ask {socket} for {uri}: {source}")]
    Exchange {
        socket: String,
        uri: Uri,
        source: fetch::Error,
    },
    #[error("ask {socket} for {uri}: the answer is longer than {LONGEST} bytes")]
    TooLong { socket: String, uri: Uri },
    #[error("ask {socket} for {uri}: no answer within {PATIENCE:?}")]
    Slow { socket: String, uri: Uri },
}

pub(super) async fn fetch(socket: &Path, uri: Uri) -> Result<Answer, Error> {
    let name = socket.display().to_string();
    let asked = timeout(PATIENCE, exchange(socket, &name, &uri)).await;
    let answer = match asked {
        Ok(answer) => answer?,
        Err(_) => return Err(Error::Slow { socket: name, uri }),
    };
    if answer.cut {
        return Err(Error::TooLong { socket: name, uri });
    }
    Ok(Answer(answer))
}

async fn exchange(socket: &Path, name: &str, uri: &Uri) -> Result<fetch::Answer, Error> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| Error::Connect {
            socket: name.to_owned(),
            source,
        })?;
    let failed = |source| Error::Exchange {
        socket: name.to_owned(),
        uri: uri.clone(),
        source,
    };
    let request = Request::get(uri.clone())
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.into()))?;
    fetch::exchange(stream, request, LONGEST)
        .await
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_asked_for_its_pages_alone_and_a_query_cannot_end_the_line() {
        for (name, page) in [
            ("stats", Some("/stats")),
            ("stats;csv", Some("/stats;csv")),
            ("metrics", Some("/metrics")),
            ("stats; HTTP/1.1\r\nHost: a\r\n\r\nGET /metrics", None),
            ("stats;csv HTTP/1.0", None),
            ("Stats", None),
            ("stats/", None),
            ("", None),
        ] {
            assert_eq!(Page::named(name).map(Page::path), page, "{name:?}");
        }
        let with = |query| Page::Metrics.with(Some(query)).map(|uri| uri.to_string());
        assert_eq!(
            with("scope=global").as_deref(),
            Some("/metrics?scope=global")
        );
        assert_eq!(with("a HTTP/1.1\r\nx: y"), None);
    }
}
