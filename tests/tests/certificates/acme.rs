//! Certificates issued by Pebble, the authority that Let's Encrypt tests with.

use std::{fs, net::IpAddr, path::PathBuf, process::Output};

use ober_programs::{CURL, PEBBLE, PEBBLE_NAMES, SH};
use ober_tests::{
    lab::{Process, VIP4, client4, until},
    nodes::one::OPEN,
};
use ober_user::{api::status::certificates::Issued, config::Config};

use super::scene::{SOON, Scene, leaf};

const NAME: &str = "s3.ober.test";
/// Ports on a client's host: a name server that leads every name to the VIP, the port that sets its records, the authority.
const DNS: u16 = 8053;
const RECORDS: u16 = 8055;
const ACME: u16 = 14000;

/// The authority and its name server, on a client's host. They end with it.
struct Pebble {
    _authority: Process,
    _names: Process,
    address: IpAddr,
}

impl Pebble {
    fn start(scene: &Scene) -> Self {
        let (host, address) = (&scene.stage.cluster.clients[0], client4(0));
        let lab = &scene.stage.cluster.lab;
        let certificate = scene.authority.server(&[address]).expect("issue");
        let certificate = lab.write("pebble.pem", certificate).expect("write");
        lab.write("trust.pem", scene.authority.pem())
            .expect("write");
        let settings = format!(
            r#"{{"pebble": {{"listenAddress": "{address}:{ACME}", "managementListenAddress": "{address}:15000",
                "certificate": "{file}", "privateKey": "{file}", "httpPort": {OPEN}, "tlsPort": 443}}}}"#,
            file = certificate.display()
        );
        let settings = lab.write("pebble.json", settings).expect("write");
        let mut command = PEBBLE_NAMES.command();
        command
            .args([
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ])
            .args(["-defaultIPv4", &VIP4.to_string()])
            .args(["-dns01", &format!("{address}:{DNS}")])
            .args(["-management", &format!("{address}:{RECORDS}")]);
        let names = host.spawn(&mut command).expect("start the name server");
        let mut command = PEBBLE.command();
        command
            .arg("-config")
            .arg(settings)
            .args(["-dnsserver", &format!("{address}:{DNS}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            // Pebble refuses some good nonces on purpose, at times three in a row.
            .env("PEBBLE_WFE_NONCEREJECT", "0");
        let authority = host.spawn(&mut command).expect("start the authority");
        let pebble = Self {
            _authority: authority,
            _names: names,
            address,
        };
        until("an authority", SOON, || {
            let answer = curl(scene, &["-k", &pebble.directory()])?;
            Ok(answer.status.success().then_some(()))
        })
        .expect("it answers");
        pebble
    }

    fn directory(&self) -> String {
        format!("https://{}:{ACME}/dir", self.address)
    }
}

/// Runs curl on the node.
fn curl(scene: &Scene, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = CURL.command();
    scene
        .stage
        .cluster
        .node
        .try_output(command.args(["-s", "-m", "5"]).args(arguments))
}

fn configure(scene: &Scene, directory: &str, rest: &str, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(&scene.stage.ober.config).expect("read the configuration");
    let text = format!(
        "{}\n[acme]\ndirectory = \"{directory}\"\nterms_agreed = true\n{rest}\n[acme.tls]\nca = \"trust.pem\"\n",
        change(&text)
    );
    fs::write(&scene.stage.ober.config, text).expect("write the configuration");
}

fn open(text: &str) -> String {
    text.replace("access = \"frontend-http\"", "access = \"open\"")
}

fn issued(scene: &Scene) -> Issued {
    until("a certificate to be issued", SOON, || {
        let issued = scene.stage.status()?.certificates.issued;
        Ok(issued.into_iter().next())
    })
    .expect("it is to be issued")
}

/// The file a certificate is kept in once it is issued.
fn kept(scene: &Scene) -> PathBuf {
    let config = Config::load(&scene.stage.ober.config).expect("load the configuration");
    let tls = config.services[0].listeners[0].protocol.termination();
    let file = tls.and_then(|tls| tls.issued(&config.node.state));
    file.expect("it has a file")
}

/// Waits for a certificate from the authority; the names it is for.
fn comes(scene: &Scene) -> Vec<String> {
    let file = kept(scene);
    let held = until("a certificate of the authority", SOON * 3, || {
        let held = scene.stage.status()?.certificates.held;
        let held = held.into_iter().find(|held| held.source == file);
        Ok(held.filter(|held| held.issuer.contains("Pebble")))
    })
    .unwrap_or_else(|error| {
        let status = scene.stage.status().map(|status| status.certificates);
        panic!("{error}: {status:?}")
    });
    let text = fs::read_to_string(&file).expect("read the file");
    scene.comes(Some(NAME), &text);
    held.names
}

#[test]
fn http_01_is_answered_by_every_worker_and_the_certificate_comes_without_a_reload() {
    let mut scene = Scene::new("http01", &format!("acme = [\"{NAME}\"]"));
    let pebble = Pebble::start(&scene);
    configure(&scene, &pebble.directory(), "", open);
    scene.start();
    let workers = scene.workers();
    assert_eq!(comes(&scene), [NAME]);
    assert_eq!(scene.workers(), workers);
    assert_eq!(issued(&scene).failures, 0);
    assert!(issued(&scene).next.is_some());
    // Every worker gives the account's answer; a path that is no token gets none.
    let ask = |path: &str| {
        let url = format!("http://{VIP4}/.well-known/acme-challenge/{path}");
        let mut command = CURL.command();
        let output = scene.stage.cluster.clients[1].output(command.args(["-s", &url]));
        String::from_utf8(output.expect("ask").stdout).expect("text")
    };
    let answers: Vec<String> = (0..8).map(|_| ask("a_token-1")).collect();
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    let (token, thumbprint) = answers[0].split_once('.').expect("two parts");
    assert_eq!((token, thumbprint.len()), ("a_token-1", 43));
    assert!(!ask("a.b").contains(thumbprint));
    assert!(!ask("a/b").contains(thumbprint));
    // A new daemon orders no certificate again.
    let before = fs::read(kept(&scene)).expect("read it");
    scene.stage.ober.stop().expect("stop the daemon");
    scene.start();
    assert_eq!(comes(&scene), [NAME]);
    assert_eq!(fs::read(kept(&scene)).expect("read it"), before);
}

#[test]
fn dns_01_works_with_wildcards_and_a_closed_port_and_replaces_an_expiring_certificate() {
    let names = format!("acme = [\"{NAME}\", \"*.{NAME}\"]");
    let mut scene = Scene::new("dns01", &names);
    let pebble = Pebble::start(&scene);
    // The hook runs as the account `nobody`.
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::create_dir(scene.path("told")).expect("make a directory");
    fs::set_permissions(scene.path("told"), open_to_all).expect("open it");
    let hook = format!(
        "#!{SH}\necho \"$@\" >>{log}\n\
         exec {CURL} -sf -d \"{{\\\"host\\\": \\\"$2.\\\", \\\"value\\\": \\\"$3\\\"}}\" http://{}:{RECORDS}/$1-txt\n",
        pebble.address,
        log = scene.path("told/log").display()
    );
    let hook = scene.stage.cluster.lab.write("hook", hook).expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&hook, mode).expect("make it executable");
    let dns = format!(
        "challenge = \"dns-01\"\n[acme.dns]\nprovider = \"exec\"\nwait = \"0\"\ncommand = [\"{}\"]",
        hook.display()
    );
    configure(&scene, &pebble.directory(), &dns, str::to_owned);
    let old = scene.authority.expired(&[VIP4]).expect("issue");
    fs::create_dir_all(kept(&scene).parent().expect("a directory")).expect("make it");
    fs::write(kept(&scene), &old).expect("write an old certificate");
    scene.start();
    let mut names = comes(&scene);
    names.sort();
    assert_eq!(names, [format!("*.{NAME}"), NAME.to_owned()]);
    let shown = scene.shown(Some(&format!("bucket.{NAME}")));
    let text = fs::read_to_string(kept(&scene)).expect("read it");
    assert!(shown == leaf(&text));
    let log = fs::read_to_string(scene.path("told/log")).expect("read the log");
    let verbs = |verb: &str| log.lines().filter(|line| line.starts_with(verb)).count();
    assert_eq!((verbs("set"), verbs("clear")), (2, 2), "{log}");
    assert!(
        log.lines()
            .all(|line| line.contains(&format!("_acme-challenge.{NAME} ")))
    );
    let owner = fs::metadata(scene.path("told/log")).expect("look at it");
    assert_eq!(std::os::linux::fs::MetadataExt::st_uid(&owner), 65_534);
    let mode = fs::metadata(kept(&scene))
        .expect("look at it")
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
}

#[test]
fn an_unreachable_authority_is_reported_and_the_current_certificate_stays() {
    let certificates = format!("certificate = \"s3.pem\"\nacme = [\"{NAME}\"]");
    let mut scene = Scene::new("noacme", &certificates);
    let authority = scene.authority.pem();
    scene
        .stage
        .cluster
        .lab
        .write("trust.pem", authority)
        .expect("write");
    configure(&scene, &format!("https://{}:1/dir", client4(0)), "", open);
    scene.start();
    let issued = until("a failure", SOON, || {
        let issued = issued(&scene);
        Ok((issued.failures > 0).then_some(issued))
    })
    .expect("it is told");
    assert!(
        issued
            .error
            .is_some_and(|error| error.contains("ask the authority"))
    );
    assert!(issued.next.is_some());
    let own = fs::read_to_string(scene.path("s3.pem")).expect("read it");
    assert!(scene.shown(Some(NAME)) == leaf(&own));
}
