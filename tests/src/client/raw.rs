//! A client that shows how a proxy treats a connection: it chooses its source address, the bytes before TLS, the name in SNI,
//! and how its `ClientHello` is cut into segments.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, Stream, pki_types::ServerName};
use socket2::{Domain, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(8);

#[derive(Clone, Debug)]
pub struct Raw {
    address: SocketAddr,
    source: Option<IpAddr>,
    /// Sent before anything else.
    before: Vec<u8>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// The `ClientHello` is sent in two segments, the first of this many bytes.
    cut: Option<usize>,
}

impl Raw {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            source: None,
            before: Vec::new(),
            tls: None,
            cut: None,
        }
    }

    #[must_use]
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    #[must_use]
    pub fn before(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.before = bytes.into();
        self
    }

    /// TLS with this name in SNI; an address for a name leaves SNI out.
    #[must_use]
    pub fn tls(mut self, config: &Arc<ClientConfig>, name: &str) -> Self {
        let address = || ServerName::IpAddress(self.address.ip().into());
        let name = ServerName::try_from(name.to_owned()).unwrap_or_else(|_| address());
        self.tls = Some((Arc::clone(config), name));
        self
    }

    #[must_use]
    pub fn cut(mut self, first: usize) -> Self {
        self.cut = Some(first);
        self
    }

    /// `GET PATH` with this host on a connection of its own: status line, headers and body.
    pub fn get(&self, host: &str, path: &str) -> io::Result<String> {
        self.say(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
    }

    /// Sends a text and reads to the end.
    pub fn say(&self, text: &str) -> io::Result<String> {
        let mut open = self.open()?;
        open.write(text)?;
        open.end()
    }

    /// Connects, with all that comes before the first byte of a request.
    pub fn open(&self) -> io::Result<Open> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        if let Some(source) = self.source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect_timeout(&self.address.into(), PATIENCE)?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&self.before)?;
        let Some((config, name)) = &self.tls else {
            return Ok(Open { stream, tls: None });
        };
        let mut tls =
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
        if let Some(first) = self.cut {
            let mut greeting = Vec::new();
            tls.write_tls(&mut greeting)?;
            let (first, second) = greeting.split_at(first.min(greeting.len()));
            stream.write_all(first)?;
            std::thread::sleep(Duration::from_millis(150));
            stream.write_all(second)?;
        }
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Open {
            stream,
            tls: Some(tls),
        })
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Open {
    stream: TcpStream,
    tls: Option<ClientConnection>,
}

impl Open {
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(text.as_bytes()),
            Some(tls) => Stream::new(tls, &mut self.stream).write_all(text.as_bytes()),
        }
    }

    /// All that still comes.
    pub fn end(mut self) -> io::Result<String> {
        let mut text = Vec::new();
        let read = match &mut self.tls {
            None => self.stream.read_to_end(&mut text),
            Some(tls) => Stream::new(tls, &mut self.stream).read_to_end(&mut text),
        };
        // A peer that closes without TLS's close_notify has still sent its whole answer.
        match read {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(String::from_utf8_lossy(&text).into_owned()),
        }
    }

    /// The bytes of the next read; empty at the end.
    pub fn some(&mut self) -> io::Result<String> {
        let mut piece = [0; 4096];
        let read = match &mut self.tls {
            None => self.stream.read(&mut piece),
            Some(tls) => Stream::new(tls, &mut self.stream).read(&mut piece),
        }?;
        Ok(String::from_utf8_lossy(&piece[..read]).into_owned())
    }
}
