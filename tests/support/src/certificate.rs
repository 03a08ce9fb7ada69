//! Certificates that a test makes.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// A self-signed certificate for `s3.test`, and its key.
pub fn chain_and_key() -> String {
    let made = rcgen::generate_simple_self_signed(["s3.test".to_owned()]).unwrap();
    made.cert.pem() + &made.signing_key.serialize_pem()
}

/// An authority that signs the certificates of a test.
pub fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key for a name, valid from `from` to `to` in seconds from now.
pub fn issue(
    by: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    (from, to): (i64, i64),
) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let moment = |at: i64| {
        let since = Duration::from_secs(now.checked_add_signed(at).unwrap());
        rcgen::date_time_ymd(1970, 1, 1) + since
    };
    params.not_before = moment(from);
    params.not_after = moment(to);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate.pem(), key.serialize_pem())
}
