//! A certificate authority for one laboratory.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result};
use ober_user::system::tls::{Tls, Verify};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    version,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::lab::Host;

/// Signs server certificates that only clients of the same laboratory trust.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params
            .distinguished_name
            .push(DnType::CommonName, "ober laboratory");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)
            .context("make the authority")?;
        Ok(Self { issuer })
    }

    /// A server certificate for these addresses: chain and key in one PEM text, as HAProxy reads it.
    pub fn server(&self, addresses: &[IpAddr]) -> Result<String> {
        let names = addresses.iter().map(ToString::to_string).collect();
        self.issue(names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same for host names and addresses.
    pub fn server_named(&self, names: &[String]) -> Result<String> {
        self.issue(names.to_vec(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client to show, chain and key in one PEM text.
    pub fn for_client(&self) -> Result<String> {
        let names = vec!["client.ober.test".to_owned()];
        self.issue(names, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server certificate that ended in the year 2020.
    pub fn expired(&self, addresses: &[IpAddr]) -> Result<String> {
        let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn issue(&self, names: Vec<String>, purpose: ExtendedKeyUsagePurpose) -> Result<String> {
        self.sign(CertificateParams::new(names)?, purpose)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<String> {
        params
            .distinguished_name
            .push(DnType::CommonName, "s3.ober.test");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("sign the server certificate")?;
        Ok(format!(
            "{}{}{}",
            certificate.pem(),
            self.issuer.pem(),
            key.serialize_pem()
        ))
    }

    /// The authority's own certificate, for `curl --cacert`.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// This authority's certificate alone, as what is trusted.
    pub fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        Ok(roots)
    }

    /// The settings of a client that trusts this authority alone. Sessions are not resumed: each connection of a load is to
    /// cost a whole handshake.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let roots = self.roots()?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The certificate that a server shows a client on this host; `name` is sent as SNI, or none.
pub fn shown(
    host: &Host,
    address: SocketAddr,
    name: Option<&str>,
) -> Result<CertificateDer<'static>> {
    let anybody = Tls {
        verify: Verify::None,
        name: None,
        identity: None,
    };
    // A new one for each handshake: a resumed session shows the certificate of its first handshake.
    let config = ober_user::system::tls::client(&anybody, false)?;
    let name = match name {
        Some(name) => ServerName::try_from(name.to_owned())?,
        None => ServerName::IpAddress(address.ip().into()),
    };
    host.tokio(async || {
        let stream = TcpStream::connect(address).await?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let chain = stream.get_ref().1.peer_certificates();
        let first = chain.and_then(|chain| chain.first());
        Ok(first
            .context("no certificate is shown")?
            .clone()
            .into_owned())
    })?
}

/// The first certificate of a PEM text.
pub fn leaf(text: &str) -> Result<CertificateDer<'static>> {
    Ok(CertificateDer::from_pem_slice(text.as_bytes())?)
}
