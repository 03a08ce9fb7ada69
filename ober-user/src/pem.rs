//! Is a PEM file what HAProxy needs to end TLS: a chain of certificates and one private key? Whether the two belong
//! together HAProxy says itself when it checks its configuration.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

/// What is wrong with a certificate file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read certificate {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("certificate {path} is not good PEM: {source}")]
    Pem { path: PathBuf, source: pem::Error },
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
        "certificate {path} holds an encrypted private key, which nobody could unlock at start"
    )]
    Encrypted { path: PathBuf },
    #[error("certificate {path} holds {number} private keys, only one can be used")]
    Keys { path: PathBuf, number: usize },
}

impl Error {
    /// What to do about it.
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
            Self::NoKey { .. } => join.to_owned(),
            Self::Encrypted { .. } => {
                "decrypt it: `openssl pkey -in key.pem -out plain.pem`".to_owned()
            }
            Self::Keys { .. } => "keep the key of the first certificate".to_owned(),
        }
    }
}

/// At least one certificate and exactly one unencrypted private key, each parseable.
pub fn check(path: &Path) -> Result<(), Error> {
    let path = path.to_owned();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(source) => return Err(Error::Read { path, source }),
    };
    // The old notation is no PEM at all to the parser, so it is looked for first.
    let marks: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE", b"Proc-Type: 4,ENCRYPTED"];
    if text
        .split(|&byte| byte == b'\n')
        .any(|line| marks.iter().any(|mark| line.starts_with(mark)))
    {
        return Err(Error::Encrypted { path });
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let keys: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(&text).collect();
    let (chain, keys) = match (chain, keys) {
        (Ok(chain), Ok(keys)) => (chain, keys),
        (Err(source), _) | (_, Err(source)) => return Err(Error::Pem { path, source }),
    };
    if let Some(number) = chain.iter().position(|item| !is_sequence(item)) {
        return Err(Error::Der {
            path,
            kind: "CERTIFICATE",
            number: number + 1,
        });
    }
    if let Some(number) = keys.iter().position(|item| !is_sequence(item.secret_der())) {
        return Err(Error::Der {
            path,
            kind: "PRIVATE KEY",
            number: number + 1,
        });
    }
    match (chain.len(), keys.len()) {
        (0, _) => Err(Error::NoCertificate { path }),
        (_, 0) => Err(Error::NoKey { path }),
        (_, 1) => Ok(()),
        (_, number) => Err(Error::Keys { path, number }),
    }
}

/// One DER SEQUENCE and nothing after it: what every certificate and key is on the outside.
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
pub(crate) mod tests {
    use super::*;

    /// The smallest DER that passes for one: SEQUENCE { INTEGER 1 }.
    const DER: &str = "MAMCAQE=";

    fn block(kind: &str, content: &str) -> String {
        format!("-----BEGIN {kind}-----\n{content}\n-----END {kind}-----\n")
    }

    pub(crate) fn chain_and_key() -> String {
        block("CERTIFICATE", DER) + &block("PRIVATE KEY", DER)
    }

    fn verdict(text: &str) -> Result<(), String> {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("s3.pem");
        fs::write(&path, text).unwrap();
        let directory = directory.path().to_str().unwrap().to_owned();
        check(&path).map_err(|error| error.to_string().replace(&directory, "@"))
    }

    #[test]
    fn a_chain_and_one_key_in_any_order_and_among_other_blocks_are_accepted() {
        let (certificate, key) = (block("CERTIFICATE", DER), block("EC PRIVATE KEY", DER));
        assert_eq!(verdict(&chain_and_key()), Ok(()));
        assert_eq!(verdict(&format!("{key}{certificate}{certificate}")), Ok(()));
        let parameters = block("EC PARAMETERS", "BggqhkjOPQMBBw==");
        assert_eq!(
            verdict(&format!("words\n{certificate}{parameters}{key}")),
            Ok(())
        );
    }

    #[test]
    fn what_haproxy_could_not_use_is_refused_and_said() {
        let (certificate, key) = (block("CERTIFICATE", DER), block("PRIVATE KEY", DER));
        let encrypted = block("ENCRYPTED PRIVATE KEY", DER);
        for (text, told) in [
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
                "certificate @/s3.pem holds an encrypted private key, which nobody could unlock at start",
            ),
            (
                block(
                    "RSA PRIVATE KEY",
                    "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA",
                ),
                "certificate @/s3.pem holds an encrypted private key, which nobody could unlock at start",
            ),
            (
                format!("{certificate}{}{key}", block("CERTIFICATE", "MAMCAQ==")),
                "certificate @/s3.pem: what its `CERTIFICATE` block number 2 holds is not one",
            ),
            (
                format!("{certificate}{}", block("PRIVATE KEY", "AAAA")),
                "certificate @/s3.pem: what its `PRIVATE KEY` block number 1 holds is not one",
            ),
        ] {
            assert_eq!(verdict(&text).unwrap_err(), told);
        }
        let cut = &certificate[..certificate.len() - 10];
        assert!(
            verdict(cut)
                .unwrap_err()
                .starts_with("certificate @/s3.pem is not good PEM: ")
        );
        let letters = block("CERTIFICATE", "$$$$");
        assert!(
            verdict(&letters)
                .unwrap_err()
                .starts_with("certificate @/s3.pem is not good PEM")
        );
    }

    #[test]
    fn lengths_of_one_and_of_more_bytes_are_followed_to_the_end() {
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
