//! Which HAProxy is installed: its version, its TLS library, and whether it has the features that a configuration needs.

use std::{collections::BTreeSet, path::Path, time::Duration};

use super::{Error, prepare::said};
use crate::{
    config::{Config, Service},
    system::child::{Child, output::Ended},
};
use serde::{Deserialize, Serialize};

const PATIENCE: Duration = Duration::from_secs(10);
/// The oldest version that is supported.
const OLDEST: What = What::Version {
    words: "2.6 or newer",
    question: "version_atleast(2.6)",
};
const STRICT: What = What::Version {
    words: "3.2 or newer",
    question: "version_atleast(3.2)",
};
/// The versions whose HTTP/2 is correct. When the server closes after it got a request, 2.6.12 tells a client of HTTP/2
/// that the request was not processed, so that clients repeat it by themselves; and it ends a chunked answer that the
/// server cut short as if it were complete. 3.0.11 and 3.2.26 were tried with `http-reuse never` and do neither.
const HTTP2: What = What::Version {
    words: "3.0.11 or newer of 3.0, or 3.2 or newer",
    question: "version_atleast(3.2) || version_atleast(3.0.11) && !version_atleast(3.1)",
};

/// What `haproxy -vv` reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// `2.6.12-1+deb12u4`.
    pub version: String,
    /// The TLS library it runs on, as HAProxy names it; `None`: it has no TLS.
    pub tls_library: Option<String>,
    pub kind: Library,
}

/// The kind of a TLS library: OpenSSL 3.0 to 3.2 lose much of their speed to locks in a process with many threads;
/// AWS-LC does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Library {
    AwsLc,
    OpenSsl,
    Other,
}

impl std::fmt::Display for Program {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let library = self.tls_library.as_deref().unwrap_or("no TLS library");
        write!(out, "HAProxy {} with {library}", self.version)
    }
}

impl Program {
    /// Reads the output of `haproxy -vv`; `None`: it is not HAProxy's.
    pub fn read(text: &str) -> Option<Self> {
        let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
        let version = after("HAProxy version ")?.split_whitespace().next()?;
        // Since 3.0 the line says "SSL library" instead of "OpenSSL".
        let names = [
            "Running on OpenSSL version : ",
            "Running on SSL library version : ",
        ];
        let library = names.iter().find_map(|start| after(start)).map(str::trim);
        Some(Self {
            version: version.to_owned(),
            tls_library: library.map(ToOwned::to_owned),
            kind: match library {
                Some(text) if text.starts_with("AWS-LC") => Library::AwsLc,
                Some(text) if text.starts_with("OpenSSL") => Library::OpenSsl,
                Some(_) | None => Library::Other,
            },
        })
    }
}

/// Runs the program to get its version.
pub async fn probe(haproxy: &Path) -> Result<Program, Error> {
    let ended = run(haproxy, &["-vv"]).await?;
    let text = String::from_utf8_lossy(&ended.out);
    Program::read(&text).ok_or_else(|| Error::NoHaproxy {
        haproxy: haproxy.to_owned(),
    })
}

/// A key of the configuration, and what HAProxy must have for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    key: String,
    what: What,
}

/// What a key needs. `haproxy -cc` answers whether it is there; the messages about a refused text do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Version {
        words: &'static str,
        question: &'static str,
    },
    /// A feature with which HAProxy may or may not be built.
    Feature(&'static str),
}

impl What {
    fn question(self) -> String {
        match self {
            Self::Version { question, .. } => question.to_owned(),
            Self::Feature(name) => format!("feature({name})"),
        }
    }

    fn lacking(self, haproxy: &Path, key: String) -> Error {
        let haproxy = haproxy.to_owned();
        match self {
            Self::Version { words, .. } => Error::TooOld {
                haproxy,
                key,
                needed: words,
            },
            Self::Feature(feature) => Error::NotBuilt {
                haproxy,
                key,
                feature,
            },
        }
    }
}

/// What a configuration needs that not every supported version or build has. All else that is rendered is in every
/// version from HAProxy 2.6 to 3.3.
fn needs(config: &Config) -> Vec<Need> {
    let need = |key: &str, what| Need {
        key: key.to_owned(),
        what,
    };
    let mut needs = vec![
        need("ober", OLDEST),
        need("node.metrics", What::Feature("PROMEX")),
    ];
    for service in &config.services {
        let mut listeners = service.listeners.iter();
        if listeners.any(|listener| listener.protocol.termination().is_some()) {
            let key = format!("certificate of service {}", service.name);
            needs.push(need(&key, What::Feature("OPENSSL")));
        }
        let mut listeners = service.listeners.iter();
        if let Some(listener) = listeners.find(|listener| listener.protocol.offers_h2()) {
            let key = format!(
                "`alpn` with \"h2\" on port {} of service {}",
                listener.port, service.name
            );
            needs.push(need(&key, HTTP2));
        }
    }
    let used = config.services.iter().flat_map(Service::backends);
    for name in used {
        if config
            .backends
            .get(name)
            .is_some_and(|backend| backend.tls.is_some())
        {
            let key = format!("backends.{name}.tls");
            needs.push(need(&key, What::Feature("OPENSSL")));
        }
        if config
            .backends
            .get(name)
            .is_some_and(|backend| backend.strict_max_connections)
        {
            let key = format!("backends.{name}.strict_max_connections");
            needs.push(need(&key, STRICT));
        }
    }
    needs
}

/// Returns an error that names the first key for which the installed version or build lacks a feature.
pub(super) async fn suits(config: &Config) -> Result<(), Error> {
    let haproxy = &config.workers.haproxy;
    let mut asked = BTreeSet::new();
    for Need { key, what } in needs(config) {
        let question = what.question();
        if !asked.insert(question.clone()) {
            continue;
        }
        let answer = run(haproxy, &["-cc", &question]).await?;
        // HAProxy's "no" has no message. A message means that it could not answer; the check of the configuration shows it.
        if !answer.exit.success() && answer.errors.is_empty() {
            return Err(what.lacking(haproxy, key));
        }
    }
    Ok(())
}

async fn run(haproxy: &Path, arguments: &[&str]) -> Result<Ended, Error> {
    let child = Child::haproxy(haproxy).arguments(arguments);
    said(haproxy, &child, PATIENCE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_tls_library_are_read_from_old_and_new_words() {
        let debian = "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n\
             Built with OpenSSL version : OpenSSL 3.0.22 25 Aug 2026\n\
             Running on OpenSSL version : OpenSSL 3.0.19 27 Jan 2026\n";
        let new = "HAProxy version 3.3.1-abc 2026/01/01 - https://haproxy.org/\n\
             Built with SSL library version : OpenSSL 1.1.1 (compatible; AWS-LC 1.50.0)\n\
             Running on SSL library version : AWS-LC 1.50.0\n";
        let program = |version: &str, library: Option<&str>, kind| Program {
            version: version.to_owned(),
            tls_library: library.map(ToOwned::to_owned),
            kind,
        };
        for (text, expected) in [
            (
                debian,
                program(
                    "2.6.12-1+deb12u4",
                    Some("OpenSSL 3.0.19 27 Jan 2026"),
                    Library::OpenSsl,
                ),
            ),
            (
                new,
                program("3.3.1-abc", Some("AWS-LC 1.50.0"), Library::AwsLc),
            ),
            (
                "HAProxy version 3.0.0 x\n",
                program("3.0.0", None, Library::Other),
            ),
        ] {
            assert_eq!(Program::read(text), Some(expected));
        }
        assert_eq!(Program::read("nginx version: nginx/1.22.1"), None);
    }

    #[tokio::test]
    async fn a_haproxy_that_lacks_a_feature_is_refused_naming_the_key_that_needs_it() {
        let home = tempfile::tempdir().unwrap();
        let haproxy = home.path().join("haproxy");
        let text = format!(
            "[node]\ninterfaces=['in0']\n[workers]\nhaproxy='{}'\n[backends.rgw]\nservers=['10.0.0.1:80']\n\
             max_connections=9\nwhen_full='queue'\nstrict_max_connections=true\ntls.verify=false\n[[services]]\nname='s3'\nvips=['192.0.2.1']\n\
             backend='rgw'\n[[services.listeners]]\nport=80\naccess='open'\n",
            haproxy.display()
        );
        let install = |lacks: &str| {
            let script = format!("#!/bin/sh\n[ \"$2\" != '{lacks}' ]\n");
            std::fs::write(&haproxy, script).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&haproxy, mode).unwrap();
        };
        install("");
        let config = Config::parse(&text, home.path(), &crate::config::Env::default()).unwrap();
        suits(&config).await.unwrap();
        for (lacks, words) in [
            ("version_atleast(2.6)", "ober needs HAProxy 2.6 or newer"),
            (
                "feature(PROMEX)",
                "node.metrics needs HAProxy built with PROMEX",
            ),
            (
                "feature(OPENSSL)",
                "backends.rgw.tls needs HAProxy built with OPENSSL",
            ),
            (
                "version_atleast(3.2)",
                "backends.rgw.strict_max_connections needs HAProxy 3.2 or newer",
            ),
        ] {
            install(lacks);
            let refused = suits(&config).await.unwrap_err().to_string();
            assert!(refused.contains(words), "{words}: {refused}");
        }
    }

    #[tokio::test]
    async fn the_installed_haproxys_version_is_recognised() {
        let program = probe(Path::new("/usr/sbin/haproxy")).await.unwrap();
        assert!(program.version.starts_with(char::is_numeric), "{program:?}");
        assert!(program.tls_library.is_some(), "{program:?}");
    }
}
