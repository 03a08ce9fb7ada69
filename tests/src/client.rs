//! A small S3 client that knows at which point of its life a request failed: before the connection, in the handshake,
//! or with the request under way. Requests are unsigned.

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::pattern::{Pattern, Walk};

/// Bytes of an error's body that are kept.
const EXPLANATION: usize = 300;

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
    #[error("TLS handshake with {address}: {why}")]
    Handshake { address: SocketAddr, why: String },
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
    /// The server said no.
    #[error("{request}: status {status} {text}")]
    Status {
        request: String,
        status: StatusCode,
        /// The beginning of what it said.
        text: String,
    },
}

/// Where requests go and how.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    /// For connecting and the handshake.
    connect_limit: Duration,
    /// For one request, from its first byte to its answer's last.
    request_limit: Duration,
}

impl Client {
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            connect_limit: Duration::from_secs(5),
            request_limit: Duration::from_secs(20),
        }
    }

    pub fn tls(address: SocketAddr, trust: Arc<ClientConfig>) -> Self {
        Self {
            tls: Some(trust),
            ..Self::plain(address)
        }
    }

    #[must_use]
    pub fn limits(mut self, connect: Duration, request: Duration) -> Self {
        self.connect_limit = connect;
        self.request_limit = request;
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection, ready for requests.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let stream = self.dial().await?;
        let sender = match &self.tls {
            None => self.speak(stream).await?,
            Some(config) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
                let stream = timeout(self.connect_limit, handshake)
                    .await
                    .map_err(|_elapsed| self.handshake("no answer"))?
                    .map_err(|error| self.handshake(error))?;
                self.speak(stream).await?
            }
        };
        Ok(Connection {
            sender,
            host: self.address.to_string(),
            limit: self.request_limit,
        })
    }

    async fn dial(&self) -> Result<TcpStream, Failure> {
        let address = self.address;
        let stream = timeout(self.connect_limit, TcpStream::connect(address))
            .await
            .map_err(|_elapsed| Failure::Unanswered(address))?
            .map_err(|error| match error.kind() {
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => {
                    Failure::Refused(address)
                }
                ErrorKind::TimedOut => Failure::Unanswered(address),
                _ => Failure::Local {
                    address,
                    why: error.to_string(),
                },
            })?;
        stream.set_nodelay(true).map_err(|error| Failure::Local {
            address,
            why: error.to_string(),
        })?;
        Ok(stream)
    }

    async fn speak<S>(&self, stream: S) -> Result<SendRequest<Payload>, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.handshake(error))?;
        // Its failure is also the request's, where it is counted.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }

    fn handshake(&self, why: impl ToString) -> Failure {
        Failure::Handshake {
            address: self.address,
            why: why.to_string(),
        }
    }

    /// PUT over a connection of its own.
    pub async fn put(&self, path: &str, content: Pattern) -> Result<(), Failure> {
        self.connect().await?.put(path, content).await
    }

    /// GET over a connection of its own, verified.
    pub async fn get(&self, path: &str, content: Pattern) -> Result<(), Failure> {
        self.connect().await?.get(path, content).await
    }

    /// Make a bucket over a connection of its own.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), Failure> {
        self.connect().await?.create_bucket(bucket).await
    }
}

/// An open connection; requests go one after another.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Payload>,
    host: String,
    limit: Duration,
}

impl Connection {
    /// Store an object. `path` is `/bucket/key`.
    pub async fn put(&mut self, path: &str, content: Pattern) -> Result<(), Failure> {
        self.ask(Method::PUT, path, Payload::of(content), Expect::Nothing)
            .await
            .map(drop)
    }

    /// Fetch an object and compare every byte.
    pub async fn get(&mut self, path: &str, content: Pattern) -> Result<(), Failure> {
        self.ask(Method::GET, path, Payload::NONE, Expect::Pattern(content))
            .await
            .map(drop)
    }

    /// Is the object there?
    pub async fn head(&mut self, path: &str) -> Result<(), Failure> {
        self.ask(Method::HEAD, path, Payload::NONE, Expect::Nothing)
            .await
            .map(drop)
    }

    pub async fn create_bucket(&mut self, bucket: &str) -> Result<(), Failure> {
        let path = format!("/{bucket}");
        self.ask(Method::PUT, &path, Payload::NONE, Expect::Nothing)
            .await
            .map(drop)
    }

    /// The keys in a bucket.
    pub async fn list(&mut self, bucket: &str) -> Result<Vec<String>, Failure> {
        let path = format!("/{bucket}?list-type=2");
        let text = self
            .ask(Method::GET, &path, Payload::NONE, Expect::Text)
            .await?;
        Ok(text
            .split("<Key>")
            .skip(1)
            .filter_map(|rest| rest.split_once("</Key>"))
            .map(|(key, _)| key.to_owned())
            .collect())
    }

    /// The text at a path.
    pub async fn text(&mut self, path: &str) -> Result<String, Failure> {
        self.ask(Method::GET, path, Payload::NONE, Expect::Text)
            .await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Payload,
        expect: Expect,
    ) -> Result<String, Failure> {
        let name = format!("{method} {path}");
        let limit = self.limit;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .body(body)
            .map_err(|error| cut(&name, &error))?;
        let whole = async {
            self.sender
                .ready()
                .await
                .map_err(|error| cut(&name, &error))?;
            let answer = self
                .sender
                .send_request(request)
                .await
                .map_err(|error| cut(&name, &error))?;
            read(&name, answer, expect).await
        };
        timeout(limit, whole)
            .await
            .map_err(|_elapsed| Failure::Late {
                request: name.clone(),
                limit,
            })?
    }
}

fn cut(request: &str, error: &dyn std::error::Error) -> Failure {
    Failure::Cut {
        request: request.to_owned(),
        why: chain(error),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// What is done with the answer's body.
enum Expect {
    Nothing,
    Text,
    Pattern(Pattern),
}

async fn read(
    request: &str,
    answer: Response<Incoming>,
    expect: Expect,
) -> Result<String, Failure> {
    let status = answer.status();
    let (mut walk, keep) = match expect {
        Expect::Pattern(content) => (Some(content.walk()), false),
        Expect::Text => (None, true),
        Expect::Nothing => (None, false),
    };
    let wrong = |offset| Failure::Wrong {
        request: request.to_owned(),
        offset,
    };
    let (mut body, mut got, mut text) = (answer.into_body(), 0, Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Truncated {
            request: request.to_owned(),
            got,
            why: chain(&error),
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        got += data.len() as u64;
        if keep || (!status.is_success() && text.len() < EXPLANATION) {
            text.extend_from_slice(&data);
        }
        if let Some(walk) = walk.as_mut().filter(|_| status.is_success()) {
            walk.check(&data).map_err(wrong)?;
        }
    }
    if !status.is_success() {
        return Err(Failure::Status {
            request: request.to_owned(),
            status,
            text: String::from_utf8_lossy(&text[..text.len().min(EXPLANATION)]).into_owned(),
        });
    }
    if walk.is_some_and(|walk| walk.left() > 0) {
        return Err(wrong(got));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The body of a request: a pattern, sent piece by piece, or nothing.
#[derive(Debug)]
pub(crate) struct Payload(Walk);

impl Payload {
    const NONE: Self = Self(Pattern::new(0, 0).walk());

    const fn of(content: Pattern) -> Self {
        Self(content.walk())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.step().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.left())
    }
}
