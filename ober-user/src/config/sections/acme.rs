//! `[acme]`: certificates issued automatically by an authority, RFC 8555.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{program, tls_client};
use crate::{
    config::{
        Access, Listener, Protocol, Rule, Service,
        judge::Judge,
        text::{
            notation::{At, Key, Period, Secret},
            secret::Kind,
            source::{Fault, Span},
        },
    },
    system::{command::Program, file, tls::Tls, url::Url},
};

const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
const ROUTE53: &str = "https://route53.amazonaws.com";
/// The port that an authority asks (RFC 8555 section 8.3).
const HTTP: u16 = 80;

const SECRET_KEY: Kind = Kind {
    key: "secret_key",
    what: "the secret key",
    make: "put the secret access key alone into it: `(umask 077; cat > FILE)`",
};

/// An account with an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// URL of the authority's directory.
    pub directory: String,
    /// TLS to the authority's server.
    pub tls: Tls,
    /// `mailto:` addresses that the authority may write to.
    pub contact: Vec<String>,
    /// The account's key; `None`: generated at the first start and kept in the state directory.
    pub account_key: Option<PathBuf>,
    pub challenge: Challenge,
}

impl Acme {
    /// Does the authority ask port 80?
    pub fn by_http(&self) -> bool {
        self.challenge == Challenge::Http
    }
}

/// How the node proves that it controls the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By an answer on port 80, RFC 8555 section 8.3.
    Http,
    /// By a TXT record, section 8.4.
    Dns(Dns),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    pub provider: Provider,
    /// Time until every name server has a new record.
    pub wait: Duration,
}

/// Sets the DNS records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Calls `program arguments… set NAME VALUE`, and `clear NAME VALUE` afterwards.
    Exec(Program),
    Route53(Route53),
}

/// A hosted zone of AWS Route 53.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route53 {
    pub url: Url,
    pub zone: String,
    pub access_key: String,
    pub secret_key: SecretKey,
}

/// A secret that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(pub String);

impl fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SecretKey(secret)")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "AcmeChallenge")]
enum Challenges {
    #[default]
    #[serde(rename = "http-01")]
    Http,
    #[serde(rename = "dns-01")]
    Dns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "DnsProvider")]
enum Providers {
    Exec,
    Route53,
}

/// An authority that issues certificates by ACME (RFC 8555), for listeners with `acme`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Acme")]
pub(crate) struct Raw {
    /// URL of its directory; left out: that of Let's Encrypt.
    directory: Key<String>,
    /// Whether you agree to its terms of service. Must be `true`.
    terms_agreed: Key<bool>,
    /// Addresses it may write to, such as `"mailto:ops@example.org"`.
    contact: Vec<At<String>>,
    /// A file with the account's key, ECDSA P-256 in PKCS#8 PEM; left out: made at the first start. Nodes that share names
    /// and `http-01` must share it.
    account_key_file: Key<String>,
    /// How this node shows that it controls the names: `http-01` by port 80, `dns-01` by a record.
    challenge: Key<Challenges>,
    /// TLS to the authority's server.
    tls: Option<At<tls_client::Raw>>,
    /// The provider that sets records for `dns-01`.
    dns: Option<At<RawDns>>,
}

/// The provider that sets the TXT records for `dns-01`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AcmeDns")]
pub(super) struct RawDns {
    /// `exec` a program, or `route53`. Must be written.
    provider: Key<Providers>,
    /// Until a new record is on every name server of the zone.
    wait: Key<Period>,
    /// `exec`: program and arguments; `set NAME VALUE` and `clear NAME VALUE` are added.
    command: Vec<At<String>>,
    /// `exec`: the account that runs the program; the default is the account `nobody`.
    user: Key<String>,
    /// `exec`: a file whose content it gets, not readable by every account.
    secret_file: Key<String>,
    /// `route53`: id of the hosted zone.
    zone: Key<String>,
    /// `route53`: id of the access key.
    access_key: Key<String>,
    /// `route53`: the secret access key, as `"${NAME}"`.
    secret_key: Key<Secret>,
    /// `route53`: a file that holds it, not readable by every account.
    secret_key_file: Key<String>,
    /// `route53`: where it is; left out: AWS.
    url: Key<String>,
}

/// The ACME names of a listener, and their place in the file.
pub(crate) type Names = At<Vec<String>>;

impl Judge<'_> {
    /// `issued`: the names that listeners want certificates for.
    pub(crate) fn acme(
        &mut self,
        raw: Option<At<Raw>>,
        issued: &[Names],
        services: &[Service],
    ) -> Option<Acme> {
        let Some(At { value: raw, span }) = raw else {
            if let Some(names) = issued.first() {
                let message = "`acme` names certificates to be issued, but there is no [acme]";
                let help = "add `[acme]` with `terms_agreed = true`";
                self.refuse(Fault::new(names.span.clone(), message).help(help));
            }
            return None;
        };
        if !raw.terms_agreed.0.as_ref().is_some_and(|at| at.value) {
            let place = raw.terms_agreed.span().or(Some(span.clone()));
            let help = "read them, and write `terms_agreed = true`";
            let message = "an authority issues nothing unless its terms of service are agreed to";
            self.refuse(Fault::new(place, message).help(help));
        }
        let challenge = match (raw.challenge.or(Challenges::Http), raw.dns) {
            (Challenges::Http, None) => {
                self.answerable(issued, services);
                Challenge::Http
            }
            (Challenges::Http, Some(dns)) => {
                let message = "[acme.dns] has no meaning with `challenge = \"http-01\"`";
                self.refuse(Fault::new(dns.span, message).help("write \"dns-01\" or remove it"));
                Challenge::Http
            }
            (Challenges::Dns, Some(dns)) => Challenge::Dns(self.dns(dns)?),
            (Challenges::Dns, None) => {
                let message = "`dns-01` needs a program or a provider that sets records";
                let help = "add `[acme.dns]` with `provider = \"exec\"` or \"route53\"";
                self.refuse(Fault::new(span, message).help(help));
                return None;
            }
        };
        Some(Acme {
            directory: self.web("directory", raw.directory, DIRECTORY).1,
            tls: self.tls(raw.tls.map(|at| at.value).unwrap_or_default()),
            contact: raw.contact.into_iter().map(|at| at.value).collect(),
            account_key: raw
                .account_key_file
                .0
                .map(|at| self.existing("account_key_file", at, file::Kind::Certificate)),
            challenge,
        })
    }

    fn web(&mut self, name: &str, key: Key<String>, default: &str) -> (Option<Url>, String) {
        let span = key.span();
        let text = key.or(default.to_owned());
        let url = Url::read(&text).filter(|url| text.starts_with("http") && !url.path.is_empty());
        if url.is_none() {
            let message = format!("`{name}` is `{text}`, which is no URL");
            self.refuse(Fault::new(span, message).help("such as \"https://acme.test/directory\""));
        }
        (url, text)
    }

    fn dns(&mut self, At { value: raw, span }: At<RawDns>) -> Option<Dns> {
        let Some(At {
            value: provider, ..
        }) = raw.provider.0
        else {
            let message = "[acme.dns] without `provider`";
            self.refuse(Fault::new(span, message).help("`exec` or `route53`"));
            return None;
        };
        self.foreign(provider, &raw);
        let wait = match provider {
            Providers::Exec => Duration::from_secs(10),
            // Route 53 reports when every name server has a record.
            Providers::Route53 => Duration::ZERO,
        };
        let wait = self.period_or_none("wait", raw.wait.clone(), wait);
        let provider = match provider {
            Providers::Exec => {
                let written = program::RawProgram {
                    command: raw.command,
                    user: raw.user,
                    secret_file: raw.secret_file,
                };
                Provider::Exec(self.program("a provider", written, Some(span)))
            }
            Providers::Route53 => Provider::Route53(self.route53(raw, &span)?),
        };
        Some(Dns { provider, wait })
    }

    /// Refuses keys of the other provider.
    fn foreign(&mut self, provider: Providers, raw: &RawDns) {
        let written = [
            (
                "command",
                Providers::Exec,
                raw.command.first().map(|at| at.span.clone()),
            ),
            ("user", Providers::Exec, raw.user.span()),
            ("secret_file", Providers::Exec, raw.secret_file.span()),
            ("zone", Providers::Route53, raw.zone.span()),
            ("access_key", Providers::Route53, raw.access_key.span()),
            ("secret_key", Providers::Route53, raw.secret_key.span()),
            (
                "secret_key_file",
                Providers::Route53,
                raw.secret_key_file.span(),
            ),
            ("url", Providers::Route53, raw.url.span()),
        ];
        for (key, of, span) in written {
            if let (true, Some(span)) = (of != provider, span) {
                let message = format!("`{key}` has no meaning with this provider");
                self.refuse(Fault::new(span, message).help("remove it, or name the other one"));
            }
        }
    }

    fn route53(&mut self, raw: RawDns, span: &Span) -> Option<Route53> {
        let mut word = |name: &str, key: Key<String>, example: &str| {
            let plain = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let at = key
                .0
                .map(|at| at.value)
                .filter(|text| !text.is_empty() && plain(text));
            if at.is_none() {
                let message = format!("`{name}` is missing in [acme.dns], or is no such thing");
                self.refuse(Fault::new(span.clone(), message).help(format!("such as {example}")));
            }
            at
        };
        let zone = word("zone", raw.zone, "\"Z0123456789ABC\"");
        let access_key = word("access_key", raw.access_key, "\"AKIAIOSFODNN7EXAMPLE\"");
        let secret = self.secret(&SECRET_KEY, raw.secret_key, raw.secret_key_file);
        if secret.is_none() {
            let message = "[acme.dns] has neither `secret_key` nor `secret_key_file`";
            self.refuse(Fault::new(span.clone(), message).help("name one of them"));
        }
        Some(Route53 {
            url: self.web("url", raw.url, ROUTE53).0?,
            zone: zone?,
            access_key: access_key?,
            secret_key: SecretKey(secret?.text.trim().to_owned()),
        })
    }

    /// Can the authority reach port 80 of every VIP that these names may lead to?
    fn answerable(&mut self, issued: &[Names], services: &[Service]) {
        for At { value: names, span } in issued {
            if let Some(name) = names.iter().find(|name| name.starts_with('*')) {
                let message = format!("no authority issues `{name}` by `http-01`");
                let help = "`challenge = \"dns-01\"`, or name the hosts one by one";
                self.refuse(Fault::new(span.clone(), message).help(help));
            }
            let wants = |service: &&Service| {
                let mut own = service
                    .listeners
                    .iter()
                    .filter_map(|it| it.protocol.termination());
                own.any(|tls| tls.acme == *names)
            };
            let mut vips = services
                .iter()
                .filter(wants)
                .flat_map(|service| &service.vips);
            if let Some((vip, why)) = vips.find_map(|vip| closed(*vip, services)) {
                let message = format!(
                    "the authority could not come to port {HTTP} of VIP {vip}, where `http-01` is answered: {why}"
                );
                let help = "`challenge = \"dns-01\"` needs no port; or a plain http listener there with \
                            `access = \"open\"`, which may have `redirect_https`";
                self.refuse(Fault::new(span.clone(), message).help(help));
            }
        }
    }
}

/// Why some clients cannot request every path on port 80 of this VIP.
fn closed(vip: IpAddr, services: &[Service]) -> Option<(IpAddr, &'static str)> {
    let here = services
        .iter()
        .filter(|service| service.vips.contains(&vip));
    let mut listeners = here.flat_map(|service| &service.listeners);
    let listener = listeners.find(|listener| listener.port.get() == HTTP);
    let why = match listener {
        None => "nothing listens there",
        Some(Listener {
            protocol: Protocol::Http { .. },
            access: Access::Open,
            rules,
            ..
        }) if !rules.iter().any(Rule::by_address) => return None,
        Some(Listener {
            protocol: Protocol::Http { .. },
            ..
        }) => "it is for listed clients only, and the kernel drops the packets of others",
        Some(_) => "what listens there speaks no HTTP",
    };
    Some((vip, why))
}
