//! One question to one worker through its own listener: the loopback address that its socket is bound to. Access lists do not
//! apply there, since the kernel programs enforce them for VIPs only.
//!
//! An answer is good when it shows that a client would be served: the worker presents a certificate, and the storage answers,
//! if only with "forbidden". A 503 is good from the storage (SlowDown) and bad from HAProxy.
//! HAProxy logs no requests, so probes stay out of its log; its counters do count them.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::Trouble;
use crate::announce::gate::loopback;

/// How many bytes of an answer are read, since only its head counts.
const LONGEST: u64 = 64 << 10;

/// A listener of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    pub address: SocketAddr,
    pub tls: bool,
    /// If not, bytes go through and nothing can be asked: a connection that opens is enough.
    pub http: bool,
    /// The port that clients use, for messages.
    pub port: u16,
}

/// What is asked, and what answer is good.
#[derive(Clone, Debug)]
pub struct Question {
    path: String,
    /// First and last of each range.
    status: Vec<(u16, u16)>,
    sni: Option<String>,
    /// For the whole question.
    timeout: Duration,
    tls: Arc<ClientConfig>,
}

/// What failed at a listener.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("port {port}: connect: {source}")]
    Connect { port: u16, source: io::Error },
    #[error("port {port}: TLS handshake: {source}")]
    Tls { port: u16, source: io::Error },
    #[error("port {port}: request: {source}")]
    Exchange { port: u16, source: io::Error },
    #[error("port {port}: no {what} within {patience:?}")]
    Slow {
        port: u16,
        what: &'static str,
        patience: Duration,
    },
    #[error("port {port}: the answer is not HTTP")]
    Garbled { port: u16 },
    #[error("port {port}: status {status}")]
    Status { port: u16, status: u16 },
    #[error("TLS for probes: {0}")]
    Client(rustls::Error),
}

impl Error {
    /// Whether the failure is the worker's or this node's.
    pub(super) fn trouble(&self) -> Trouble {
        match self {
            Self::Connect { source, .. }
            | Self::Tls { source, .. }
            | Self::Exchange { source, .. } => Trouble::of(source, self.to_string()),
            Self::Slow { .. } | Self::Garbled { .. } | Self::Status { .. } | Self::Client(_) => {
                Trouble::Bad(self.to_string())
            }
        }
    }
}

impl Question {
    /// A question by these settings.
    pub fn new(settings: &crate::config::sections::gate::Gate) -> Result<Self, Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut tls = config
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(Error::Client)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Presented))
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A full handshake each time, as a new client makes one.
        tls.resumption = Resumption::disabled();
        Ok(Self {
            path: settings.path.clone(),
            status: settings.status.clone(),
            sni: settings.sni.clone(),
            timeout: settings.timeout,
            tls: Arc::new(tls),
        })
    }

    /// The limit for a whole probe.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks at one listener.
    pub async fn ask(&self, target: ProbeTarget) -> Result<(), Error> {
        let port = target.port;
        let until = Instant::now() + self.timeout;
        let slow = |what| {
            move |_| Error::Slow {
                port,
                what,
                patience: self.timeout,
            }
        };
        let tcp = timeout_at(until, loopback::connect(target.address))
            .await
            .map_err(slow("connection"))?
            .map_err(|source| Error::Connect { port, source })?;
        let answer = if target.tls {
            let handshake =
                TlsConnector::from(Arc::clone(&self.tls)).connect(self.name(target), tcp);
            let tls = timeout_at(until, handshake)
                .await
                .map_err(slow("TLS handshake"))?
                .map_err(|source| Error::Tls { port, source })?;
            if !target.http {
                return Ok(());
            }
            timeout_at(until, self.exchange(target, tls)).await
        } else if !target.http {
            return Ok(());
        } else {
            timeout_at(until, self.exchange(target, tcp)).await
        };
        let answer = answer
            .map_err(slow("answer"))?
            .map_err(|source| Error::Exchange { port, source })?;
        self.judge(port, &answer)
    }

    /// An address is never sent as a server name.
    fn name(&self, target: ProbeTarget) -> ServerName<'static> {
        let named = self.sni.clone().and_then(|sni| sni.try_into().ok());
        named.unwrap_or_else(|| ServerName::IpAddress(target.address.ip().into()))
    }

    async fn exchange<S>(&self, target: ProbeTarget, mut stream: S) -> io::Result<Vec<u8>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // An address as the host: a name might be taken for a bucket by servers with virtual-hosted buckets.
        let host = match (&self.sni, target.address) {
            (Some(sni), _) => sni.clone(),
            (None, SocketAddr::V4(_)) => "127.0.0.1".to_owned(),
            (None, SocketAddr::V6(_)) => "[::1]".to_owned(),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ober-user\r\nConnection: close\r\n\r\n",
            self.path
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        match stream.take(LONGEST).read_to_end(&mut answer).await {
            // The worker closed without TLS's close_notify. Only the head counts, and that is complete or not.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            Ok(_) | Err(_) => Ok(answer),
        }
    }

    fn judge(&self, port: u16, answer: &[u8]) -> Result<(), Error> {
        let Head { status, storage } = head(answer).ok_or(Error::Garbled { port })?;
        let listed = self
            .status
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&status));
        let slow_down = status == 503 && storage;
        // HAProxy's own 503 says that it has no server, even if 503 is on the list.
        if slow_down || (listed && status != 503) {
            Ok(())
        } else {
            Err(Error::Status { port, status })
        }
    }
}

/// The part of an answer that counts.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// The storage answered: with XML, or with S3's request id.
    storage: bool,
}

fn head(answer: &[u8]) -> Option<Head> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = answer.get(..end)?.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let status = first.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let storage = lines.any(|line| {
        let line = line.to_ascii_lowercase();
        let xml = line.windows(4).any(|word| word == b"/xml");
        line.starts_with(b"x-amz-request-id:") || (line.starts_with(b"content-type:") && xml)
    });
    Some(Head {
        status: status.trim().parse().ok()?,
        storage,
    })
}

/// Accepts any certificate. A gate asks whether clients are served, and a VIP must not vanish from all nodes in the second in
/// which its certificate expires.
#[derive(Debug)]
struct Presented;

impl ServerCertVerifier for Presented {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Also schemes that this program could not verify, since workers serve keys of all kinds.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::ED448,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::sections::gate::Gate;

    fn good(answer: &str) -> bool {
        let question = Question::new(&Gate {
            status: vec![(200, 299), (403, 404), (500, 599)],
            ..Gate::default()
        });
        question.unwrap().judge(443, answer.as_bytes()).is_ok()
    }

    #[test]
    fn a_probe_accepts_listed_statuses_and_a_503_only_if_the_storage_sent_it() {
        for status in [200, 299, 403, 404, 500, 502] {
            assert!(
                good(&format!("HTTP/1.1 {status} Word\r\na: b\r\n\r\n")),
                "{status}"
            );
        }
        for status in [100, 300, 402, 405, 503] {
            assert!(
                !good(&format!("HTTP/1.1 {status} Word\r\na: b\r\n\r\n")),
                "{status}"
            );
        }
        for header in [
            "Content-Type: application/xml",
            "content-type: text/xml;charset=utf-8",
            "x-amz-request-id: tx1",
        ] {
            assert!(
                good(&format!("HTTP/1.1 503 Slow Down\r\n{header}\r\n\r\n")),
                "{header}"
            );
        }
        for header in ["content-type: text/html", "x-word: /xml"] {
            assert!(
                !good(&format!("HTTP/1.1 503 Word\r\n{header}\r\n\r\n")),
                "{header}"
            );
        }
        let html = "HTTP/1.1 503 Word\r\n\r\ncontent-type: application/xml\r\n\r\n";
        assert!(!good(html), "a body is no header");
        assert!(!good(""));
        assert!(!good("SSH-2.0-x\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn reading_an_arbitrary_response_head_never_panics(tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            head(&tail);
            head(&[b"HTTP/1.1 200 OK\r\n", tail.as_slice(), b"\r\n\r\n"].concat());
        }
    }
}
