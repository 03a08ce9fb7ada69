//! One HTTP/1.0 request over a UNIX socket: enough for HAProxy's statistics.

use std::{io, path::Path, time::Duration};

use axum::{
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

/// For the whole exchange: a worker that is stopped or stuck must not hold the page up.
const PATIENCE: Duration = Duration::from_secs(5);
/// A statistics page of tens of thousands of lines is well below this.
const LONGEST: u64 = 64 << 20;

/// What came back, as far as it is passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    status: StatusCode,
    content_type: String,
    /// HAProxy has browsers load its page again by this header.
    refresh: Option<String>,
    body: Vec<u8>,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let refresh = self
            .refresh
            .map(|pace| [(HeaderName::from_static("refresh"), pace)]);
        let kind = [(header::CONTENT_TYPE, self.content_type)];
        match refresh {
            Some(refresh) => (self.status, kind, refresh, self.body).into_response(),
            None => (self.status, kind, self.body).into_response(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("connect to {socket}: {source}; is the worker running? see `ober-user status`")]
    Connect { socket: String, source: io::Error },
    #[error("ask {socket} for {uri}: {source}")]
    Exchange {
        socket: String,
        uri: String,
        source: io::Error,
    },
    #[error("ask {socket} for {uri}: no answer within {PATIENCE:?}")]
    Slow { socket: String, uri: String },
    #[error("ask {socket} for {uri}: the answer is not HTTP")]
    Garbled { socket: String, uri: String },
}

pub(super) async fn fetch(socket: &Path, uri: &str) -> Result<Answer, Error> {
    let (name, uri) = (socket.display().to_string(), uri.to_owned());
    let Ok(bytes) = timeout(PATIENCE, exchange(socket, &name, &uri)).await else {
        return Err(Error::Slow { socket: name, uri });
    };
    read(&bytes?).ok_or(Error::Garbled { socket: name, uri })
}

async fn exchange(socket: &Path, name: &str, uri: &str) -> Result<Vec<u8>, Error> {
    let mut stream = UnixStream::connect(socket)
        .await
        .map_err(|source| Error::Connect {
            socket: name.into(),
            source,
        })?;
    let talk = async {
        let request = format!("GET {uri} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(LONGEST).read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    talk.await.map_err(|source| Error::Exchange {
        socket: name.into(),
        uri: uri.into(),
        source,
    })
}

fn read(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let header = |name: &str| {
        let found = headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    Some(Answer {
        status: status.parse().ok()?,
        content_type: header("content-type").unwrap_or_else(|| "text/plain".into()),
        refresh: header("refresh"),
        body: bytes.get(end + 4..)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn status_type_and_body_are_passed_on() {
        let bytes = b"HTTP/1.0 404 Not Found\r\nContent-Type: text/html\r\nRefresh: 5\r\n\r\n<p>\r\n\r\n</p>";
        let expected = Answer {
            status: StatusCode::NOT_FOUND,
            content_type: "text/html".into(),
            refresh: Some("5".into()),
            body: b"<p>\r\n\r\n</p>".to_vec(),
        };
        assert_eq!(read(bytes), Some(expected));
        assert_eq!(read(b"hello"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            read(&tail);
            read(&[b"HTTP/1.1 200 OK\r\n", tail.as_slice(), b"\r\n\r\n"].concat());
        }
    }
}
