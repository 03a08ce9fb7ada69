//! Which names can have certificates issued, and the messages when they cannot.

use super::{ConfigDirectory, LEAST};
use crate::config::sections::acme::{Challenge, Provider};

/// A configuration whose TLS listener has these names beside its file.
fn wanting(names: &str, rest: &str) -> String {
    LEAST.replace(
        "certificate = \"s3.pem\"",
        &format!("certificate = \"s3.pem\"\nacme = {names}"),
    ) + rest
}

const HTTP: &str = "\n[acme]\nterms_agreed = true\n";

#[test]
fn acme_names_need_an_authority_and_agreement_to_its_terms() {
    let directory = ConfigDirectory::new();
    assert_eq!(
        directory.problems(&wanting("[\"s3.test\"]", "")),
        [
            "11: `acme` names certificates to be issued, but there is no [acme] | add `[acme]` with `terms_agreed = true`"
        ]
    );
    let problems = directory.problems(&wanting("[\"s3\"]", "\n[acme]\nchallenge = \"dns-01\""));
    assert!(
        problems
            .iter()
            .any(|it| it.contains("`s3` is no host name")),
        "{problems:?}"
    );
    assert!(
        problems.iter().any(|it| it.contains("terms of service")),
        "{problems:?}"
    );
    assert!(
        problems
            .iter()
            .any(|it| it.contains("a provider that sets records")),
        "{problems:?}"
    );
}

#[test]
fn http_01_requires_port_80_open_to_all_clients_and_the_error_names_the_closed_vip() {
    let directory = ConfigDirectory::new();
    let closed = wanting("[\"s3.test\"]", HTTP);
    let problems = directory.problems(&closed);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with(
            "11: the authority could not come to port 80 of VIP 192.0.2.10, where `http-01` is answered: it is for \
             listed clients only, and the kernel drops the packets of others | `challenge = \"dns-01\"`"
        ),
        "{problems:?}"
    );
    let open = closed.replace("access = \"frontend-http\"", "access = \"open\"");
    let config = directory.parse(&open).unwrap();
    assert_eq!(config.acme.unwrap().challenge, Challenge::Http);
    for (from, to, why) in [
        ("port = 80", "port = 81", "nothing listens there"),
        (
            "port = 80",
            "port = 80\nprotocol = \"tcp\"",
            "speaks no HTTP",
        ),
        (
            "access = \"open\"",
            "rules = [\"allow 192.0.2.0/24\", \"deny all\"]",
            "for listed clients only",
        ),
        (
            "[\"s3.test\"]",
            "[\"*.s3.test\"]",
            "`*.s3.test` by `http-01`",
        ),
    ] {
        let problems = directory.problems(&open.replace(from, to));
        assert!(
            problems.iter().any(|it| it.contains(why)),
            "{why}: {problems:?}"
        );
    }
}

#[test]
fn dns_01_works_with_wildcards_and_closed_ports_and_refuses_keys_of_other_providers() {
    let directory = ConfigDirectory::new();
    let route53 = "\n[acme]\nterms_agreed = true\nchallenge = \"dns-01\"\n[acme.dns]\nprovider = \"route53\"\n\
                   zone = \"Z1\"\naccess_key = \"AKIA1\"\nsecret_key_file = \"secret\"\n";
    std::fs::write(directory.path("secret"), "hush\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(directory.path("secret"), mode).unwrap();
    let text = wanting("[\"s3.test\", \"*.s3.test\"]", route53);
    let config = directory.parse(&text).unwrap();
    assert!(!format!("{config:?}").contains("hush"));
    let Some(Challenge::Dns(dns)) = config.acme.map(|acme| acme.challenge) else {
        panic!("dns-01")
    };
    let Provider::Route53(route53) = dns.provider else {
        panic!("route53")
    };
    assert_eq!(route53.secret_key.0, "hush");
    let problems = directory.problems(&text.replace("\"route53\"", "\"exec\""));
    assert!(
        problems
            .iter()
            .any(|it| it.contains("`zone` has no meaning")),
        "{problems:?}"
    );
    assert!(
        problems.iter().any(|it| it.contains("no `command`")),
        "{problems:?}"
    );
}

#[test]
fn the_same_names_in_another_order_are_one_certificate() {
    let directory = ConfigDirectory::new();
    let open = HTTP.to_owned();
    let file = |names: &str| {
        let text = wanting(names, &open).replace("access = \"frontend-http\"", "access = \"open\"");
        let config = directory.parse(&text).unwrap();
        let tls = config.services[0].listeners[0]
            .protocol
            .termination()
            .unwrap();
        tls.issued("/state".as_ref())
            .unwrap()
            .file_name()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        file("[\"a.test\", \"b.test\"]"),
        file("[\"b.test\", \"a.test\"]")
    );
    assert_ne!(file("[\"a.test\"]"), file("[\"b.test\"]"));
}
