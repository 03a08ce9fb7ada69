//! A server as its source names it. Every one is made by the functions below, which check its host and name, also when
//! it is read from disk.

use std::{
    net::IpAddr,
    num::{NonZeroU16, NonZeroU32},
};

use serde::{Deserialize, Serialize};

use super::ServerTerms;
use crate::names::notation::{self, Host, Miss};

/// By the measure of the source.
type Terms = ServerTerms<u32, u32>;

/// A server named by a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Found {
    host: Host,
    port: NonZeroU16,
    #[serde(flatten)]
    terms: Terms,
    name: Option<String>,
}

/// The same, as it is on disk.
#[derive(Deserialize)]
struct Written {
    host: String,
    port: NonZeroU16,
    #[serde(flatten)]
    terms: Terms,
    name: Option<String>,
}

impl TryFrom<Written> for Found {
    type Error = Miss;

    fn try_from(written: Written) -> Result<Self, Miss> {
        let found = Self::new(&written.host, written.port)?;
        found.on(written.terms).named(written.name.as_deref())
    }
}

impl Found {
    /// A server with the default settings. A name that ends in a number is refused: a resolver might take it for an
    /// address.
    pub fn new(host: &str, port: NonZeroU16) -> Result<Self, Miss> {
        Self::of(notation::host(host)?, port)
    }

    /// The same, for a host that was read already.
    pub fn of(host: Host, port: NonZeroU16) -> Result<Self, Miss> {
        if let Host::Name(name) = &host
            && notation::ends_in_number(name)
        {
            return Err(Miss::Number(name.clone()));
        }
        Ok(Self {
            host,
            port,
            terms: Terms::default(),
            name: None,
        })
    }

    /// A server at an address, which cannot be refused.
    pub fn at(address: IpAddr, port: NonZeroU16) -> Self {
        Self {
            host: Host::Addr(address.to_canonical()),
            port,
            terms: Terms::default(),
            name: None,
        }
    }

    /// Sets the name for which it has a certificate.
    pub fn named(self, name: Option<&str>) -> Result<Self, Miss> {
        let judged = name.map(|name| match notation::host(name)? {
            Host::Name(name) => Ok(name.trim_end_matches('.').to_owned()),
            Host::Addr(address) => Err(Miss::Address(address)),
        });
        let name = judged.transpose()?;
        Ok(Self { name, ..self })
    }

    #[must_use]
    pub fn on(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }

    #[must_use]
    pub fn weighs(mut self, weight: u32) -> Self {
        self.terms.weight = weight;
        self
    }

    #[must_use]
    pub fn in_tier(mut self, tier: u32) -> Self {
        self.terms.tier = tier;
        self
    }

    #[must_use]
    pub fn limited(mut self, max_connections: Option<NonZeroU32>) -> Self {
        self.terms.max_connections = max_connections;
        self
    }

    /// An address, or a name that is still to be resolved.
    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn port(&self) -> NonZeroU16 {
        self.port
    }

    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// The name for which it has a certificate, if the source names one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it names more than {most} server{}; raise `limits.servers` if that is meant",
    if *.most == 1 { "" } else { "s" }
)]
pub struct TooMany {
    most: usize,
}

/// Counts servers while they are read: an answer with more than a backend may have is an error.
#[derive(Debug)]
pub struct Counted {
    found: Vec<Found>,
    most: usize,
}

impl Counted {
    pub fn new(most: usize) -> Self {
        Self {
            found: Vec::new(),
            most,
        }
    }

    pub fn push(&mut self, found: Found) -> Result<(), TooMany> {
        if self.found.len() >= self.most {
            return Err(TooMany { most: self.most });
        }
        self.found.push(found);
        Ok(())
    }

    pub fn all(self) -> Vec<Found> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();

    #[test]
    fn a_server_read_back_from_disk_is_judged_like_one_from_a_source() {
        let found = Found::new("rgw1.test", PORT)
            .unwrap()
            .weighs(3)
            .in_tier(1)
            .named(Some("s3.test."))
            .unwrap();
        assert_eq!(found.name(), Some("s3.test"));
        let written = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Found>(&written).unwrap(), found);
        for (good, bad) in [
            ("rgw1.test", "rgw 1.test"),
            ("rgw1.test", "10.0.0.1-20"),
            ("rgw1.test", "1"),
            ("s3.test", "s3 test"),
            ("s3.test", "10.0.0.1"),
            ("s3.test", "fd00::1"),
            ("s3.test", "s3\\\\0401.test"),
            ("80", "0"),
        ] {
            let damaged = written.replace(good, bad);
            assert!(
                serde_json::from_str::<Found>(&damaged).is_err(),
                "{damaged}"
            );
        }
    }

    #[test]
    fn an_answer_with_more_servers_than_the_limit_is_refused() {
        let mut counted = Counted::new(1);
        let found = Found::new("a", PORT).unwrap();
        counted.push(found.clone()).unwrap();
        let error = counted.push(found.clone()).unwrap_err().to_string();
        assert!(error.contains("more than 1 server"), "{error}");
        assert!(error.contains("limits.servers"), "{error}");
        assert_eq!(counted.all(), [found]);
    }
}
