//! A certificate chain and its private key as PEM, in one file or in two side by side, and whether both are there to terminate
//! TLS. [`super::facts`] checks that they belong together.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use crate::system::file::{self, Kind};

/// A chain, the server's own certificate first, and its private key.
#[derive(Debug)]
pub struct Bundle {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// What is wrong with a certificate file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read certificate {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("certificate {path} is not good PEM: {}", unreadable(.why))]
    Pem { path: PathBuf, why: pem::Error },
    #[error("certificate {path}: what its `{kind}` block number {number} holds is not one")]
    Der {
        path: PathBuf,
        kind: &'static str,
        number: usize,
    },
    #[error("certificate {path} holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("certificate {path} holds no private key")]
    NoKey { path: PathBuf },
    #[error(
        "certificate {path} holds an encrypted private key, which the daemon cannot unlock at its start"
    )]
    Encrypted { path: PathBuf },
    #[error("certificate {path} holds {number} private keys, only one can be used")]
    Keys { path: PathBuf, number: usize },
    #[error("certificate {path}: its private key is of a kind that cannot be judged here")]
    KeyKind { path: PathBuf },
    #[error("certificate {path}: its private key is that of another certificate")]
    OtherKey { path: PathBuf },
    #[error(
        "certificate {path}: its private key is that of its certificate number {number}, which must come first"
    )]
    NotFirst { path: PathBuf, number: usize },
    #[error(
        "certificate {path}: its certificate number {number} ({name}) did not sign the one before it"
    )]
    Unchained {
        path: PathBuf,
        number: usize,
        name: String,
    },
}

/// The parser's error; its own text shows lines as lists of bytes.
fn unreadable(why: &pem::Error) -> String {
    match why {
        pem::Error::MissingSectionEnd { end_marker } => format!(
            "it is cut off: the line `-----END {}-----` is missing",
            String::from_utf8_lossy(end_marker).escape_debug()
        ),
        pem::Error::IllegalSectionStart { .. } => {
            "a line that begins with `-----BEGIN ` does not end with `-----`".to_owned()
        }
        other => other.to_string(),
    }
}

impl Error {
    /// The file that is wrong.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::Pem { path, .. }
            | Self::Der { path, .. }
            | Self::NoCertificate { path }
            | Self::NoKey { path }
            | Self::Encrypted { path }
            | Self::Keys { path, .. }
            | Self::KeyKind { path }
            | Self::OtherKey { path }
            | Self::NotFirst { path, .. }
            | Self::Unchained { path, .. } => path,
        }
    }

    /// What the operator should do about it.
    pub fn fix(&self) -> String {
        let join = "put chain and key into it: `cat fullchain.pem privkey.pem`";
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                format!("correct the path, or make the file: {join}")
            }
            Self::Read { .. } => "make it a file this user may read, or run as root".to_owned(),
            Self::Pem { .. } | Self::Der { .. } | Self::NoCertificate { .. } => {
                format!("make it anew: {join}")
            }
            Self::NoKey { .. } => {
                format!("{join}, or put the key beside it, `s3.key` for `s3.crt`")
            }
            Self::Encrypted { .. } => {
                "decrypt it: `openssl pkey -in key.pem -out plain.pem`".to_owned()
            }
            Self::Keys { .. } => "keep the key of the first certificate".to_owned(),
            Self::KeyKind { .. } => {
                "use RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519".to_owned()
            }
            Self::OtherKey { .. } => "put the key in that the certificate was made with".to_owned(),
            Self::NotFirst { .. } | Self::Unchained { .. } => {
                "the server's own certificate comes first, then that of its issuer, and so on"
                    .to_owned()
            }
        }
    }
}

impl Bundle {
    /// Reads this file, and the key file beside it when this one holds no key.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut text = slurp(path)?;
        let beside = key_beside(path).filter(|_| !has_key(&text));
        if let Some(key) = beside.filter(|key| key.exists()) {
            text.push(b'\n');
            text.extend(slurp(&key)?);
        }
        Self::parse(path, &text)
    }

    /// At least one certificate and exactly one unencrypted private key, each a DER sequence. `path` is used in errors alone.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Error> {
        let path = path.to_owned();
        // The parser does not recognise the old notation as PEM, so it is looked for first.
        let marks: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE", b"Proc-Type: 4,ENCRYPTED"];
        if lines(text).any(|line| marks.iter().any(|mark| line.starts_with(mark))) {
            return Err(Error::Encrypted { path });
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        let keys: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(text).collect();
        let (chain, mut keys) = match (chain, keys) {
            (Ok(chain), Ok(keys)) => (chain, keys),
            (Err(why), _) | (_, Err(why)) => return Err(Error::Pem { path, why }),
        };
        let bad = |kind, at: usize| Error::Der {
            path: path.clone(),
            kind,
            number: at + 1,
        };
        if let Some(at) = chain.iter().position(|item| !is_sequence(item)) {
            return Err(bad("CERTIFICATE", at));
        }
        if let Some(at) = keys.iter().position(|item| !is_sequence(item.secret_der())) {
            return Err(bad("PRIVATE KEY", at));
        }
        let number = keys.len();
        match keys.pop() {
            _ if chain.is_empty() => Err(Error::NoCertificate { path }),
            None => Err(Error::NoKey { path }),
            Some(key) if number == 1 => Ok(Self { chain, key }),
            Some(_) => Err(Error::Keys { path, number }),
        }
    }

    /// The same text for the same bundle, without an empty line: HAProxy's command socket would take one as the end.
    pub fn pem(&self) -> String {
        let mut text = String::new();
        for certificate in &self.chain {
            block(&mut text, "CERTIFICATE", certificate);
        }
        let label = match &self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        block(&mut text, label, self.key.secret_der());
        text
    }
}

fn block(text: &mut String, label: &str, der: &[u8]) {
    let content = STANDARD.encode(der);
    // Writing to a String cannot fail.
    writeln!(text, "-----BEGIN {label}-----").unwrap_or_default();
    for line in content.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    writeln!(text, "-----END {label}-----").unwrap_or_default();
}

fn slurp(path: &Path) -> Result<Vec<u8>, Error> {
    file::read(path, Kind::Certificate).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

fn has_key(text: &[u8]) -> bool {
    let mark = b"PRIVATE KEY-----";
    lines(text).any(|line| line.starts_with(b"-----BEGIN") && line.trim_ascii_end().ends_with(mark))
}

/// The key file of a chain without a key: certbot's `privkey.pem` beside `fullchain.pem`, otherwise `NAME.key`.
pub fn key_beside(path: &Path) -> Option<PathBuf> {
    match path.file_name()?.to_str()? {
        "fullchain.pem" => Some(path.with_file_name("privkey.pem")),
        _ => Some(path.with_extension("key")),
    }
}

/// Is it one DER SEQUENCE and nothing after it, the outer form of every certificate and key?
fn is_sequence(der: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = der else {
        return false;
    };
    if *length < 0x80 {
        return rest.len() == usize::from(*length);
    }
    let bytes = usize::from(length & 0x7f);
    let Some((length, content)) = rest
        .split_at_checked(bytes)
        .filter(|_| (1..=4).contains(&bytes))
    else {
        return false;
    };
    content.len()
        == length
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ober_test_support::certificate::chain_and_key;

    use super::*;

    /// The smallest DER that passes the check: SEQUENCE { INTEGER 1 }.
    const DER: &str = "MAMCAQE=";

    fn part(kind: &str, content: &str) -> String {
        format!("-----BEGIN {kind}-----\n{content}\n-----END {kind}-----\n")
    }

    fn verdict(text: &str) -> Result<(), String> {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("s3.pem");
        fs::write(&path, text).unwrap();
        let directory = directory.path().to_str().unwrap().to_owned();
        Bundle::read(&path)
            .map(drop)
            .map_err(|error| error.to_string().replace(&directory, "@"))
    }

    #[test]
    fn a_chain_and_one_key_in_any_order_and_among_other_blocks_are_accepted() {
        let (certificate, key) = (part("CERTIFICATE", DER), part("EC PRIVATE KEY", DER));
        assert_eq!(verdict(&chain_and_key()), Ok(()));
        assert_eq!(verdict(&format!("{key}{certificate}{certificate}")), Ok(()));
        let parameters = part("EC PARAMETERS", "BggqhkjOPQMBBw==");
        assert_eq!(
            verdict(&format!("words\n{certificate}{parameters}{key}")),
            Ok(())
        );
    }

    #[test]
    fn a_bundle_that_haproxy_could_not_use_is_refused_with_the_reason() {
        let (certificate, key) = (part("CERTIFICATE", DER), part("PRIVATE KEY", DER));
        let encrypted = part("ENCRYPTED PRIVATE KEY", DER);
        for (text, expected) in [
            (String::new(), "certificate @/s3.pem holds no certificate"),
            (key.clone(), "certificate @/s3.pem holds no certificate"),
            (
                certificate.clone(),
                "certificate @/s3.pem holds no private key",
            ),
            (
                format!("{certificate}{key}{key}"),
                "certificate @/s3.pem holds 2 private keys, only one can be used",
            ),
            (
                format!("{certificate}{encrypted}"),
                "certificate @/s3.pem holds an encrypted private key, which the daemon cannot unlock at its start",
            ),
            (
                part(
                    "RSA PRIVATE KEY",
                    "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA",
                ),
                "certificate @/s3.pem holds an encrypted private key, which the daemon cannot unlock at its start",
            ),
            (
                format!("{certificate}{}{key}", part("CERTIFICATE", "MAMCAQ==")),
                "certificate @/s3.pem: what its `CERTIFICATE` block number 2 holds is not one",
            ),
            (
                format!("{certificate}{}", part("PRIVATE KEY", "AAAA")),
                "certificate @/s3.pem: what its `PRIVATE KEY` block number 1 holds is not one",
            ),
        ] {
            assert_eq!(verdict(&text).unwrap_err(), expected);
        }
        let cut = &certificate[..certificate.len() - 10];
        assert_eq!(
            verdict(cut).unwrap_err(),
            "certificate @/s3.pem is not good PEM: it is cut off: the line `-----END CERTIFICATE-----` is missing"
        );
        let cut = format!("{certificate}{}", &key[..key.len() - 10]);
        assert_eq!(
            verdict(&cut).unwrap_err(),
            "certificate @/s3.pem is not good PEM: it is cut off: the line `-----END PRIVATE KEY-----` is missing"
        );
        let begun = certificate.replacen("-----\n", "----\n", 1);
        assert_eq!(
            verdict(&begun).unwrap_err(),
            "certificate @/s3.pem is not good PEM: a line that begins with `-----BEGIN ` does not end with `-----`"
        );
        let letters = part("CERTIFICATE", "$$$$");
        assert!(
            verdict(&letters)
                .unwrap_err()
                .starts_with("certificate @/s3.pem is not good PEM")
        );
    }

    #[test]
    fn der_lengths_of_one_and_of_several_bytes_are_read_to_the_end() {
        let long: Vec<u8> = [0x30, 0x82, 0x01, 0x00]
            .into_iter()
            .chain([0; 256])
            .collect();
        assert!(is_sequence(&[0x30, 0]) && is_sequence(&long));
        for bad in [
            &[][..],
            &[0x30],
            &[0x31, 0],
            &[0x30, 1],
            &[0x30, 0, 0],
            &[0x30, 0x80],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
        ] {
            assert!(!is_sequence(bad), "{bad:?}");
        }
        assert!(!is_sequence(&long[..long.len() - 1]));
    }
}
