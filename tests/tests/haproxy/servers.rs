//! How Ober speaks to servers: TLS and its certificates, the PROXY protocol both ways, uploads that ask first.

use std::{net::SocketAddr, sync::LazyLock};

use ober_tests::{client::Raw, lab::client4, origin::Manner};

use super::front::{Front, backend, field, service, vip, who};

/// Backend, its servers' last byte and port, its keys, what a client gets.
const TO_SERVERS: [(&str, u8, &str, &str); 9] = [
    (
        "good",
        30,
        "[backends.good.tls]\nca = \"@/ca.pem\"\nserver_name = \"origin.test\"",
        "tls",
    ),
    (
        "ca-alone",
        30,
        "[backends.ca-alone.tls]\nca = \"@/ca.pem\"",
        "tls",
    ),
    (
        "bad-ca",
        30,
        "[backends.bad-ca.tls]\nca = \"@/other-ca.pem\"",
        "503",
    ),
    (
        "bad-name",
        30,
        "[backends.bad-name.tls]\nca = \"@/ca.pem\"\nserver_name = \"wrong.test\"",
        "503",
    ),
    (
        "unverified",
        30,
        "[backends.unverified.tls]\nverify = false",
        "tls",
    ),
    (
        "shown",
        31,
        "[backends.shown.tls]\nca = \"@/ca.pem\"\ncertificate = \"@/client.pem\"",
        "mutual",
    ),
    // TLS 1.3 lets a client without a certificate learn of it only afterwards.
    (
        "hidden",
        31,
        "[backends.hidden.tls]\nca = \"@/ca.pem\"\nmax_version = \"1.2\"",
        "503",
    ),
    ("v1", 32, "proxy_protocol = \"v1\"", "told"),
    ("v2", 32, "proxy_protocol = \"v2\"", "told"),
];

static FRONT: LazyLock<Front> = LazyLock::new(|| {
    let mut text = service("out", 1, "good", "", 80, "access = \"open\"");
    let route =
        |name: &str| format!("[[services.routes]]\npaths = [\"/{name}/\"]\nbackend = \"{name}\"\n");
    text += &TO_SERVERS.map(|(name, ..)| route(name)).concat();
    for (name, last, keys, _) in TO_SERVERS {
        text += &backend(name, &format!("[\"10.77.1.{last}:80\"]"), keys);
    }
    let proxies = format!("proxy_from = [\"{}\"]", client4(0));
    let by_vip = format!(
        "[[services.routes]]\nvips = [\"{}\"]\nbackend = \"v1\"",
        vip(3)
    );
    let rules = "rules = [\"deny 198.51.100.66\", \"allow all\"]";
    text += &service(
        "in",
        2,
        "plain",
        "",
        80,
        &format!("access = \"open\"\n{proxies}\n{rules}\n{by_vip}"),
    )
    .replace("9.2\"]", &format!("9.2\", \"{}\"]", vip(3)));
    text += &service(
        "in-tls",
        4,
        "plain",
        "",
        443,
        &format!("certificate = \"@/all.pem\"\n{proxies}"),
    );
    let old = "certificate = \"@/all.pem\"\n[services.listeners.tls]\nmin_version = \"1.2\"\nmax_version = \"1.2\"\n\
         suites = \"TLS_AES_128_GCM_SHA256\"\nciphers = \"ECDHE-ECDSA-AES256-GCM-SHA384\"\nalpn = [\"http/1.1\"]\ntickets = false";
    text += &service("old", 5, "plain", "", 443, old);
    let new = "certificate = \"@/all.pem\"\n[services.listeners.tls]\nmin_version = \"1.3\"";
    text += &service("new", 6, "plain", "", 443, new);
    text += &backend("plain", "[\"10.77.1.33:80\"]", "");
    let front = Front::new("servers", 1, &text);
    front.secure_origin("tls", 30, 80, false);
    front.secure_origin("mutual", 31, 80, true);
    let manner = Manner {
        proxy: true,
        ..Manner::default()
    };
    front.origin("told", 32, 80, manner);
    front.origin("plain", 33, 80, Manner::default());
    front.start()
});

#[test]
fn tls_to_servers_verifies_authority_and_name_and_presents_a_client_certificate() {
    for (name, .., expected) in TO_SERVERS {
        assert_eq!(
            FRONT.who(1, 80, "h", &format!("/{name}/x")),
            expected,
            "{name}"
        );
    }
    let raw = Raw::new(SocketAddr::new(vip(1), 80));
    for (name, sni, certificate) in [
        ("good", "origin.test", "false"),
        ("ca-alone", "-", "false"),
        ("shown", "-", "true"),
    ] {
        let answer = FRONT.ask(|| raw.get("h", &format!("/{name}/x"))).unwrap();
        assert_eq!(field(&answer, "sni"), sni, "{name}");
        assert_eq!(field(&answer, "certificate"), certificate, "{name}");
    }
}

#[test]
fn servers_get_the_clients_address_by_either_version_of_the_proxy_protocol() {
    let raw = Raw::new(SocketAddr::new(vip(1), 80));
    for name in ["v1", "v2"] {
        let answer = FRONT.ask(|| raw.get("h", &format!("/{name}/x"))).unwrap();
        let expected = format!("{name} {} {}", client4(0), vip(1));
        assert_eq!(field(&answer, "proxy"), expected);
    }
}

fn v1(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 203.0.113.1 4000 80\r\n").into_bytes()
}

fn v2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(source);
    header.extend([203, 0, 113, 1, 0x0f, 0xa0, 0, 80]);
    header
}

#[test]
fn behind_a_trusted_proxy_rules_use_the_clients_address_and_routes_use_the_vip() {
    for (header, expected) in [
        (v1("198.51.100.7"), "198.51.100.7"),
        (v2([198, 51, 100, 8]), "198.51.100.8"),
    ] {
        let raw = Raw::new(SocketAddr::new(vip(2), 80)).before(header.clone());
        let answer = FRONT.ask(|| raw.get("h", "/")).unwrap();
        assert_eq!(field(&answer, "for"), expected);
        assert_eq!(field(&answer, "name"), "plain");
        let raw = Raw::new(SocketAddr::new(vip(3), 80)).before(header);
        let answer = FRONT.ask(|| raw.get("h", "/")).unwrap();
        let header = field(&answer, "proxy");
        assert!(header.starts_with(&format!("v1 {expected} ")), "{header}");
    }
    for header in [v1("198.51.100.66"), v2([198, 51, 100, 66])] {
        let raw = Raw::new(SocketAddr::new(vip(2), 80)).before(header);
        assert_eq!(
            who(FRONT.ask(|| raw.get("h", "/"))),
            "closed",
            "denied by what is told"
        );
    }
    let raw = Raw::new(SocketAddr::new(vip(4), 443))
        .before(v2([198, 51, 100, 9]))
        .tls(&FRONT.trust, "s3.test");
    let answer = FRONT.ask(|| raw.get("h", "/")).unwrap();
    assert_eq!(field(&answer, "for"), "198.51.100.9");
}

#[test]
fn only_configured_proxies_may_state_the_clients_address() {
    let raw = Raw::new(SocketAddr::new(vip(2), 80));
    let ask = |raw: &Raw| FRONT.cluster.clients[1].run(|| raw.get("h", "/")).unwrap();
    let answer = ask(&raw).unwrap();
    assert_eq!(field(&answer, "for"), client4(1).to_string());
    assert_eq!(who(ask(&raw.clone().before(v1("198.51.100.7")))), "400");
    // The named proxies must send a header: without one the connection is closed.
    assert_eq!(who(FRONT.ask(|| raw.get("h", "/"))), "closed");
}

#[test]
fn a_listener_offers_the_configured_tls_versions() {
    use rustls::{ClientConfig, crypto::ring, version};
    let only = |version: &'static rustls::SupportedProtocolVersion| {
        let builder = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(&[version])
            .unwrap();
        let roots = FRONT.authority.roots().unwrap();
        std::sync::Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    };
    for (last, version, expected) in [
        (5, &version::TLS12, "plain"),
        (5, &version::TLS13, "closed"),
        (6, &version::TLS12, "closed"),
        (6, &version::TLS13, "plain"),
    ] {
        let raw = Raw::new(SocketAddr::new(vip(last), 443)).tls(&only(version), "s3.test");
        assert_eq!(
            who(FRONT.ask(|| raw.get("h", "/"))),
            expected,
            "{last} {version:?}"
        );
    }
}

#[test]
fn a_client_that_sends_expect_100_continue_is_answered_by_the_server() {
    let mut open = FRONT
        .ask(|| {
            Raw::new(SocketAddr::new(vip(4), 443))
                .before(v1("192.0.2.1"))
                .tls(&FRONT.trust, "s3.test")
                .open()
        })
        .unwrap();
    open.write("PUT /big HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n").unwrap();
    let first = open.some().unwrap();
    assert!(first.starts_with("HTTP/1.1 100 "), "{first}");
    open.write("12345").unwrap();
    let answer = open.end().unwrap();
    assert_eq!(field(&answer, "expect"), "100-continue");
    assert_eq!(field(&answer, "bytes"), "5");
}
