//! The key of the account. HTTP-01 needs only its thumbprint: the answer consists of the token in the request and the
//! thumbprint (RFC 8555 section 8.1), so every worker, and every node with the same key, can answer every request.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use instant_acme::Key;
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls_pki_types::{
    PrivatePkcs8KeyDer,
    pem::{self, PemObject as _},
};

use crate::{
    config::{Config, paths, sections::acme::Acme},
    system::{
        file,
        store::{self, Kind, Pending},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "read the key of the ACME account from {path}: {source}; it must be PKCS#8 PEM, as `openssl genpkey -algorithm EC \
         -pkeyopt ec_paramgen_curve:P-256` makes it",
        path = .path.display()
    )]
    Read { path: PathBuf, source: pem::Error },
    #[error(
        "use the key of the ACME account in {path}: it is no ECDSA P-256 key",
        path = .path.display()
    )]
    Kind { path: PathBuf },
    #[error("make a key for the ACME account: {0}")]
    Make(rcgen::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The configured key, or the one in the state directory, which is made if there is none yet.
pub(super) fn key(acme: &Acme, state: &Path) -> Result<(Key, PrivatePkcs8KeyDer<'static>), Error> {
    let kept = paths::acme_key(state);
    let path = acme.account_key.as_deref().unwrap_or(&kept);
    if acme.account_key.is_none() {
        make_if_need_be(path)?;
    }
    let der = read(path)?;
    let Ok(key) = Key::from_pkcs8_der(der.clone_key()) else {
        return Err(Error::Kind {
            path: path.to_owned(),
        });
    };
    Ok((key, der))
}

/// Makes a key when there is no file, or when the file has no key in it.
fn make_if_need_be(path: &Path) -> Result<(), Error> {
    match store::read(path)?
        .as_deref()
        .map(PrivatePkcs8KeyDer::from_pem_slice)
    {
        Some(Ok(_)) => return Ok(()),
        Some(Err(why)) => store::set_aside(Kind::Account, path, &why.to_string()),
        None => {}
    }
    let made = rcgen::KeyPair::generate().map_err(Error::Make)?;
    Ok(Pending::write(Kind::Account, path, made.serialize_pem().as_bytes())?.commit()?)
}

fn read(path: &Path) -> Result<PrivatePkcs8KeyDer<'static>, Error> {
    let text = file::read(path, file::Kind::Certificate).map_err(pem::Error::Io);
    let read = text.and_then(|text| PrivatePkcs8KeyDer::from_pem_slice(&text));
    read.map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// The thumbprint, with which the answers of HTTP-01 end; `None`: HTTP-01 is not used.
pub fn thumbprint(config: &Config) -> Result<Option<String>, Error> {
    let Some(acme) = config.acme.as_ref().filter(|acme| acme.by_http()) else {
        return Ok(None);
    };
    let (_, der) = key(acme, &config.node.state)?;
    let random = SystemRandom::new();
    let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(signing, der.secret_pkcs8_der(), &random);
    Ok(pair.ok().and_then(|pair| of(pair.public_key().as_ref())))
}

/// The thumbprint (RFC 7638) of an uncompressed point: the byte 4, then both coordinates.
fn of(public: &[u8]) -> Option<String> {
    let (x, y) = public.strip_prefix(&[4])?.split_at_checked(32)?;
    let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
    let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, jwk.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_hashes_the_key_as_compact_json_with_sorted_members() {
        // The key of RFC 7517 appendix A.1; its thumbprint by `openssl dgst -sha256` over that JSON.
        let point = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let public = [
            vec![4],
            point("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"),
            point("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"),
        ];
        assert_eq!(
            of(&public.concat()).unwrap(),
            "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
        );
        assert_eq!(of(&[2; 33]), None);
    }
}
