//! One HTTP/1.1 request over TCP, TLS or a UNIX socket: for checks and for sources that are asked over HTTP.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Body,
    client::conn::http1,
    header::{HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};

use crate::{
    names::resolve,
    system::{
        tls,
        url::{Endpoint, Url},
    },
};

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// There was more than was to be read.
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

/// Anything a request can go over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Asks `url` with these headers; at most `most` bytes of the answer are read. With TLS the other end is greeted by the
/// name beside the configuration.
pub async fn get(
    url: &Url,
    tls: Option<(&Arc<ClientConfig>, &str)>,
    headers: &[(&'static str, String)],
    most: usize,
) -> Result<Answer, Error> {
    let stream = connect(&url.at, tls).await?;
    let mut request = Request::get(&url.path).header(HOST, url.host());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    exchange(stream, request.body(Empty::new())?, most).await
}

async fn connect(
    at: &Endpoint,
    tls: Option<(&Arc<ClientConfig>, &str)>,
) -> Result<Box<dyn Stream>, Error> {
    match at {
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(Error::Connect)?;
            Ok(Box::new(stream))
        }
        Endpoint::Tcp { host, port, .. } => {
            let stream = reach(host, *port).await.map_err(Error::Connect)?;
            match tls {
                Some((config, name)) => Ok(Box::new(
                    tls::connect(Arc::clone(config), name, stream).await?,
                )),
                None => Ok(Box::new(stream)),
            }
        }
    }
}

/// So long is a host asked for; whoever waits for the answer has a shorter limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the first address of the host that takes one.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = resolve::addresses(host, PATIENCE).await;
    let addresses = addresses.map_err(|why| io::Error::other(format!("{host}: {why}")))?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends `request` to where `url` is; only the path of its own URI counts. For the rest as [`get`].
pub async fn send<B: Said>(
    url: &Url,
    tls: Option<(&Arc<ClientConfig>, &str)>,
    mut request: Request<B>,
    most: usize,
) -> Result<Answer, Error> {
    let stream = connect(&url.at, tls).await?;
    *request.uri_mut() = url.path.parse().map_err(hyper::http::Error::from)?;
    if !request.headers().contains_key(HOST) {
        let host = url.host().parse().map_err(hyper::http::Error::from)?;
        request.headers_mut().insert(HOST, host);
    }
    exchange(stream, request, most).await
}

/// The body of a request.
pub trait Said:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static
{
}
impl<B> Said for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static
{
}

/// Sends the request over `stream` and reads the answer. Dropped before it is ready, it hangs up.
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
