//! TLS as a client: for checks and for sources behind `https`. Who is at the other end is verified unless the
//! configuration says otherwise.

use std::{io, path::Path, path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject as _},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::system::file::{self, Kind};

/// How the other end is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub verify: Verify,
    /// The name to ask for and to verify; `None`: that of the server. One without is held to its address by the system's
    /// authorities, and to no name by those that are written.
    pub name: Option<String>,
    /// A PEM file with certificate and key to show.
    pub identity: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verify {
    Nobody,
    /// By the authorities the system trusts.
    System,
    /// By those in this PEM file.
    Authority(PathBuf),
}

/// Where Debian and Red Hat keep the certificates of the authorities everybody trusts.
const SYSTEM: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read certificates from {}: {source}", path.display())]
    Read { path: PathBuf, source: pem::Error },
    #[error(
        "find the system's certificates: there is none of {}; install ca-certificates or write `ca`",
        SYSTEM.join(", ")
    )]
    NoSystem,
    #[error("trust the certificates in {}: none of them can be used as an authority", path.display())]
    NoAuthority { path: PathBuf },
    #[error("set TLS up: {0}")]
    Setup(#[from] rustls::Error),
    #[error("set the verification of certificates up: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    #[error("{0} is no name a certificate could have")]
    Name(String),
    #[error("TLS: {0}")]
    Handshake(io::Error),
}

/// The side of a client. Reads the files it names. Without a name to look for, a certificate is only held to authorities
/// that are written; those of the system vouch for every host, so it must be for the address.
pub fn client(tls: &Tls, named: bool) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier(&tls.verify, named, provider)?);
    let Some(path) = &tls.identity else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let unreadable = |source| Error::Read {
        path: path.clone(),
        source,
    };
    let key = PrivateKeyDer::from_pem_slice(&read(path, Kind::Certificate)?).map_err(unreadable)?;
    Ok(Arc::new(
        builder.with_client_auth_cert(certificates(path)?, key)?,
    ))
}

fn verifier(
    verify: &Verify,
    named: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let authorities = match verify {
        Verify::Nobody => return Ok(Arc::new(Anybody(provider))),
        Verify::System => system()?,
        Verify::Authority(path) => authorities(path)?,
    };
    let web = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider);
    let web = web.build()?;
    let held = named || *verify == Verify::System;
    Ok(if held { web } else { Arc::new(Unnamed(web)) })
}

/// Greets the other end as `name`, an address or a host name.
pub async fn connect<S>(
    config: Arc<ClientConfig>,
    name: &str,
    stream: S,
) -> Result<TlsStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(server) = ServerName::try_from(name.to_owned()) else {
        return Err(Error::Name(name.to_owned()));
    };
    let connected = TlsConnector::from(config).connect(server, stream).await;
    connected.map_err(Error::Handshake)
}

/// Whether a chain, its own certificate first, leads to an authority of this store, at that time.
pub fn vouched(
    authorities: RootCertStore,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Error> {
    let Some((own, others)) = chain.split_first() else {
        return Err(rustls::Error::NoCertificatesPresented.into());
    };
    let provider = Arc::new(ring::default_provider());
    let web = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider);
    // The name is looked at last and does not matter here.
    let nobody = ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into());
    Unnamed(web.build()?).verify_server_cert(own, others, &nobody, &[], now)?;
    Ok(())
}

fn read(path: &Path, kind: Kind) -> Result<Vec<u8>, Error> {
    file::read(path, kind).map_err(|source| Error::Read {
        path: path.to_owned(),
        source: pem::Error::Io(source),
    })
}

/// The certificates of a PEM file, in its order.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path, Kind::Authorities)?;
    let certificates: Result<_, _> = CertificateDer::pem_slice_iter(&text).collect();
    certificates.map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    // One of a hundred that a strict reader refuses must not cost the others.
    let (added, _) = store.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(Error::NoAuthority {
            path: path.to_owned(),
        });
    }
    Ok(store)
}

/// The authorities this machine trusts.
pub fn system() -> Result<RootCertStore, Error> {
    let found = SYSTEM.iter().map(Path::new).find(|path| path.exists());
    authorities(found.ok_or(Error::NoSystem)?)
}

/// Somebody the authorities vouch for, whatever the name.
#[derive(Debug)]
struct Unnamed(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match self
            .0
            .verify_server_cert(certificate, chain, name, stapled, now)
        {
            // The name is looked at last, so all the rest is well.
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// `verify = false`: any certificate will do, but whoever shows it must hold its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
