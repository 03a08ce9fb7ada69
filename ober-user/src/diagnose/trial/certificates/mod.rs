//! Each certificate that a listener shows: does its key fit, does its chain lead to an authority, and how long is it valid?
//!
//! It never changes a file or a copy.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::{CertificateError, RootCertStore, crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{certificate::X509Certificate, parse_x509_certificate};

use crate::{
    certificates::{self, Bundle},
    config::{Config, Protocol},
    diagnose::finding::Finding,
    system::{clock, tls},
};

const PART: &str = "certificates";
const DAY: u64 = 86_400;

/// The facts of a certificate file, for judging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFacts {
    /// Seconds since 1970: now, and the time from when to when all of the chain is valid.
    pub now: u64,
    pub from: u64,
    pub until: u64,
    pub subject: String,
    /// Of the last certificate in the file.
    pub issuer: String,
    pub key: Result<(), String>,
    pub trust: Trust,
}

/// Where the chain leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// To an authority that this machine trusts.
    System,
    /// To an authority in the file itself.
    Own,
    /// To no authority: it signed itself.
    SelfSigned,
    /// To an issuer that is neither in the file nor trusted here.
    Incomplete,
    Broken(String),
}

/// The certificates of all listeners, each file once.
pub fn look(config: &Config, expiry: Duration) -> Vec<Finding> {
    let mut files: BTreeMap<PathBuf, BTreeSet<&str>> = BTreeMap::new();
    for service in &config.services {
        for listener in &service.listeners {
            if let Protocol::Https { tls, .. } | Protocol::Tls(tls) = &listener.protocol {
                let issued = tls.issued(&config.node.state).filter(|file| file.exists());
                let named = tls
                    .certificates
                    .iter()
                    .flat_map(|path| certificates::files(path));
                for file in named.chain(issued) {
                    files.entry(file).or_default().insert(&service.name);
                }
            }
        }
    }
    let finding = |(path, services): (PathBuf, BTreeSet<&str>)| {
        let path = path.as_path();
        let services: Vec<_> = services.into_iter().collect();
        let judged = match read(path, clock::seconds()) {
            Ok(facts) => judge(path, &facts, expiry),
            Err(reason) => Finding::failed(PART, path.display(), reason)
                .advice("put certificate, chain and key into it: `cat fullchain.pem privkey.pem`"),
        };
        judged.detail("services", services.join(" "))
    };
    files.into_iter().map(finding).collect()
}

/// Reads a file of chain and key.
fn read(path: &Path, now: u64) -> Result<ChainFacts, String> {
    let chain = tls::certificates(path).map_err(|error| error.to_string())?;
    let mut parsed = Vec::new();
    for der in &chain {
        let (_, certificate) = parse_x509_certificate(der)
            .map_err(|error| format!("a certificate in it cannot be read: {error}"))?;
        parsed.push(certificate);
    }
    let (Some(own), Some(last)) = (parsed.first(), parsed.last()) else {
        return Err("it holds no certificate".to_owned());
    };
    let seconds = |at: i64| u64::try_from(at).unwrap_or(0);
    let from = parsed.iter().map(|it| it.validity().not_before.timestamp());
    let until = parsed.iter().map(|it| it.validity().not_after.timestamp());
    let (from, until) = (
        seconds(from.max().unwrap_or(0)),
        seconds(until.min().unwrap_or(0)),
    );
    // The chain is judged at a time when it is valid: an expired one gets a finding of its own.
    let then = now.clamp(from, until.max(from));
    Ok(ChainFacts {
        now,
        from,
        until,
        subject: own.subject().to_string(),
        issuer: last.issuer().to_string(),
        key: fits(path, &chain),
        trust: trust(
            &chain,
            &parsed,
            UnixTime::since_unix_epoch(Duration::from_secs(then)),
        ),
    })
}

fn fits(path: &Path, chain: &[CertificateDer<'static>]) -> Result<(), String> {
    let key = Bundle::read(path).map_err(|error| error.to_string())?.key;
    let made = CertifiedKey::from_der(chain.to_vec(), key, &ring::default_provider());
    made.map(drop).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "its key belongs to another certificate".to_owned(),
        other => format!("its key cannot be used: {other}"),
    })
}

fn trust(chain: &[CertificateDer<'_>], parsed: &[X509Certificate<'_>], then: UnixTime) -> Trust {
    let own_authority = |it: &X509Certificate<'_>| it.subject() == it.issuer();
    if parsed.first().is_some_and(own_authority) {
        return Trust::SelfSigned;
    }
    let mut own = RootCertStore::empty();
    for (der, parsed) in chain.iter().zip(parsed) {
        if own_authority(parsed) {
            // A certificate that cannot be an authority is left out.
            own.add(der.clone().into_owned()).unwrap_or_default();
        }
    }
    let system = tls::system().unwrap_or_else(|_none| RootCertStore::empty());
    match (leads(system, chain, then), leads(own, chain, then)) {
        (Ok(()), _) => Trust::System,
        (_, Ok(())) => Trust::Own,
        (Err(Some(reason)), Err(_)) => Trust::Broken(reason),
        (Err(None), Err(_)) => Trust::Incomplete,
    }
}

/// `Err(None)`: the chain leads to no authority in the store.
fn leads(
    store: RootCertStore,
    chain: &[CertificateDer<'_>],
    then: UnixTime,
) -> Result<(), Option<String>> {
    if store.is_empty() {
        return Err(None);
    }
    match tls::vouched(store, chain, then) {
        Ok(()) => Ok(()),
        Err(tls::Error::Setup(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer,
        ))) => Err(None),
        Err(other) => Err(Some(other.to_string())),
    }
}

/// The verdict on one file.
pub fn judge(path: &Path, facts: &ChainFacts, expiry: Duration) -> Finding {
    let path: PathBuf = path.to_owned();
    let object = path.display();
    let failed =
        |reason: String, advice: &str| Finding::failed(PART, object, reason).advice(advice);
    let finding = if let Err(reason) = &facts.key {
        failed(
            reason.clone(),
            "put the key beside the certificate it was made for",
        )
    } else if facts.until <= facts.now {
        let days = (facts.now - facts.until) / DAY;
        failed(format!("it ended {days} days ago"), "renew it")
    } else if facts.from > facts.now {
        failed(
            format!(
                "it begins in {} days",
                (facts.from - facts.now).div_ceil(DAY)
            ),
            "is the clock right? `timedatectl`",
        )
    } else {
        led(&path, facts, expiry)
    };
    finding
        .detail("subject", &facts.subject)
        .detail("not_before", facts.from)
        .detail("not_after", facts.until)
}

/// It is valid and has its key; now its chain is judged.
fn led(path: &Path, facts: &ChainFacts, expiry: Duration) -> Finding {
    let object = path.display();
    let left = facts.until - facts.now;
    let days = left / DAY;
    let chain = match &facts.trust {
        Trust::System => "its chain is complete",
        Trust::Own => "its chain ends in an authority of its own",
        Trust::SelfSigned => {
            return Finding::warning(PART, object, format!("self-signed, {days} days left"))
                .advice("clients must be told to trust it; an authority they know saves that");
        }
        Trust::Incomplete => {
            let reason = format!(
                "its chain is not complete: {} is neither in the file nor trusted here",
                facts.issuer
            );
            return Finding::failed(PART, object, reason).advice(
                "put the authority's intermediate certificate behind it; if that is an authority of your own, make this \
                 machine trust it (`update-ca-certificates`)",
            );
        }
        Trust::Broken(reason) => {
            return Finding::failed(PART, object, format!("its chain is broken: {reason}"))
                .advice("get certificate and chain from the authority again");
        }
    };
    let reason = format!("its key fits, {chain}, {days} days left");
    if Duration::from_secs(left) <= expiry {
        return Finding::warning(PART, object, reason).advice("renew it");
    }
    Finding::ok(PART, object, reason)
}

#[cfg(test)]
mod tests;
