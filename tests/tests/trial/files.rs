//! Servers and certificates.

use std::net::SocketAddr;

use ober_tests::nodes::one::serve_objects;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use crate::bench::{Bench, OTHER, ask};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str, by: Option<&Issuer>) -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    match by {
        Some(by) => CertifiedIssuer::signed_by(params, key, by).expect("signed"),
        None => CertifiedIssuer::self_signed(params, key).expect("signed"),
    }
}

/// Certificate and key, valid until the first of January of that year.
fn server(by: &Issuer, until: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec!["s3.ober.test".to_owned()]).expect("a name");
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn test_asks_a_server_by_its_health_request_and_names_one_that_is_down() {
    let bench = Bench::new("trial-servers");
    let address: SocketAddr = format!("{OTHER}:9000").parse().expect("an address");
    let mut storage = serve_objects(&bench.lab, &bench.other, address).expect("a server");
    let ober = bench.config(None, &address.to_string(), "");
    let found = ask(&bench.node, &ober, &["test", "backends"]);
    found.says("backends", "ok", "status 200", "");
    assert_eq!(found.one("backends")["object"], format!("rgw {address}"));
    assert!(storage.log().contains("GET /"), "{}", storage.log());
    storage.kill().expect("kill it");
    let found = ask(&bench.node, &ober, &["test", "backends"]);
    found.says("backends", "failed", "refused", "by hand");
    // The command reports nothing about parts that it was not asked for.
    assert_eq!(ask(&bench.node, &ober, &["test", "certificates"]).code, 0);
    let all = ask(&bench.node, &ober, &["test"]);
    assert_eq!((all.code, all.all().len()), (1, 1), "{all:#?}");
}

#[test]
fn certificates_are_judged_by_chain_key_and_time() {
    let bench = Bench::new("trial-certs");
    let root = authority("root", None);
    let between = authority("between", Some(&root));
    let (good, key) = server(&between, 2090);
    let (_, other) = server(&between, 2090);
    let (old, old_key) = server(&between, 2020);
    let (between, root) = (between.pem(), root.pem());
    for (name, pem, verdict, reason, advice) in [
        (
            "good",
            [&good, &between, &root, &key],
            "ok",
            "its key fits, its chain ends in an authority of its own",
            "",
        ),
        (
            "foreign",
            [&good, &between, &root, &other],
            "failed",
            "its key belongs to another certificate",
            "key",
        ),
        (
            "ended",
            [&old, &between, &root, &old_key],
            "failed",
            "it ended",
            "renew",
        ),
        (
            "short",
            [&good, &key, &String::new(), &String::new()],
            "failed",
            "CN=between is neither in the file",
            "intermediate",
        ),
    ] {
        let pem = pem.map(String::as_str).concat();
        let file = bench
            .lab
            .write(&format!("{name}.pem"), pem)
            .expect("write it");
        let ober = bench.config(Some(&file), "10.9.0.9:80", "");
        let found = ask(&bench.node, &ober, &["test", "certificates"]);
        found.says("certificates", verdict, reason, advice);
        assert_eq!(found.one("certificates")["details"]["services"], "s3");
    }
    let file = bench.lab.write(
        "late.pem",
        [&good, &between, &root, &key].map(String::as_str).concat(),
    );
    let ober = bench.config(Some(&file.expect("write it")), "10.9.0.9:80", "");
    let found = ask(
        &bench.node,
        &ober,
        &["test", "certificates", "--expiry", "36500d"],
    );
    found.says("certificates", "warning", "days left", "renew");
}

#[test]
fn the_table_names_object_verdict_reason_and_advice_and_a_bad_configuration_is_status_2() {
    let bench = Bench::new("trial-table");
    let ober = bench.config(None, "10.9.0.2:9000", "");
    let output = ober.try_cli(&bench.node, &["test"]).expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in [
        "part",
        "rgw 10.9.0.2:9000",
        "failed",
        "by hand",
        "0 ok, 0 warnings, 1 failed",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    std::fs::write(&ober.config, "[node]\n").expect("write it");
    let output = ober.try_cli(&bench.node, &["test"]).expect("it starts");
    assert_eq!(output.status.code(), Some(2));
}
