//! A server behind a proxy that answers with its name, the way it was reached, and the request.

use std::{
    fmt::Write as _,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

use crate::{certificate::Authority, lab::Host};

/// How clients must speak to an origin.
#[derive(Clone, Default)]
pub struct Manner {
    /// Every connection begins with the PROXY protocol.
    pub proxy: bool,
    pub tls: Option<Arc<ServerConfig>>,
}

/// TLS with this certificate; `clients`: only for clients with a certificate of that authority.
pub fn tls(pem: &str, clients: Option<&Authority>) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(authority.roots()?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(Arc::new(builder.with_single_cert(chain, key)?))
}

/// Origins, until it is dropped.
#[derive(Debug)]
pub struct Origins(Runtime);

impl Origins {
    pub fn new() -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ok(Self(builder.worker_threads(1).enable_all().build()?))
    }

    /// Serves at an address of `host` under a name that its answers contain.
    pub fn serve(
        &self,
        host: &Host,
        name: &str,
        address: SocketAddr,
        manner: Manner,
    ) -> Result<()> {
        let listener = host
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let _inside = self.0.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let name: Arc<str> = name.into();
        self.0.spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (name, manner) = (Arc::clone(&name), manner.clone());
                tokio::spawn(async move {
                    // A client that hangs up or breaks the protocol gets no answer, which its test then sees.
                    welcome(stream, format!("name={name}\npeer={}\n", peer.ip()), manner)
                        .await
                        .ok();
                });
            }
        });
        Ok(())
    }
}

async fn welcome(mut stream: TcpStream, mut seen: String, manner: Manner) -> Result<()> {
    stream.set_nodelay(true)?;
    if manner.proxy {
        writeln!(seen, "proxy={}", proxy_header(&mut stream).await?)?;
    }
    let Some(config) = manner.tls else {
        return answer(stream, seen).await;
    };
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().is_some();
    writeln!(seen, "sni={}", session.server_name().unwrap_or("-"))?;
    writeln!(seen, "certificate={certificate}")?;
    answer(stream, seen).await
}

/// `v1 10.77.0.11 10.77.9.1`: version, source and destination.
async fn proxy_header(stream: &mut TcpStream) -> Result<String> {
    let mut first = [0; 16];
    stream.read_exact(&mut first[..6]).await?;
    if &first[..6] == b"PROXY " {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            ensure!(line.len() < 107, "a line of PROXY without end");
            line.push(stream.read_u8().await?);
        }
        let line = String::from_utf8(line)?;
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, source, destination, ..] = words[..] else {
            return Ok("v1 unknown".to_owned());
        };
        return Ok(format!("v1 {source} {destination}"));
    }
    stream.read_exact(&mut first[6..]).await?;
    ensure!(
        first.starts_with(b"\r\n\r\n\0\r\nQUIT\n"),
        "no PROXY header"
    );
    let mut rest = vec![0; usize::from(u16::from_be_bytes([first[14], first[15]]))];
    stream.read_exact(&mut rest).await?;
    let v4 = |at: usize| {
        let bytes = rest.get(at..at + 4);
        bytes.map_or("?".to_owned(), |it| {
            format!("{}.{}.{}.{}", it[0], it[1], it[2], it[3])
        })
    };
    Ok(format!("v2 {} {}", v4(0), v4(4)))
}

/// Answers requests one after another. `/wait/MS` answers later, `/status/N` with that status.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: S, seen: String) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let header = |name: &str| {
            let mut lines = head.lines();
            lines
                .find(|line| line.to_ascii_lowercase().starts_with(name))
                .and_then(|line| line.split_once(": "))
                .map_or("-".to_owned(), |(_, value)| value.to_owned())
        };
        let waits = header("expect:");
        if waits == "100-continue" {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let length: usize = header("content-length:").parse().unwrap_or(0);
        stream.read_exact(&mut vec![0; length]).await?;
        let first = head.lines().next().unwrap_or_default();
        let words = |before: &str| {
            let rest = first.split_once(before).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split([' ', '/']).next()?.parse::<u16>().ok())
        };
        if let Some(millis) = words("/wait/") {
            tokio::time::sleep(Duration::from_millis(millis.into())).await;
        }
        let fields: String = [
            ("for", "x-forwarded-for:"),
            ("proto", "x-forwarded-proto:"),
            ("host", "host:"),
        ]
        .map(|(key, name)| format!("{key}={}\n", header(name)))
        .concat();
        let body = format!("{seen}asked={first}\n{fields}expect={waits}\nbytes={length}\n");
        let status = words("/status/").unwrap_or(200);
        let text = format!(
            "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).await?;
        if header("connection:") == "close" {
            return Ok(());
        }
    }
}
