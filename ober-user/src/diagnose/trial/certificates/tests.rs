//! Verdicts as a table, and files made for each.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
};

use super::*;
use crate::{diagnose::finding::Verdict, system::clock};

const NOW: u64 = 1_800_000_000;
const MONTH: Duration = Duration::from_secs(30 * DAY);

fn facts() -> ChainFacts {
    ChainFacts {
        now: NOW,
        from: NOW - DAY,
        until: NOW + 90 * DAY,
        subject: "CN=s3".into(),
        issuer: "CN=authority".into(),
        key: Ok(()),
        trust: Trust::System,
    }
}

fn but(change: impl FnOnce(&mut ChainFacts)) -> ChainFacts {
    let mut facts = facts();
    change(&mut facts);
    facts
}

#[test]
fn every_state_of_a_certificate_has_its_verdict() {
    let led = |trust| but(|it| it.trust = trust);
    let foreign = but(|it| {
        it.key = Err("its key belongs to another certificate".into());
        it.until = 0;
    });
    let complete = "its key fits, its chain is complete, 90 days left";
    let own = "its key fits, its chain ends in an authority of its own, 90 days left";
    let short = "its chain is not complete: CN=authority is neither in the file nor trusted here";
    let soon = "its key fits, its chain is complete, 30 days left";
    let broken = Trust::Broken("BadSignature".into());
    let (until, from) = (NOW - 2 * DAY, NOW + 1);
    for (facts, verdict, reason) in [
        (facts(), Verdict::Ok, complete),
        (led(Trust::Own), Verdict::Ok, own),
        (
            led(Trust::SelfSigned),
            Verdict::Warning,
            "self-signed, 90 days left",
        ),
        (led(Trust::Incomplete), Verdict::Failed, short),
        (
            led(broken),
            Verdict::Failed,
            "its chain is broken: BadSignature",
        ),
        (but(|it| it.until = NOW + 30 * DAY), Verdict::Warning, soon),
        (
            but(|it| it.until = until),
            Verdict::Failed,
            "it ended 2 days ago",
        ),
        (
            but(|it| it.from = from),
            Verdict::Failed,
            "it begins in 1 days",
        ),
        (
            foreign,
            Verdict::Failed,
            "its key belongs to another certificate",
        ),
    ] {
        let finding = judge(Path::new("/s3.pem"), &facts, MONTH);
        let said = (finding.verdict, finding.reason.as_str());
        assert_eq!(said, (verdict, reason));
        assert_eq!(finding.advice.is_some(), verdict != Verdict::Ok);
    }
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str, by: Option<&Issuer>) -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    match by {
        Some(by) => CertifiedIssuer::signed_by(params, key, by).unwrap(),
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
    }
}

fn server(by: &Issuer) -> (Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec!["s3.ober.test".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "s3");
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap(), key)
}

fn of(pem: &[&str]) -> ChainFacts {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("s3.pem");
    std::fs::write(&path, pem.concat()).unwrap();
    read(&path, clock::seconds()).unwrap()
}

#[test]
fn certificate_files_are_read_for_key_chain_and_trust() {
    let root = authority("root", None);
    let between = authority("between", Some(&root));
    let (own, key) = server(&between);
    let (_, other) = server(&between);
    let (own, key, other) = (own.pem(), key.serialize_pem(), other.serialize_pem());
    let (root, between) = (root.pem(), between.pem());

    let whole = of(&[&own, &between, &root, &key]);
    assert_eq!((whole.key, whole.trust), (Ok(()), Trust::Own));
    assert_eq!(whole.subject, "CN=s3");
    let short = of(&[&own, &key]);
    assert_eq!(
        (short.trust, short.issuer.as_str()),
        (Trust::Incomplete, "CN=between")
    );
    let gap = of(&[&own, &root, &key]);
    assert!(matches!(gap.trust, Trust::Incomplete), "{:?}", gap.trust);
    let foreign = of(&[&own, &between, &root, &other]);
    assert_eq!(
        foreign.key,
        Err("its key belongs to another certificate".to_owned())
    );
    let alone = rcgen::generate_simple_self_signed(vec!["s3.ober.test".to_owned()]).unwrap();
    let alone = of(&[&alone.cert.pem(), &alone.signing_key.serialize_pem()]);
    assert_eq!((alone.key, alone.trust), (Ok(()), Trust::SelfSigned));
}
