//! The contents of a certificate, and whether chain and key belong together. Reads no file and no clock.

use std::{fmt::Write as _, path::Path};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::crypto::ring::sign::any_supported_type;
use x509_parser::{
    certificate::X509Certificate,
    error::X509Error,
    extensions::GeneralName,
    prelude::{FromDer as _, X509Name},
};

use super::bundle::{Bundle, Error};

/// Facts about the first certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Host names and addresses that it is valid for.
    pub names: Vec<String>,
    pub issuer: String,
    /// Seconds since 1970.
    pub not_before: u64,
    /// Seconds since 1970.
    pub not_after: u64,
    /// Its SHA-1, upper-case hexadecimal: HAProxy shows this hash, so workers are compared by it.
    pub sha1: String,
    /// Its serial number, upper-case hexadecimal without the sign byte.
    pub serial: String,
}

/// The validity of a certificate at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    Valid,
    /// It becomes valid in this many seconds.
    Early(u64),
    /// It expired this many seconds ago.
    Expired(u64),
}

impl CertificateFacts {
    /// Fails unless the key is that of the first certificate and each further certificate signed the one before it. Whether
    /// clients know the last one's issuer cannot be checked here: it may be a private authority.
    pub fn of(path: &Path, bundle: &Bundle) -> Result<Self, Error> {
        let mut chain = Vec::new();
        for (at, der) in bundle.chain.iter().enumerate() {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else {
                return Err(Error::Der {
                    path: path.to_owned(),
                    kind: "CERTIFICATE",
                    number: at + 1,
                });
            };
            chain.push(certificate);
        }
        let Some(own) = chain.first() else {
            return Err(Error::NoCertificate {
                path: path.to_owned(),
            });
        };
        whose_key(path, bundle, &chain)?;
        linked(path, &chain)?;
        let sha1 = digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            bundle.chain.first().map_or(&[], |der| der.as_ref()),
        );
        let seconds = |at: i64| u64::try_from(at).unwrap_or_default();
        Ok(Self {
            names: names(own),
            issuer: called(own.issuer()),
            not_before: seconds(own.validity().not_before.timestamp()),
            not_after: seconds(own.validity().not_after.timestamp()),
            sha1: hex(sha1.as_ref()),
            serial: serial(own.raw_serial()),
        })
    }

    /// `now` in seconds since 1970.
    pub fn dates(&self, now: u64) -> Dates {
        if now < self.not_before {
            Dates::Early(self.not_before - now)
        } else if now > self.not_after {
            Dates::Expired(now - self.not_after)
        } else {
            Dates::Valid
        }
    }

    /// May this certificate replace `other`, which is in use? An invalid one replaces only an invalid one, and only when it
    /// ends later.
    pub fn replaces(&self, other: &Self, now: u64) -> bool {
        self.dates(now) == Dates::Valid
            || (other.dates(now) != Dates::Valid && self.not_after > other.not_after)
    }
}

impl std::fmt::Display for Dates {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, seconds) = match self {
            Self::Valid => return out.write_str("it is valid"),
            Self::Early(seconds) => ("it is valid only in", seconds),
            Self::Expired(seconds) => ("it has been expired for", seconds),
        };
        match (seconds / 86_400, seconds / 3600) {
            (0, 0) => write!(out, "{word} {} min", seconds / 60),
            (0, hours) => write!(out, "{word} {hours} h"),
            (days, _) => write!(out, "{word} {days} d"),
        }
    }
}

fn whose_key(path: &Path, bundle: &Bundle, chain: &[X509Certificate<'_>]) -> Result<(), Error> {
    let key = any_supported_type(&bundle.key).ok();
    let Some(public) = key.as_ref().and_then(|key| key.public_key()) else {
        return Err(Error::KeyKind {
            path: path.to_owned(),
        });
    };
    let path = path.to_owned();
    let owner = chain
        .iter()
        .position(|certificate| certificate.public_key().raw == public.as_ref());
    match owner {
        Some(0) => Ok(()),
        Some(at) => Err(Error::NotFirst {
            path,
            number: at + 1,
        }),
        None => Err(Error::OtherKey { path }),
    }
}

fn linked(path: &Path, chain: &[X509Certificate<'_>]) -> Result<(), Error> {
    for (at, pair) in chain.windows(2).enumerate() {
        let [signed, signer] = pair else { continue };
        // A signature algorithm that is unknown here is left for clients to judge.
        let verified = match signed.verify_signature(Some(signer.public_key())) {
            Err(X509Error::SignatureVerificationError) => false,
            Ok(()) | Err(_) => true,
        };
        if !verified || signed.issuer() != signer.subject() {
            return Err(Error::Unchained {
                path: path.to_owned(),
                number: at + 2,
                name: called(signer.subject()),
            });
        }
    }
    Ok(())
}

/// The names that clients check: the common name counts only where there are no alternative names.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let others = certificate.subject_alternative_name().ok().flatten();
    let others = others.iter().flat_map(|others| &others.value.general_names);
    let names: Vec<String> = others
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return common_name(certificate.subject()).into_iter().collect();
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::IpAddr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::IpAddr::from(v6).to_string())
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let common = name.iter_common_name().next()?.as_str().ok()?;
    Some(common.to_owned())
}

fn called(name: &X509Name<'_>) -> String {
    common_name(name).unwrap_or_else(|| name.to_string())
}

fn serial(raw: &[u8]) -> String {
    match raw {
        [0, rest @ ..] if !rest.is_empty() => hex(rest),
        raw => hex(raw),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02X}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use ober_test_support::certificate::{authority, issue};

    use super::*;

    const DAY: i64 = 86_400;

    fn judged(text: &str) -> Result<CertificateFacts, String> {
        let path = Path::new("@");
        let bundle = Bundle::parse(path, text.as_bytes()).unwrap();
        CertificateFacts::of(path, &bundle).map_err(|error| error.to_string())
    }

    #[test]
    fn names_issuer_and_dates_are_read_and_a_written_bundle_reads_the_same() {
        let ours = authority("our authority");
        let (certificate, key) = issue(&ours, "s3.test", (-DAY, 30 * DAY));
        let text = format!("{key}{certificate}{}", ours.pem());
        let facts = judged(&text).unwrap();
        assert_eq!(
            (facts.names.as_slice(), facts.issuer.as_str()),
            (&["s3.test".to_owned()][..], "our authority")
        );
        assert_eq!(facts.not_after - facts.not_before, 31 * 86_400);
        assert_eq!(facts.sha1.len(), 40);
        let bundle = Bundle::parse(Path::new("@"), text.as_bytes()).unwrap();
        assert_eq!(judged(&bundle.pem()), Ok(facts));
        assert!(!bundle.pem().contains("\n\n"));
    }

    #[test]
    fn a_key_of_another_certificate_and_a_chain_with_a_gap_are_refused() {
        let (ours, other) = (authority("ours"), authority("other"));
        let (certificate, key) = issue(&ours, "s3.test", (-DAY, DAY));
        let (second, foreign) = issue(&ours, "second.test", (-DAY, DAY));
        for (text, expected) in [
            (
                format!("{certificate}{foreign}"),
                "certificate @: its private key is that of another certificate",
            ),
            (
                format!("{second}{certificate}{key}"),
                "certificate @: its private key is that of its certificate number 2, which must come first",
            ),
            (
                format!("{certificate}{}{key}", other.pem()),
                "certificate @: its certificate number 2 (other) did not sign the one before it",
            ),
            (
                format!("{certificate}{}{}{key}", ours.pem(), other.pem()),
                "certificate @: its certificate number 3 (other) did not sign the one before it",
            ),
        ] {
            assert_eq!(judged(&text).unwrap_err(), expected);
        }
        // Same name, another key: only the signature shows the difference.
        let impostor = authority("ours");
        let text = format!("{certificate}{}{key}", impostor.pem());
        assert!(judged(&text).unwrap_err().contains("did not sign"));
    }

    #[test]
    fn an_invalid_certificate_replaces_only_an_invalid_one_that_ends_sooner() {
        let at = |not_before, not_after| CertificateFacts {
            names: vec![],
            issuer: String::new(),
            not_before,
            not_after,
            sha1: String::new(),
            serial: String::new(),
        };
        let now = 1000;
        let (valid, expired, earlier, early) =
            (at(0, 2000), at(0, 900), at(0, 800), at(1500, 3000));
        assert_eq!(
            [&valid, &expired, &early].map(|facts| facts.dates(now)),
            [Dates::Valid, Dates::Expired(100), Dates::Early(500)]
        );
        for (new, old, replaces) in [
            (&valid, &valid, true),
            (&valid, &expired, true),
            (&expired, &valid, false),
            (&early, &valid, false),
            (&expired, &earlier, true),
            (&earlier, &expired, false),
            (&early, &expired, true),
        ] {
            assert_eq!(new.replaces(old, now), replaces, "{new:?} {old:?}");
        }
    }
}
