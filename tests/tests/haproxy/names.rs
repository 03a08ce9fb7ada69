//! Which backend serves a client, by every name that it may send, and which clients are refused.

use std::{net::SocketAddr, sync::LazyLock};

use ober_tests::{client::Raw, lab::client4, origin::Manner};

use super::front::{Front, backend, field, service, vip, who};

const STRATEGIES: [&str; 3] = ["default", "any", "reject"];
const PROTOCOLS: [&str; 3] = ["https", "tls", "tls-passthrough"];

/// The service of each pair of protocol and strategy has a VIP of its own.
fn stranger_vip(protocol: usize, strategy: usize) -> u8 {
    u8::try_from(20 + protocol * 3 + strategy).unwrap()
}

fn strangers() -> String {
    let mut text = String::new();
    for (number, protocol) in PROTOCOLS.iter().enumerate() {
        for (place, strategy) in STRATEGIES.iter().enumerate() {
            let [own, other] = match *protocol {
                "https" => ["a", "b"],
                "tls" => ["raw-a", "raw-b"],
                _ => ["tls-a", "tls-b"],
            };
            let certificate = if number < 2 {
                "certificate = \"@/all.pem\""
            } else {
                ""
            };
            text += &service(
                &format!("{protocol}-{strategy}"),
                stranger_vip(number, place),
                own,
                &format!("unexpected_name = \"{strategy}\"\nno_name = \"{strategy}\""),
                443,
                &format!(
                    "protocol = \"{protocol}\"\n{certificate}\n[[services.routes]]\n\
                     sni = [\"B.test\", \"*.b.test\"]\nsni_patterns = [\"^c[0-9]\"]\nbackend = \"{other}\""
                ),
            );
        }
    }
    text
}

/// One stage for all laws of this file; it goes with the process.
static FRONT: LazyLock<Front> = LazyLock::new(|| {
    let vips = format!("vips = [\"{}\"]\n", vip(4));
    let routes = "[[services.listeners]]\nport = 80\naccess = \"open\"\n\
         [[services.routes]]\nhosts = [\"b.test\", \"*.b.test\"]\nhost_patterns = [\"^c[0-9]\"]\nbackend = \"b\"\n\
         [[services.routes]]\npaths = [\"/c/\"]\nbackend = \"c\"";
    let by_vip = format!("access = \"open\"\n[[services.routes]]\n{vips}backend = \"b\"");
    let client = client4(0);
    let rules = "rules = [\"allow all method=GET path=/admin/open\", \"deny all path=/admin\", \
         \"deny all method=PUT\", \"deny all host=admin.s3.test,*.closed.test\", \"allow all\"]";
    let closed = format!("protocol = \"tcp\"\nrules = [\"allow {client}\", \"deny all\"]");
    let services = [
        service(
            "host",
            1,
            "a",
            "unexpected_name = \"reject\"",
            443,
            &format!("certificate = \"@/all.pem\"\nhsts = \"365d\"\n{routes}"),
        ),
        service(
            "redirect",
            2,
            "a",
            "",
            443,
            "certificate = \"@/all.pem\"\n[[services.listeners]]\nport = 80\naccess = \"open\"\nredirect_https = true",
        ),
        service("vips", 3, "a", "", 80, &by_vip)
            .replace("9.3\"]", &format!("9.3\", \"{}\"]", vip(4))),
        service("rules", 5, "a", "", 80, rules),
        service("closed", 6, "raw-a", "", 80, &closed),
        strangers(),
    ];
    let backends = ["a", "b", "c", "raw-a", "raw-b", "tls-a", "tls-b"]
        .iter()
        .enumerate()
        .map(|(number, name)| backend(name, &format!("[\"10.77.1.{}:80\"]", 10 + number), ""));
    let text = services.concat() + &backends.collect::<String>();
    let front = Front::new("names", 2, &text);
    for (name, last) in [("a", 10), ("b", 11), ("c", 12), ("a", 13), ("b", 14)] {
        front.origin(name, last, 80, Manner::default());
    }
    front.secure_origin("a", 15, 80, false);
    front.secure_origin("b", 16, 80, false);
    front.start()
});

#[test]
fn a_request_goes_where_its_host_or_path_says_in_the_order_of_the_routes() {
    for (host, path, expected) in [
        ("b.test", "/", "b"),
        ("B.TEST:8080", "/", "b"),
        ("x.b.test", "/c/1", "b"),
        ("xb.test", "/", "421"),
        ("c1.test", "/", "b"),
        ("c.test", "/", "421"),
        ("b.test.evil", "/", "421"),
        ("b.test", "/c/1", "b"),
    ] {
        assert_eq!(FRONT.who(1, 80, host, path), expected, "{host} {path}");
        assert_eq!(
            FRONT.who_by_tls(1, "other.test", host, path),
            expected,
            "{host} {path} over TLS"
        );
    }
    // A request without a host is none with an unexpected host, and this service has no rule for it.
    let raw = Raw::new(SocketAddr::new(vip(1), 80));
    for (path, expected) in [("/c/1", "c"), ("/d", "a")] {
        let answer = FRONT.ask(|| raw.say(&format!("GET {path} HTTP/1.0\r\n\r\n")));
        assert_eq!(who(answer), expected, "{path}");
    }
}

#[test]
fn a_route_by_vip_takes_only_requests_to_that_vip() {
    assert_eq!(FRONT.who(3, 80, "x", "/"), "a");
    assert_eq!(FRONT.who(4, 80, "x", "/"), "b");
}

#[test]
fn browsers_are_redirected_to_https_and_get_an_hsts_header() {
    let raw = Raw::new(SocketAddr::new(vip(2), 80));
    let answer = FRONT.ask(|| raw.get("s3.test:80", "/a?b=c")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(
        answer
            .to_ascii_lowercase()
            .contains("location: https://s3.test/a?b=c\r\n"),
        "{answer}"
    );
    let raw = Raw::new(SocketAddr::new(vip(1), 443)).tls(&FRONT.trust, "s3.test");
    let answer = FRONT.ask(|| raw.get("b.test", "/")).unwrap();
    let expected = "strict-transport-security: max-age=31536000\r\n";
    assert!(answer.to_ascii_lowercase().contains(expected), "{answer}");
}

#[test]
fn a_known_name_in_sni_selects_its_backend_in_any_case_and_for_every_protocol() {
    for (number, protocol) in PROTOCOLS.iter().enumerate() {
        for place in 0..STRATEGIES.len() {
            let at = stranger_vip(number, place);
            for name in ["b.test", "B.Test", "x.b.test", "c1.test"] {
                assert_eq!(
                    FRONT.who_by_tls(at, name, "h", "/"),
                    "b",
                    "{protocol} {name}"
                );
            }
        }
    }
}

#[test]
fn an_unknown_or_missing_sni_is_handled_as_the_service_configures_for_every_protocol() {
    for (number, protocol) in PROTOCOLS.iter().enumerate() {
        for (place, strategy) in STRATEGIES.iter().enumerate() {
            let at = stranger_vip(number, place);
            // Not a name: SNI is left out.
            let none = vip(at).to_string();
            for name in ["other.test", &none] {
                let mut got: Vec<String> = (0..16)
                    .map(|_| FRONT.who_by_tls(at, name, "h", "/"))
                    .collect();
                got.sort();
                got.dedup();
                let expected = match *strategy {
                    "default" => vec!["a"],
                    "any" => vec!["a", "b"],
                    _ => vec!["closed"],
                };
                assert_eq!(got, expected, "{protocol} {strategy} {name}");
            }
        }
    }
}

#[test]
fn a_client_hello_split_over_two_segments_keeps_its_name() {
    for number in 0..PROTOCOLS.len() {
        for first in [1, 6, 60] {
            let at = SocketAddr::new(vip(stranger_vip(number, 2)), 443);
            let raw = Raw::new(at).tls(&FRONT.trust, "b.test").cut(first);
            assert_eq!(
                who(FRONT.ask(|| raw.get("h", "/"))),
                "b",
                "{number} {first}"
            );
        }
    }
}

#[test]
fn the_first_matching_rule_decides_by_path_and_method() {
    let raw = Raw::new(SocketAddr::new(vip(5), 80));
    for (method, path, expected) in [
        ("GET", "/x", "a"),
        ("PUT", "/x", "403"),
        ("GET", "/admin/x", "403"),
        ("GET", "/%61dmin/x", "403"),
        ("GET", "/admin/open", "a"),
        ("PUT", "/admin/open", "403"),
    ] {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            who(FRONT.ask(|| raw.say(&text))),
            expected,
            "{method} {path}"
        );
    }
}

/// The client sends paths unchanged, as curl does with `--path-as-is`.
#[test]
fn no_spelling_of_a_path_evades_a_rule() {
    let denied = [
        "/admin",
        "/admin/",
        "/admin?x=/open",
        "/%61dmin/",
        "/admin%00/",
        "/admin%zz",
        "//admin/",
        "/./admin/",
        "///.//admin/",
        "/x/../admin/",
        "/x/..//admin/",
        "/a/b/../../admin",
        "/a/../b/../admin",
        "/../admin",
        "/../../admin",
        "/a/../../admin",
        "/x/%2e%2e/admin",
        "/x/.%2E/admin",
        "/x%2f..%2fadmin",
        "/x%2F%2e%2e%2Fadmin",
        "/%2561dmin",
        "/x/%252e%252e/admin",
        "/x%252f..%252fadmin",
        "/%25252561dmin",
        "/x/..;/admin",
        "/%00/../admin",
        "/%2500/../admin",
        "/x/%zz/%61/../../../admin",
        "/a/b/c/d/e/f/g/h/../../../../../../../../admin",
        "/a/b/c/d/e/f/g/h/../../../../../../../../../../../admin",
        "http://h/admin/",
        "http://h//admin/",
        // An allowed path is served only if no server could read it as another path.
        "/admin/open/../x",
        "/x/../admin/open/../x",
        "/admin/open%2f..%2fx",
        "/admin/open/%252e%252e/x",
        "//admin/open/%2e./",
        "//admin//open/x",
    ];
    let served = [
        "/",
        "/x",
        "/x/admin",
        "/x/admin/../y",
        "/x/50%25_off",
        "/x/100%25",
        "/x/a%2520b",
        "/x/a+b%20c",
        "/x/...",
        "/x/..a/.b/c..",
        "/x/%C3%B6%F0%9F%98%80",
        "/x/a;b=c",
        "/x/a//b/./c/../d",
        "/x%2Fadmin",
        "/?prefix=/admin",
        "/admin/open",
        "/admin/open/x",
        "/%61dmin/open",
        "/admin/open/a/../b",
    ];
    let raw = Raw::new(SocketAddr::new(vip(5), 80));
    let wanted = denied.map(|path| (path, "403"));
    for (path, expected) in wanted.into_iter().chain(served.map(|path| (path, "a"))) {
        assert_eq!(who(FRONT.ask(|| raw.get("h", path))), expected, "{path}");
    }
}

#[test]
fn a_rule_by_host_takes_buckets_that_are_named_by_the_host() {
    let raw = Raw::new(SocketAddr::new(vip(5), 80));
    for (host, expected) in [
        ("admin.s3.test", "403"),
        ("ADMIN.s3.Test:80", "403"),
        ("admin.s3.test.", "403"),
        ("admin.s3.test.:8080", "403"),
        ("a.closed.test", "403"),
        ("closed.test", "a"),
        ("s3.test", "a"),
        ("xadmin.s3.test", "a"),
    ] {
        assert_eq!(who(FRONT.ask(|| raw.get(host, "/"))), expected, "{host}");
    }
}

#[test]
fn a_route_by_path_decodes_the_path_as_s3_does_and_does_not_normalise_it() {
    for (path, expected) in [
        ("/c/1", "c"),
        ("/%63/1", "c"),
        ("/%63%2F1", "c"),
        ("/c%zz", "a"),
        ("/c/%zz", "c"),
        ("//c/1", "a"),
        ("/x/../c/1", "a"),
        ("/c/../d", "c"),
    ] {
        let raw = Raw::new(SocketAddr::new(vip(1), 80));
        let answer = FRONT.ask(|| raw.say(&format!("GET {path} HTTP/1.0\r\n\r\n")));
        assert_eq!(who(answer), expected, "{path}");
    }
}

#[test]
fn rules_by_address_are_decided_before_haproxy_sees_a_packet() {
    let raw = Raw::new(SocketAddr::new(vip(6), 80));
    let answer = FRONT.ask(|| raw.get("h", "/")).unwrap();
    assert_eq!(field(&answer, "name"), "a");
    let stranger = SocketAddr::new(vip(6), 80);
    let limit = std::time::Duration::from_millis(400);
    let refused = FRONT.cluster.clients[1]
        .run(|| std::net::TcpStream::connect_timeout(&stranger, limit).map(drop))
        .unwrap();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    let text = std::fs::read_to_string(FRONT.cluster.lab.directory().join("run/worker-0.cfg"));
    assert!(
        !text.unwrap_or_default().contains("10.77.0.11"),
        "HAProxy has no rule for it"
    );
}
