//! TLS of listeners, and TLS to the servers of backends.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        judge::Judge,
        paths,
        text::{
            notation::{At, Key},
            source::{Fault, Span},
        },
    },
    names::{
        hostlist::{Cap, Host, NoSources, expand_servers},
        server_line::ServerTerms,
    },
    system::{
        file,
        pem::{bundle::Bundle, copy::kept},
    },
};

/// The most servers of one expression that are examined.
const MOST: usize = 100_000;

/// A version of TLS, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum Version {
    #[serde(rename = "1.0")]
    V10,
    #[serde(rename = "1.1")]
    V11,
    #[serde(rename = "1.2")]
    V12,
    #[serde(rename = "1.3")]
    V13,
}

/// The range of versions and ciphers of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub min: Version,
    /// `None`: the newest version of the library.
    pub max: Option<Version>,
    /// Up to TLS 1.2, in OpenSSL's notation; `None`: the library's.
    pub ciphers: Option<String>,
    /// For TLS 1.3, in OpenSSL's notation; `None`: the library's.
    pub suites: Option<String>,
}

/// TLS that a listener terminates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// PEM files of chain and key, and directories of them. Clients whose name has no certificate get the first.
    pub certificates: Vec<PathBuf>,
    /// Names of one more certificate, to be issued by ACME; empty: none.
    pub acme: Vec<String>,
    pub terms: Terms,
    /// May sessions be resumed by tickets?
    pub tickets: bool,
    /// Protocols offered, best first; may be empty.
    pub alpn: Vec<String>,
}

impl Termination {
    /// Are clients offered HTTP/2?
    pub fn offers_h2(&self) -> bool {
        self.alpn.iter().any(|it| it == "h2")
    }

    /// Where the certificate for the names in `acme` is stored after it has been issued.
    pub fn issued(&self, state: &Path) -> Option<PathBuf> {
        paths::issued(state, &self.acme)
    }
}

/// TLS to the servers of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToServers {
    /// Authorities that must have signed the server's certificate; `None`: it is not verified.
    pub verify: Option<Authorities>,
    /// PEM file of the certificate and key shown to servers.
    pub certificate: Option<PathBuf>,
    /// Requested by SNI and expected in the certificate; `None`: the server's host name, if it has one.
    pub server_name: Option<String>,
    pub terms: Terms,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// The authorities that the machine trusts.
    System,
    /// A PEM file of authorities.
    File(PathBuf),
    /// A file that is missing, which was forgiven: until it exists no certificate is accepted.
    Missing(PathBuf),
}

/// TLS of a listener with a certificate.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ListenerTls")]
pub(crate) struct Raw {
    /// Oldest version accepted: `1.0`, `1.1`, `1.2` or `1.3`.
    min_version: Key<Version>,
    /// Newest version accepted; left out: the newest there is.
    max_version: Key<Version>,
    /// Ciphers up to TLS 1.2, as OpenSSL names them; left out: the library's.
    ciphers: Key<String>,
    /// Cipher suites of TLS 1.3; left out: the library's.
    suites: Key<String>,
    /// Whether clients may resume sessions by tickets.
    tickets: Key<bool>,
    /// Protocols offered by ALPN, best first; left out: `http/1.1` for https, none for tls. `h2` needs
    /// HAProxy 3.0.11 or newer of 3.0, or 3.2.
    alpn: Option<Vec<At<String>>>,
}

/// TLS to the servers. Written, even if empty: servers speak TLS.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "BackendTls")]
pub(crate) struct RawToServers {
    /// Whether a server must show a certificate that is trusted.
    verify: Key<bool>,
    /// PEM file of trusted authorities; left out: those of the machine.
    ca: Key<String>,
    /// PEM file of certificate and key to show to servers.
    certificate: Key<String>,
    /// Name to ask for and to find in the certificate; left out: the host name the server is written with.
    server_name: Key<String>,
    /// Oldest version accepted.
    min_version: Key<Version>,
    /// Newest version accepted; left out: the newest there is.
    max_version: Key<Version>,
    /// Ciphers up to TLS 1.2, as OpenSSL names them; left out: the library's.
    ciphers: Key<String>,
    /// Cipher suites of TLS 1.3; left out: the library's.
    suites: Key<String>,
}

impl Judge<'_> {
    /// `http`: the default of `alpn` is `http/1.1`.
    pub(super) fn termination(
        &mut self,
        certificates: Vec<At<String>>,
        acme: Vec<At<String>>,
        raw: Raw,
        http: bool,
    ) -> Termination {
        let offered = match (raw.alpn, http) {
            (Some(written), _) => written.into_iter().map(|at| self.alpn(at)).collect(),
            (None, true) => vec!["http/1.1".to_owned()],
            (None, false) => Vec::new(),
        };
        Termination {
            certificates: certificates
                .into_iter()
                .map(|at| self.certificate(at))
                .collect(),
            acme: self.acme_names(acme),
            terms: self.terms(raw.min_version, raw.max_version, raw.ciphers, raw.suites),
            tickets: raw.tickets.or(true),
            alpn: offered,
        }
    }

    pub(super) fn server_tls(&mut self, raw: RawToServers) -> ToServers {
        let verified = raw.verify.or(true);
        if let (false, Some(span)) = (verified, raw.ca.span()) {
            let help = "remove `ca`, or `verify = false`";
            self.refuse(Fault::new(span, "`ca` is of no use without `verify`").help(help));
        }
        let authorities = raw.ca.0.map_or(Authorities::System, |at| {
            let (span, path) = (at.span.clone(), self.word_path(at));
            let before = self.forgiven();
            self.readable("ca", &path, file::Kind::Authorities, span);
            if self.forgiven() == before {
                Authorities::File(path)
            } else {
                Authorities::Missing(path)
            }
        });
        ToServers {
            verify: verified.then_some(authorities),
            certificate: raw.certificate.0.map(|at| self.certificate(at)),
            server_name: raw
                .server_name
                .0
                .map(|at| self.host_name("server_name", at)),
            terms: self.terms(raw.min_version, raw.max_version, raw.ciphers, raw.suites),
        }
    }

    /// The machine's authorities vouch for every host, so the server's certificate must be held to a name.
    pub(super) fn held_to_names(&mut self, servers: &[At<String>], tls: &RawToServers) {
        let verified = tls.verify.0.as_ref().is_none_or(|at| at.value);
        if !verified || tls.ca.0.is_some() || tls.server_name.0.is_some() {
            return;
        }
        for at in servers {
            if let Some(address) = first_address(&at.value) {
                let message = format!(
                    "`{address}` has no name to hold its certificate to: the machine's authorities sign \
                     certificates of any name"
                );
                let help = "write `server_name`, the `ca` that signs your servers' certificates, host names as servers, or \
                            `verify = false`";
                self.refuse(Fault::new(at.span.clone(), message).help(help));
            }
        }
    }

    fn certificate(&mut self, at: At<String>) -> PathBuf {
        let value = self.path(&at.value);
        self.certificates.push(At {
            value: value.clone(),
            span: at.span,
        });
        value
    }

    /// A file without chain or key is a fault unless the run directory has a copy of an earlier, good one, which stays in use.
    /// Whether chain and key fit is checked when the copy is made.
    pub(crate) fn certificates(&mut self, run: &Path) {
        for At { value: path, span } in std::mem::take(&mut self.certificates) {
            if path.is_dir() || kept(&paths::copy(run, &path)).is_some() {
                continue;
            }
            if let Err(error) = Bundle::read(&path) {
                let fault = Fault::new(span, error.to_string()).help(error.fix());
                self.refuse(fault.outside());
            }
        }
    }

    fn acme_names(&mut self, written: Vec<At<String>>) -> Vec<String> {
        let span = written.first().map(|at| at.span.clone());
        let names = written.into_iter().map(|at| {
            let name = at.value.to_ascii_lowercase();
            let label = |label: &str| {
                let good = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-';
                !label.is_empty() && label.len() < 64 && label.bytes().all(good)
            };
            let plain = name.strip_prefix("*.").unwrap_or(&name);
            if !plain.contains('.') || !plain.split('.').all(label) {
                let message = format!("`{name}` is no host name a certificate could be issued for");
                let help = "such as \"s3.example.org\" or \"*.s3.example.org\"";
                self.refuse(Fault::new(at.span, message).help(help));
            }
            name
        });
        // Names in another order mean the same certificate.
        let names: BTreeSet<String> = names.collect();
        let names: Vec<String> = names.into_iter().collect();
        if let Some(span) = span {
            self.issued.push(At {
                value: names.clone(),
                span,
            });
        }
        names
    }

    pub(super) fn readable(&mut self, key: &str, path: &Path, kind: file::Kind, span: Span) {
        if let Err(error) = file::open(path, kind) {
            let message = format!("`{key}` {}: {error}", path.display());
            let fault = Fault::new(span, message).help("correct the path or leave the key out");
            self.refuse(fault.outside());
        }
    }

    fn terms(
        &mut self,
        min: Key<Version>,
        max: Key<Version>,
        ciphers: Key<String>,
        suites: Key<String>,
    ) -> Terms {
        let span = max.span();
        let terms = Terms {
            min: min.or(Version::V12),
            max: max.0.map(|at| at.value),
            ciphers: ciphers.0.map(|at| self.cipher_list("ciphers", at)),
            suites: suites.0.map(|at| self.cipher_list("suites", at)),
        };
        if terms.max.is_some_and(|max| max < terms.min) {
            let help = "the default of `min_version` is \"1.2\"";
            let message = "`max_version` is older than `min_version`";
            self.refuse(Fault::new(span, message).help(help));
        }
        terms
    }

    fn cipher_list(&mut self, key: &str, at: At<String>) -> String {
        let good = |letter: u8| letter.is_ascii_alphanumeric() || b"-_:+!@=.".contains(&letter);
        if at.value.is_empty() || !at.value.bytes().all(good) {
            let message = format!("`{key}` is `{}`, but must be names joined by `:`", at.value);
            let help = "`openssl ciphers -s` prints those of this machine";
            self.refuse(Fault::new(at.span, message).help(help));
        }
        at.value
    }

    fn alpn(&mut self, at: At<String>) -> String {
        let good = |letter: u8| letter.is_ascii_graphic() && !b",\"'\\#$".contains(&letter);
        if at.value.is_empty() || !at.value.bytes().all(good) {
            let message = format!("`{}` is no protocol of ALPN", at.value);
            self.refuse(Fault::new(at.span, message).help("such as \"h2\" or \"http/1.1\""));
        }
        at.value
    }
}

/// The first server of an expression that is given by address.
fn first_address(expression: &str) -> Option<IpAddr> {
    let (servers, _) = ServerTerms::split(expression).ok()?;
    let hosts = expand_servers(servers, NonZeroU16::MIN, Cap::new(MOST), &mut NoSources).ok()?;
    hosts.into_iter().find_map(|server| match server.host {
        Host::Addr(address) => Some(address),
        Host::Name(_) => None,
    })
}
