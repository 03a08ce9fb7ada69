//! TLS as a client: for checks and for sources with `https`. The server's certificate is verified unless the configuration says
//! otherwise.

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

/// How a client connects by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub verify: Verify,
    /// The name to ask for and to verify; `None`: that of the server. For a server that has none, the system's authorities must
    /// vouch for its address, and configured ones for no particular name.
    pub name: Option<String>,
    /// A PEM file with the client's certificate and key.
    pub identity: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Any certificate is accepted.
    None,
    /// By the authorities the system trusts.
    System,
    /// By those in this PEM file.
    Authority(PathBuf),
}

/// Where Debian and Red Hat keep the certificates of public authorities.
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
    #[error("{0} is not a name that a certificate can contain")]
    Name(String),
    #[error("TLS: {0}")]
    Handshake(io::Error),
}

/// The client's side. Reads the files that `tls` names. `named`: is there a name to verify? Without one, configured authorities
/// need only vouch for the certificate, but the system's, which vouch for every host, must vouch for the address.
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
        Verify::None => return Ok(Arc::new(Unverified(provider))),
        Verify::System => system()?,
        Verify::Authority(path) => authorities(path)?,
    };
    let web =
        WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider).build()?;
    let held = named || *verify == Verify::System;
    Ok(if held { web } else { Arc::new(Unnamed(web)) })
}

/// The handshake with a server called `name`, an address or a host name.
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

/// Checks that a chain, the server's own certificate first, leads to an authority of this store, at that time.
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
    // The verifier checks the name last, and `Unnamed` ignores the result.
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
    // One certificate that a strict reader refuses must not make the others unusable.
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

/// Any certificate that the authorities vouch for, whatever its name.
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
            // The verifier checks the name last, so everything else is valid.
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

/// `verify = false`: any certificate is accepted, but the server must hold its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
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
