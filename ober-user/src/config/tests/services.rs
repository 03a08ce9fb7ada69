//! Services and backends: the results of their keys, and every refusal.

use super::*;

/// [`LEAST`] with lines inserted after a line.
fn with(behind: &str, lines: &str) -> String {
    assert!(LEAST.contains(behind));
    LEAST.replacen(behind, &format!("{behind}\n{lines}"), 1)
}

const SECURE: &str = "certificate = \"s3.pem\"";
const PLAIN: &str = "access = \"frontend-http\"";
const SERVICE: &str = "backend = \"rgw\"";
const BACKEND: &str = "servers = [\"rgw[01-08]:7480\"]";

#[test]
fn a_listener_accepts_only_the_keys_of_its_protocol() {
    for (text, expected) in [
        (
            with(SECURE, "protocol = 'tcp'"),
            "10: `certificate` is for listeners of protocol https and tls | remove it, or write another `protocol`",
        ),
        (
            with(PLAIN, "protocol = 'tls'"),
            "11: a listener of service `s3` that ends TLS without `certificate` | name a PEM file of chain and key, \
             or use `protocol = \"tls-passthrough\"`",
        ),
        (
            with(PLAIN, "hsts = '1d'"),
            "14: `hsts` is for listeners of protocol https | remove it, or write another `protocol`",
        ),
        (
            with(SECURE, "redirect_https = true"),
            "11: `redirect_https` is for listeners of protocol http | remove it, or write another `protocol`",
        ),
        (
            with(PLAIN, "[services.listeners.tls]"),
            "14: `tls` on a listener whose TLS does not end here | remove it, or add `certificate`",
        ),
        (
            with(SECURE, "protocol = 'htps'"),
            "11: unknown value `htps` | did you mean `https`?",
        ),
        (
            with(
                SECURE,
                "[services.listeners.tls]\nmin_version = '1.3'\nmax_version = '1.2'",
            ),
            "13: `max_version` is older than `min_version` | the default of `min_version` is \"1.2\"",
        ),
        (
            with(SECURE, "[services.listeners.tls]\nciphers = 'a b'"),
            "12: `ciphers` is `a b`, but must be names joined by `:` | `openssl ciphers -s` prints those of this machine",
        ),
        (
            with(SECURE, "[services.listeners.tls]\nalpn = ['h2,x']"),
            "12: `h2,x` is no protocol of ALPN | such as \"h2\" or \"http/1.1\"",
        ),
        (
            with(SECURE, "proxy_from = ['10.0.0.0/33']"),
            "11: `proxy_from`: \"10.0.0.0/33\" is not a prefix; write 10.0.0.0/8 or fd00::/8 | such as \"192.0.2.1\" or \"192.0.2.0/24\"",
        ),
    ] {
        let problems = ConfigDirectory::new().problems(&text);
        assert!(
            problems.iter().any(|problem| problem == expected),
            "{expected}\n{problems:?}"
        );
    }
    let alone = LEAST.replace(
        "port = 443\ncertificate = \"s3.pem\"",
        "port = 81\naccess = 'open'\nredirect_https = true",
    );
    assert_eq!(
        ConfigDirectory::new().problems(&alone),
        [
            "11: `redirect_https`, and the service has no https listener to send to | add one with a `certificate`"
        ]
    );
}

#[test]
fn a_route_may_only_test_properties_that_its_listeners_can_see() {
    let route = |lines: &str| format!("{LEAST}[[services.routes]]\nbackend = 'rgw'\n{lines}\n");
    let bytes = |text: String| {
        text.replace(SECURE, "protocol = 'tcp'\naccess = 'open'")
            .replace(PLAIN, "protocol = 'tcp'\naccess = 'open'")
    };
    for (text, expected) in [
        (
            route(""),
            "16: a route without a condition | write `vips`, `sni`, `hosts` or `paths`; the rest goes to the service's `backend`",
        ),
        (
            route("vips = ['192.0.2.99']"),
            "18: 192.0.2.99 is no VIP of this service | add it to the service's `vips`",
        ),
        (
            route("hosts = ['a b']"),
            "18: a name is `a b`, which is no host name | such as \"s3.example.com\"; for several, \"*.example.com\" or a pattern",
        ),
        (
            route("sni = ['*.']"),
            "18: a name below `*.` is ``, which is no host name | such as \"s3.example.com\"; for several, \"*.example.com\" or a pattern",
        ),
        (
            route("host_patterns = ['']"),
            "18: an expression that is empty or holds control characters | write one such as \"^s3[.]\"",
        ),
        (
            route("paths = ['x']"),
            "18: `x` is no beginning of a path | such as \"/bucket/\", in URL letters",
        ),
        (
            route("paths = ['/']").replace("backend = 'rgw'", "backend = 'rwg'"),
            "17: there is no backend `rwg` | did you mean `rgw`?",
        ),
        (
            bytes(route("hosts = ['a']")),
            "20: no listener of this service reads HTTP, so there is no host and no path | use `protocol = \"https\"`, or route by `sni`",
        ),
        (
            bytes(route("sni = ['a']")),
            "20: no listener of this service speaks TLS, so there is no name in SNI | add one, or route by `hosts`",
        ),
        (
            with(SERVICE, "no_name = 'reject'"),
            "8: no route of this service goes by a name | add `sni` or `hosts` to a route",
        ),
    ] {
        // Routes of the service must come before the table of the backend.
        let text = match text.split_once("[[services.routes]]") {
            Some((before, route)) => before.replacen(
                "[backends.rgw]",
                &format!("[[services.routes]]{route}[backends.rgw]"),
                1,
            ),
            None => text,
        };
        let expected = expected.split_once(": ").unwrap().1;
        let problems = ConfigDirectory::new().problems(&text);
        assert!(
            problems.iter().any(|problem| problem.ends_with(expected)),
            "{expected}\n{problems:?}"
        );
    }
}

#[test]
fn names_are_kept_in_lower_case_and_sorted_by_kind() {
    let text = with(
        PLAIN,
        "[[services.routes]]\nbackend = 'rgw'\nsni = ['B.Test', '*.C.test']\nsni_patterns = ['^D']\npaths = ['/x']",
    );
    let config = ConfigDirectory::new().parse(&text).unwrap();
    let [route] = &config.services[0].routes[..] else {
        panic!("one route")
    };
    assert_eq!(route.sni.exact, ["b.test"]);
    assert_eq!(route.sni.below, [".c.test"]);
    assert_eq!(route.sni.patterns, ["^D"]);
    assert!(route.hosts.is_empty());
}

#[test]
fn a_rule_that_is_malformed_or_has_no_effect_is_refused() {
    for (rules, expected) in [
        ("'permit all'", "it begins with neither `allow` nor `deny`"),
        ("'allow'", "it names no client"),
        (
            "'allow rgw01'",
            "it wants an address, a prefix or `all`, and \"rgw01\" is not an IPv4 address; write four numbers from 0 to 255 without leading zeros or blanks",
        ),
        (
            "'allow 10.5.0.1/16', 'deny all'",
            "it wants an address, a prefix or `all`, and 10.5.0.1/16 has bits set behind its length; write 10.5.0.0/16 for the network, or the address alone",
        ),
        ("'deny all port=1'", "`port=1` is no condition"),
        ("'deny all method=put'", "`method=put` is no condition"),
        (
            "'deny all path=x'",
            "`x` is no path as a storage reads it: it begins with `/` and has no `%`, `?`, `//`, `/./` and `/../`",
        ),
        (
            "'deny all path=/%61'",
            "`/%61` is no path as a storage reads it: it begins with `/` and has no `%`, `?`, `//`, `/./` and `/../`",
        ),
        ("'deny all host=a..'", "`host=a..` is no condition"),
    ] {
        let help = "such as \"allow 192.0.2.0/24\", \"deny all\" or \"deny all path=/admin method=PUT,DELETE\"";
        let problems =
            ConfigDirectory::new().problems(&with(SECURE, &format!("rules = [{rules}]")));
        assert_eq!(
            problems,
            [format!("11: no access rule: {expected} | {help}")]
        );
    }
    assert_eq!(
        ConfigDirectory::new().problems(&with(SECURE, "rules = ['deny all', 'allow 192.0.2.1']")),
        [
            "11: a rule that is never reached: an earlier rule applies to all clients | move it up or remove it"
        ]
    );
    let text = LEAST.replace(
        SECURE,
        "protocol = 'tls-passthrough'\nrules = ['deny all path=/x']",
    );
    assert!(
        ConfigDirectory::new()
            .problems(&text)
            .concat()
            .contains("a rule by path, host or method on a listener that does not read HTTP")
    );
}

#[test]
fn address_rules_become_a_list_of_their_own_and_the_other_rules_stay() {
    let rules = |lines: &str| {
        let config = ConfigDirectory::new().parse(&with(SECURE, lines)).unwrap();
        let listener = config.services[0].listeners[0].clone();
        (
            listener.access,
            listener.rules.len(),
            config.lists.get("s3:443").map(|list| list.sources.clone()),
        )
    };
    let own = Access::List("s3:443".to_owned());
    let sources = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(
        rules("rules = ['allow 192.0.2.0/31', 'deny all']"),
        (own.clone(), 0, sources(&["192.0.2.0/31"]))
    );
    assert_eq!(
        rules("rules = ['allow 192.0.2.1', 'deny all']"),
        (own.clone(), 0, sources(&["192.0.2.1/32"]))
    );
    assert_eq!(
        rules("rules = ['deny all path=/x']"),
        (Access::Open, 1, None)
    );
    let mixed = "rules = ['deny all path=/x', 'allow fd00::/8', 'deny all']";
    assert_eq!(rules(mixed), (own, 3, sources(&["fd00::/8"])));
    // XDP does not see the client behind a proxy.
    let expected = "rules = ['allow 192.0.2.0/31', 'deny all']\nproxy_from = ['192.0.2.9']";
    assert_eq!(rules(expected), (Access::Open, 2, None));
    let listed = "rules = ['allow 192.0.2.0/31', 'deny all']\naccess = 'routers'";
    assert_eq!(rules(listed), (Access::List(ROUTERS.to_owned()), 2, None));
    // Rules state the access of a plain listener, too.
    let plain = LEAST.replace(PLAIN, "rules = ['allow 192.0.2.0/31', 'deny all']");
    assert!(ConfigDirectory::new().parse(&plain).is_ok());
    let open = LEAST.replace(PLAIN, "rules = ['deny 192.0.2.0/31']");
    assert!(ConfigDirectory::new().problems(&open)[0].contains("so it must say its `access`"));
}

#[test]
fn each_worker_needs_a_share_of_a_limit_and_a_limit_needs_an_action_when_full() {
    for (text, expected) in [
        (
            with(SERVICE, "max_connections = 2"),
            "8: `max_connections` is 2, but 3 workers share it and each needs at least one | write 3 or more, or use fewer workers",
        ),
        (
            with(SERVICE, "client_connection_rate = '5'"),
            "8: `5` is not a rate such as \"50/s\", \"1000/10s\" or \"6000/m\"",
        ),
        (
            with(SERVICE, "client_connection_rate = '0/s'"),
            "8: `0/s` is not a rate such as \"50/s\", \"1000/10s\" or \"6000/m\"",
        ),
        (
            with(SERVICE, "client_request_rate = '5/0s'"),
            "8: `5/0s` is not a rate such as \"50/s\", \"1000/10s\" or \"6000/m\"",
        ),
        (
            with(BACKEND, "max_connections = 9"),
            "16: `max_connections` without saying what happens beyond | write `when_full = \"queue\"` or `when_full = \"reject\"`",
        ),
        (
            with(BACKEND, "when_full = 'reject'"),
            "16: it says what happens at `max_connections`, and there are none | write `max_connections`",
        ),
        (
            with(BACKEND, "balance = 'first'"),
            "16: with `balance = \"first\"` and no limit every client goes to one server | write `max_connections`",
        ),
        (
            with(BACKEND, "retries = 101"),
            "16: `retries` is 101, but must be from 0 to 100",
        ),
        (
            with(BACKEND, "proxy_protocol = 'v3'"),
            "16: unknown value `v3` | did you mean `v1`?",
        ),
        (
            with(BACKEND, "tls.verify = false\ntls.ca = 's3.pem'"),
            "17: `ca` is of no use without `verify` | remove `ca`, or `verify = false`",
        ),
        (
            with(BACKEND, "tls.ca = 'gone.pem'"),
            "16: `ca` @/gone.pem: No such file or directory (os error 2) | correct the path or leave the key out",
        ),
        (
            with(BACKEND, "tls.server_name = 'a/b'"),
            "16: server_name is `a/b`, which is no host name | such as \"s3.example.com\"; for several, \"*.example.com\" or a pattern",
        ),
        (
            LEAST.replace(":7480\"]", ":7480 weight=257\"]"),
            "15: `weight=257` says nothing about servers | after the expression you may write `weight=0` to `weight=256`, `tier=0` to `tier=255` and `max_connections=1` or more",
        ),
    ] {
        assert_eq!(ConfigDirectory::new().problems(&text), [expected], "{text}");
    }
    let bytes = LEAST
        .replace(SECURE, "protocol = 'tls-passthrough'")
        .replace(PLAIN, "protocol = 'tcp'\naccess = 'open'")
        .replace(SERVICE, "backend = 'rgw'\nclient_request_rate = '5/s'");
    assert_eq!(
        ConfigDirectory::new().problems(&bytes),
        [
            "8: `client_request_rate` without a listener that speaks HTTP | limit connections with `client_connection_rate`"
        ]
    );
}

#[test]
fn a_backend_gets_requests_or_bytes_and_not_both() {
    let both = LEAST.replace(PLAIN, "protocol = 'tcp'\naccess = 'open'");
    assert_eq!(
        ConfigDirectory::new().problems(&both),
        [
            "4: backend `rgw` is for requests of service `s3` and cannot be for bytes of service `s3` too | write a second \
          backend with the same servers"
        ]
    );
}

#[test]
fn a_timeout_of_zero_is_no_limit() {
    let text = with(SERVICE, "timeouts.client = '0'") + "timeouts.server = '0'\n";
    let config = ConfigDirectory::new().parse(&text).unwrap();
    assert_eq!(config.services[0].timeouts.client, Some(Duration::ZERO));
    assert_eq!(config.services[0].timeouts.keep_alive, None);
    assert_eq!(config.backends["rgw"].timeouts.server, Duration::ZERO);
}

#[test]
fn servers_of_a_tcp_backend_get_a_tcp_check_unless_another_is_configured() {
    let kind = |protocol: &str, check: &str| {
        let text = format!(
            "[node]\ninterfaces=['a']\n[[services]]\nname='s'\nvips=['192.0.2.1']\nbackend='b'\n\
             [[services.listeners]]\nport=80\naccess='open'\nprotocol='{protocol}'\n[backends.b]\n{check}"
        );
        let config = ConfigDirectory::new().parse(&text).unwrap();
        config.backends["b"].check.as_ref().unwrap().kind.name()
    };
    assert_eq!(kind("http", ""), "http");
    assert_eq!(kind("tcp", ""), "tcp");
    assert_eq!(kind("tcp", "check={ rise = 5 }"), "tcp");
    assert_eq!(kind("tcp", "check={ path = '/health' }"), "http");
    assert_eq!(kind("tcp", "check={ kind = 'http' }"), "http");
}
