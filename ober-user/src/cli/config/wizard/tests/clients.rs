//! Who may use a service, whatever is answered to the other questions.

use super::*;

/// Until the question of the certificate.
const UNTIL: [Option<&str>; 7] = [None; 7];

fn certificate(answers: &[Option<&'static str>]) -> Vec<Option<&'static str>> {
    [&UNTIL[..], answers].concat()
}

fn of_port(view: &View, port: &str, name: &str) -> Option<String> {
    view.text(&key(&["services", "s3", "listeners", port, name]))
}

#[test]
fn a_new_listener_with_a_certificate_is_for_the_clients_that_the_service_had() {
    let text = configured(server());
    let stage = Stage::new();
    let answers = certificate(&[Some("a file"), Some("s3.pem")]);
    let (_, view, script) = stage.after(&text, &answers);
    assert_eq!(of_port(&view, "443", "access").unwrap(), "frontend-http");
    assert!(
        script
            .said
            .iter()
            .any(|it| it.contains("is for the clients of")),
        "{:?}",
        script.said
    );
    let rules = text.replace(
        "access = 'frontend-http'",
        "rules = ['allow 10.0.0.0/8', 'deny all']",
    );
    let (_, view, _) = stage.after(&rules, &answers);
    let carried = key(&["services", "s3", "listeners", "443", "rules"]);
    assert_eq!(view.texts(&carried), ["allow 10.0.0.0/8", "deny all"]);
    // Two that differ: the operator chooses.
    let two = text.replace(
        "access = 'frontend-http'\n",
        "access = 'frontend-http'\n[[services.listeners]]\nport = 8080\naccess = 'routers'\n",
    );
    let chosen = [
        Some("a file"),
        Some("s3.pem"),
        Some("those of `services.s3.listeners.8080`"),
    ];
    let (_, view, _) = stage.after(&two, &certificate(&chosen));
    assert_eq!(of_port(&view, "443", "access").unwrap(), "routers");
}

#[test]
fn a_certificate_by_acme_opens_port_80_only_when_that_is_wanted_and_what_was_closed_stays_so() {
    let text = configured(server());
    let stage = Stage::new();
    let issued = [
        Some("issued"),
        Some("s3.example.org"),
        Some("yes"),
        Some("ops@example.org"),
    ];
    let (_, view, _) = stage.after(&text, &certificate(&[&issued[..], &[Some("yes")]].concat()));
    assert_eq!(
        view.texts(&key(&["services", "s3", "listeners", "443", "acme"])),
        ["s3.example.org"]
    );
    assert_eq!(
        view.texts(&key(&["acme", "contact"])),
        ["mailto:ops@example.org"]
    );
    assert_eq!(of_port(&view, "443", "access").unwrap(), "frontend-http");
    assert_eq!(of_port(&view, "80", "access").unwrap(), "open");
    assert_eq!(of_port(&view, "80", "redirect_https").unwrap(), "true");
    // Either "no" changes nothing, and the question comes again.
    for refused in [
        &[&issued[..], &[Some("no")]].concat()[..],
        &[Some("issued"), Some("s3.example.org"), Some("no")],
    ] {
        let (after, _, script) = stage.after(&text, &certificate(refused));
        assert_eq!(after, text);
        let again = script
            .asked
            .iter()
            .filter(|it| it.starts_with("Certificate of"));
        assert_eq!(again.count(), 2, "{:?}", script.asked);
    }
}

#[test]
fn no_to_the_terms_leaves_a_listener_with_its_certificate() {
    let own = "port = 443\ncertificate = 's3.pem' # ours\n";
    let text = configured(server()).replace("port = 80\naccess = 'frontend-http'\n", own);
    let answers = certificate(&[Some("issued"), Some("s3.example.org"), Some("no")]);
    assert_eq!(Stage::new().after(&text, &answers).0, text);
}

#[test]
fn http_that_takes_over_is_for_the_clients_of_https() {
    let secure = "port = 443\ncertificate = 's3.pem'\naccess = 'frontend-http'\n";
    let redirect = "[[services.listeners]]\nport = 80\naccess = 'open'\nredirect_https = true\n";
    for listeners in [secure.to_owned(), format!("{secure}{redirect}")] {
        let text =
            configured(server()).replace("port = 80\naccess = 'frontend-http'\n", &listeners);
        let (after, view, _) = Stage::new().after(&text, &certificate(&[Some("later")]));
        assert_eq!(
            of_port(&view, "80", "access").unwrap(),
            "frontend-http",
            "{after}"
        );
        assert_eq!(of_port(&view, "443", "access"), None);
    }
}

#[test]
fn a_list_that_two_services_use_is_changed_for_both_only_when_that_is_wanted() {
    let second = "[[services]]\nname = 'two'\nvips = ['192.0.2.20']\nbackend = 'rgw'\n[[services.listeners]]\nport = 80\naccess = 'frontend-http'\n\n[backends.rgw]";
    let text = configured(server()).replace("[backends.rgw]", second);
    let stage = Stage::new();
    let changed = |agreed| {
        let answers = [&[None; 8][..], &[Some("10.0.0.0/8"), Some(agreed)]].concat();
        stage.after(&text, &answers)
    };
    let (_, view, script) = changed("no");
    let sources = |view: &View, list: &str| view.texts(&key(&["lists", list, "sources"]));
    assert_eq!(of_port(&view, "80", "access").unwrap(), "s3");
    assert_eq!(sources(&view, "s3"), ["10.0.0.0/8"]);
    assert_eq!(sources(&view, "frontend-http"), ["weka[1-9]"]);
    let servers = script
        .asked
        .iter()
        .filter(|it| it.starts_with("Servers of"));
    assert_eq!(servers.count(), 1, "both have one backend");
    let (_, view, _) = changed("yes");
    assert_eq!(sources(&view, "frontend-http"), ["10.0.0.0/8"]);
    assert_eq!(of_port(&view, "80", "access").unwrap(), "frontend-http");
    // A service that was open takes no list of another.
    let open = text.replacen("access = 'frontend-http'", "access = 'open'", 1);
    let answers = [&[None; 8][..], &[Some("10.0.0.0/8")]].concat();
    let (_, view, _) = stage.after(&open, &answers);
    assert_eq!(of_port(&view, "80", "access").unwrap(), "s3");
    assert_eq!(sources(&view, "frontend-http"), ["weka[1-9]"]);
}

/// A service whose HTTPS has clients of its own, and whose port 80 has a rule.
fn both(port: u16, https: &str) -> String {
    configured(port).replace(
        "port = 80\naccess = 'frontend-http'\n",
        &format!(
            "port = 443\n{https}access = 'routers'\n[[services.listeners]]\nport = 80\naccess = 'open'\n\
             rules = ['deny all path=/admin']\n"
        ),
    )
}

#[test]
fn https_with_clients_of_its_own_keeps_them_when_port_80_is_opened_and_has_one_certificate() {
    let issued = [
        Some("issued"),
        Some("s3.example.org"),
        Some("yes"),
        Some("ops@example.org"),
        Some("yes"),
    ];
    let stage = Stage::new();
    for https in ["certificate = 's3.pem'\n", "certificates = ['s3.pem']\n"] {
        let (after, view, _) = stage.after(&both(server(), https), &certificate(&issued));
        assert_eq!(
            of_port(&view, "443", "access").unwrap(),
            "routers",
            "{after}"
        );
        assert_eq!(of_port(&view, "80", "redirect_https").unwrap(), "true");
        for gone in ["certificate", "certificates"] {
            let gone = key(&["services", "s3", "listeners", "443", gone]);
            assert!(view.get(&gone).is_none(), "{after}");
        }
    }
}

#[test]
fn a_service_of_bytes_gets_no_port_80_for_the_authority() {
    let text = configured(server()).replace(
        "port = 80\naccess = 'frontend-http'\n",
        "port = 443\nprotocol = 'tls'\ncertificate = 's3.pem'\naccess = 'routers'\n",
    );
    let (after, _, script) = Stage::new().after(&text, &certificate(&[Some("issued")]));
    assert_eq!(after, text);
    let said = "which these questions do not change";
    assert!(
        script.said.iter().any(|it| it.contains(said)),
        "{:?}",
        script.said
    );
}

#[test]
fn a_neighbour_becomes_no_client_of_a_service_whose_list_is_that_of_the_routers_too() {
    let text = configured(server()).replace("access = 'frontend-http'", "access = 'routers'");
    let more = [None, None, None, Some("192.0.2.254, 192.0.2.253")];
    let (after, view, _) = Stage::new().after(&text, &more);
    let sources = |list: &str| view.texts(&key(&["lists", list, "sources"]));
    assert_eq!(sources("routers"), ["192.0.2.254"], "{after}");
    let own = view.text(&key(&["node", "routers"])).unwrap();
    assert_eq!(sources(&own), ["192.0.2.254", "192.0.2.253"], "{after}");
    assert_ne!(own, "routers");
}
