//! One HTTP/1.1 request over a stream. [`crate::names::fetch`] makes the stream to where a URL points.

use std::io;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Request, StatusCode, body::Body, client::conn::http1, header::USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use crate::system::tls;

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Was the body longer than the limit, and cut there?
    pub cut: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connect: {0}")]
    Connect(io::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("make the request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("no HTTP answer: {0}")]
    Talk(#[from] hyper::Error),
}

/// A byte stream that can carry a request.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The body of a request.
pub trait Said:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static
{
}
impl<B> Said for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static
{
}

/// Sends the request over `stream` and reads the answer. Dropping the future closes the stream.
pub async fn exchange<B: Said>(
    stream: impl Stream + 'static,
    mut request: Request<B>,
    most: usize,
) -> Result<Answer, Error> {
    let agent = concat!("ober/", env!("CARGO_PKG_VERSION")).parse();
    request
        .headers_mut()
        .extend(agent.ok().map(|agent| (USER_AGENT, agent)));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (head, mut body) = sender.send_request(request).await?.into_parts();
    let (mut bytes, mut cut) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = most - bytes.len();
            bytes.extend_from_slice(data.get(..room).unwrap_or(&data));
            if data.len() > room {
                cut = true;
                break;
            }
        }
    }
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: bytes,
        cut,
    })
}
