//! A small S3 client that knows at which point of its life a request failed: before the connection, in the handshake,
//! or with the request under way. Requests are unsigned.

mod answer;
mod failure;
mod pace;
mod payload;
mod raw;

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{
    Method, Request,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

pub use failure::Failure;
pub use raw::{Open, Raw};

use crate::pattern::Pattern;
use answer::{Expect, read};
use failure::cut;
use pace::Pace;
use payload::Payload;

/// Receive buffer of a paced client, bytes. Small: bytes that wait in the client's kernel have already left the proxy.
const SMALL_BUFFER: u32 = 64 << 10;

/// Where requests go and how.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    /// For connecting and the handshake.
    connect_limit: Duration,
    /// For one request, from its first byte to its answer's last.
    request_limit: Duration,
    /// Bytes per second of each body, either way; `None`: as fast as can be.
    rate: Option<u32>,
    /// Which of its host's addresses it comes from; `None`: the host's choice.
    source: Option<IpAddr>,
}

impl Client {
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            connect_limit: Duration::from_secs(5),
            request_limit: Duration::from_secs(20),
            rate: None,
            source: None,
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

    /// Comes from this address of its host.
    #[must_use]
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Bodies go at most this fast either way, bytes per second; `None`: as fast as can be.
    #[must_use]
    pub fn paced(mut self, rate: Option<u32>) -> Self {
        self.rate = rate;
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection, ready for requests.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let stream = self.dial().await?;
        let local = stream.local_addr().map_err(|error| self.unmade(&error))?;
        let sender = match &self.tls {
            None => self.speak(stream, local).await?,
            Some(config) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
                let stream = timeout(self.connect_limit, handshake)
                    .await
                    .map_err(|_elapsed| self.handshake(local, &"no answer"))?
                    .map_err(|error| self.handshake(local, &error))?;
                self.speak(stream, local).await?
            }
        };
        Ok(Connection {
            sender,
            local,
            host: self.address.to_string(),
            limit: self.request_limit,
            rate: self.rate,
        })
    }

    async fn dial(&self) -> Result<TcpStream, Failure> {
        let address = self.address;
        let stream = timeout(self.connect_limit, self.socket()?.connect(address))
            .await
            .map_err(|_elapsed| Failure::Unanswered(address))?
            .map_err(|error| match error.kind() {
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => {
                    Failure::Refused(address)
                }
                ErrorKind::TimedOut => Failure::Unanswered(address),
                _ => self.unmade(&error),
            })?;
        stream
            .set_nodelay(true)
            .map_err(|error| self.unmade(&error))?;
        Ok(stream)
    }

    fn socket(&self) -> Result<TcpSocket, Failure> {
        let socket = if self.address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        };
        let small = |socket: &TcpSocket| match self.rate {
            Some(_) => socket.set_recv_buffer_size(SMALL_BUFFER),
            None => Ok(()),
        };
        let bound = |socket: &TcpSocket| match self.source {
            Some(source) => socket.bind(SocketAddr::new(source, 0)),
            None => Ok(()),
        };
        socket
            .and_then(|socket| {
                bound(&socket)
                    .and_then(|()| small(&socket))
                    .map(|()| socket)
            })
            .map_err(|error| self.unmade(&error))
    }

    async fn speak<S>(&self, stream: S, local: SocketAddr) -> Result<SendRequest<Payload>, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.handshake(local, &error))?;
        // A failure of the connection also fails the request, which reports it.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }

    fn unmade(&self, why: &dyn ToString) -> Failure {
        Failure::Local {
            address: self.address,
            why: why.to_string(),
        }
    }

    fn handshake(&self, local: SocketAddr, why: &dyn ToString) -> Failure {
        Failure::Handshake {
            address: self.address,
            local,
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
    local: SocketAddr,
    host: String,
    limit: Duration,
    rate: Option<u32>,
}

impl Connection {
    /// The client's own end of it.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// May it take another request? The server closes one after an answer that says so, or when it was idle for long.
    pub async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

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
        let pace = self.rate.map(Pace::of);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .body(body.paced(pace))
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
            read(&name, answer, expect, pace).await
        };
        timeout(limit, whole)
            .await
            .map_err(|_elapsed| Failure::Late {
                request: name.clone(),
                limit,
            })?
    }
}
