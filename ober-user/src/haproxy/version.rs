//! Which HAProxy is installed: its version, the TLS library it runs on, and whether it has what a configuration asks for.

use std::{
    io,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use serde::Serialize;
use tokio::{process::Command, time::timeout};

use super::Error;
use crate::config::{Config, Service};

const PATIENCE: Duration = Duration::from_secs(10);
/// The oldest that is supported.
const OLDEST: Version = Version(2, 6);

/// A branch of HAProxy, such as 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16);

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.0, self.1)
    }
}

/// What `haproxy -vv` says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Program {
    /// `2.6.12-1+deb12u4`.
    pub version: String,
    /// The TLS library it runs on, in its own words; `None`: it has no TLS.
    pub tls_library: Option<String>,
    pub kind: Library,
}

/// What there is to know about a TLS library: OpenSSL 3.0 to 3.2 lose much of their speed to locks where a process has
/// many threads; AWS-LC does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Library {
    AwsLc,
    OpenSsl,
    Other,
}

impl Program {
    /// From the text of `haproxy -vv`; `None`: that is not what it is.
    pub fn read(text: &str) -> Option<Self> {
        let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
        let version = after("HAProxy version ")?.split_whitespace().next()?;
        // Since 3.0 it does not say OpenSSL where it means any library.
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

/// Asks the program.
pub async fn probe(haproxy: &Path) -> Result<Program, Error> {
    let output = run(haproxy, &["-vv"]).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    Program::read(&text).ok_or_else(|| Error::NoHaproxy {
        haproxy: haproxy.to_owned(),
    })
}

/// A key and the version that has what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    key: String,
    version: Version,
}

/// What a configuration asks for that not every supported version has.
fn needs(config: &Config) -> Vec<Need> {
    let used = config.services.iter().flat_map(Service::backends);
    let mut needs = Vec::new();
    for name in used {
        if config
            .backends
            .get(name)
            .is_some_and(|backend| backend.strict_max_connections)
        {
            needs.push(Need {
                key: format!("backends.{name}.strict_max_connections"),
                version: Version(3, 2),
            });
        }
    }
    needs
}

/// Refuses what the installed version does not have, by key and version.
pub(super) async fn suits(config: &Config) -> Result<(), Error> {
    let haproxy = &config.workers.haproxy;
    let oldest = Need {
        key: "ober".to_owned(),
        version: OLDEST,
    };
    for need in std::iter::once(oldest).chain(needs(config)) {
        let asked = format!("version_atleast({})", need.version);
        let answer = run(haproxy, &["-cc", &asked]).await?;
        // It says "no" without a word. Whatever has words does not answer this, and they are shown when it checks.
        if !answer.status.success() && answer.stderr.is_empty() {
            return Err(Error::TooOld {
                haproxy: haproxy.clone(),
                key: need.key,
                needed: need.version,
            });
        }
    }
    Ok(())
}

async fn run(haproxy: &Path, arguments: &[&str]) -> Result<Output, Error> {
    let mut command = Command::new(haproxy);
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output).await.map_err(io::Error::from);
    output
        .flatten()
        .map_err(|source| Error::not_run(haproxy, source))
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
    async fn the_installed_one_is_recognised() {
        let program = probe(Path::new("/usr/sbin/haproxy")).await.unwrap();
        assert!(program.version.starts_with(char::is_numeric), "{program:?}");
        assert!(program.tls_library.is_some(), "{program:?}");
    }
}
