//! The configuration texts for HAProxy: kept beside, compared word for word, and accepted by the real HAProxy. `UPDATE=1`
//! writes the kept texts anew.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    time::Duration,
};

use ober_programs::HAPROXY;
use ober_user::{
    backends::server::{Server, Servers},
    certificates::copies,
    config::{Balance, Config, sections::check::Kind},
    haproxy::{
        render::{Error, WorkerContext, render, variable},
        sockets::keys,
    },
    names::{
        hostlist::{Cap, Host, NoSources, expand_servers},
        server_line::ServerTerms,
    },
    system::clock,
};

use crate::lab::{Lab, PLAIN, backend, https, listener, server, service};

fn text_of(lab: &Lab, config: &Config, servers: &Servers) -> Result<String, Error> {
    let run = lab.dir.path();
    let (cli, stats) = (run.join("worker-1.sock"), run.join("worker-1-stats.sock"));
    render(
        config,
        servers,
        WorkerContext {
            worker: 1,
            cpu: 3,
            cli: &cli,
            stats: &stats,
            root: Some(&run.join("empty")),
            thumbprint: config.acme.as_ref().map(|_| "thumbprint"),
        },
    )
    .map(|rendered| rendered.text)
}

fn compare(name: &str, lab: &Lab, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/haproxy/golden")
        .join(name);
    let text = text.replace(lab.dir.path().to_str().unwrap(), "/DIR");
    // A copy's name has the hash of a path.
    let hash = regex::Regex::new("-[0-9a-f]{16}[.]pem").unwrap();
    let text = hash.replace_all(&text, "-HASH.pem").into_owned();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert_eq!(
        text,
        fs::read_to_string(&file).unwrap(),
        "{name} differs; UPDATE=1 if that is meant"
    );
}

/// Lets the real HAProxy check the text, with real sockets; what HAProxy printed.
fn accepted(lab: &Lab, config: &Config, text: &str) -> String {
    copies::fill(config, clock::seconds()).unwrap();
    let file = lab.dir.path().join("golden.cfg");
    fs::write(&file, text).unwrap();
    let listeners: Vec<_> = keys(config)
        .iter()
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    // `dup` leaves out close-on-exec, so HAProxy inherits the duplicate.
    let inherited: Vec<OwnedFd> = listeners
        .iter()
        .map(|listener| nix::unistd::dup(listener).unwrap())
        .collect();
    let mut command = HAPROXY.at(&config.workers.haproxy);
    command.arg("-c").arg("-f").arg(&file);
    for (index, fd) in inherited.iter().enumerate() {
        command.env(variable(index), fd.as_raw_fd().to_string());
    }
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}\n{text}");
    said
}

fn golden(name: &str, lab: &Lab, config: &Config) {
    let text = text_of(lab, config, &lab.servers).unwrap();
    compare(name, lab, &text);
    let said = accepted(lab, config, &text);
    assert!(!said.contains("[WARNING]"), "{said}");
}

#[test]
fn the_rendered_configuration_of_an_ordinary_node_matches_its_golden_file() {
    let mut lab = Lab::new(1);
    lab.config.workers.user = Some("nobody".to_owned());
    lab.config.workers.group = Some("nogroup".to_owned());
    let disks = [
        ("disk-1", "192.0.2.11:7480"),
        ("disk-2", "192.0.2.12:7480"),
        ("disk-3", "[2001:db8::13]:7480"),
    ];
    let servers = disks.map(|(name, at)| server(name, at.parse().unwrap()));
    lab.servers.insert("storage".to_owned(), servers.to_vec());
    golden("ordinary.cfg", &lab, &lab.config);
}

#[test]
fn the_rendered_configuration_of_the_smallest_node_matches_its_golden_file() {
    let mut lab = Lab::new(1);
    lab.config.services = vec![service(
        "plain",
        &["2001:db8::1"],
        vec![listener(80, PLAIN)],
    )];
    let mut backend = backend();
    backend.check = None;
    backend.balance = Balance::Random;
    lab.config
        .backends
        .insert("storage".to_owned(), backend.clone());
    // No service uses this backend, so HAProxy should not check its servers.
    lab.config.backends.insert("spare".to_owned(), backend);
    lab.servers.clear();
    golden("smallest.cfg", &lab, &lab.config);
}

#[test]
fn the_rendered_configuration_of_two_services_with_odd_values_matches_its_golden_file() {
    let mut lab = Lab::new(1);
    let odd = lab.dir.path().join("it's \"odd\" $HOME #1 \\ %[src].pem");
    fs::copy(lab.dir.path().join("s3.pem"), &odd).unwrap();
    let tls = https(&odd);
    lab.config.services = vec![
        service(
            "a",
            &["192.0.2.1"],
            vec![listener(443, tls.clone()), listener(80, PLAIN)],
        ),
        service(
            "b",
            &["192.0.2.2", "2001:db8::2", "192.0.2.3"],
            vec![listener(443, tls)],
        ),
    ];
    let mut backend = backend();
    let check = backend.check.as_mut().unwrap();
    let Kind::Http(http) = &mut check.kind else {
        panic!("{check:?}")
    };
    http.path = "/it's?a=\"b\"&c=$PATH #\\n".to_owned();
    check.interval = Duration::from_millis(1500);
    backend.balance = Balance::RoundRobin;
    let disk = server("disk_1.example.net:1", "192.0.2.11:7480".parse().unwrap());
    lab.servers.insert("storage".to_owned(), vec![disk]);
    lab.config.backends.insert("storage".to_owned(), backend);
    golden("odd.cfg", &lab, &lab.config);
}

/// The servers as if every name had resolved.
fn resolved(config: &Config) -> Servers {
    let all = config.backends.iter().map(|(name, backend)| {
        let servers = backend.servers.iter().flat_map(|source| {
            let (expression, terms) = ServerTerms::split(source).unwrap();
            let cap = Cap::new(100);
            let hosts = expand_servers(expression, backend.port, cap, &mut NoSources).unwrap();
            hosts.into_iter().map(move |host| {
                let (label, address, name) = match host.host {
                    Host::Addr(address) => (address.to_string(), address, None),
                    Host::Name(name) => (name.clone(), IpAddr::from([192, 0, 2, 200]), Some(name)),
                };
                Server {
                    host: name,
                    terms,
                    ..Server::new(label, SocketAddr::new(address, host.port.get()))
                }
            })
        });
        (name.clone(), servers.collect())
    });
    all.collect()
}

/// Each set-up of `golden/setups`, as its operator writes it.
#[test]
fn every_golden_setup_is_rendered_unchanged_and_accepted_by_haproxy_without_a_warning() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/haproxy/golden/setups");
    let mut setups: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .flatten()
        .map(|it| it.path())
        .collect();
    setups.retain(|path| path.extension() == Some("toml".as_ref()));
    setups.sort();
    assert!(setups.len() >= 12, "{setups:?}");
    for setup in setups {
        let lab = Lab::new(1);
        let text = format!(
            "{}\n[node]\ninterfaces = [\"lo\"]\n",
            fs::read_to_string(&setup).unwrap()
        );
        let file = lab.dir.path().join("ober.toml");
        fs::write(&file, text).unwrap();
        let mut config =
            Config::load(&file).unwrap_or_else(|error| panic!("{}: {error}", setup.display()));
        config.node.run = lab.dir.path().to_owned();
        // The machine's own account may have other names.
        config.workers.user = Some("nobody".to_owned());
        config.workers.group = Some("nogroup".to_owned());
        let text = text_of(&lab, &config, &resolved(&config)).unwrap();
        let name = Path::new("setups").join(setup.with_extension("cfg").file_name().unwrap());
        compare(name.to_str().unwrap(), &lab, &text);
        let said = accepted(&lab, &config, &text);
        assert!(
            !said.contains("[WARNING]"),
            "{}: {said}\n{text}",
            setup.display()
        );
    }
}

#[test]
fn no_configured_value_can_add_a_line_to_haproxys_configuration() {
    let lab = Lab::new(1);
    let evil = "x\n    stats socket /tmp/evil level admin";
    let spoil: [fn(&mut Config, &str); 5] = [
        |config, evil| config.services[0].name = evil.to_owned(),
        |config, evil| config.workers.user = Some(evil.to_owned()),
        |config, evil| config.workers.group = Some(evil.to_owned()),
        |config, evil| {
            let storage = config.backends.get_mut("storage").unwrap();
            let check = storage.check.as_mut().unwrap();
            if let Kind::Http(http) = &mut check.kind {
                evil.clone_into(&mut http.path);
            }
        },
        |config, evil| {
            let storage = config.backends.get_mut("storage").unwrap();
            let check = storage.check.as_mut().unwrap();
            if let Kind::Http(http) = &mut check.kind {
                http.host = Some(evil.to_owned());
            }
        },
    ];
    for (index, spoil) in spoil.iter().enumerate() {
        let mut config = lab.config.clone();
        spoil(&mut config, evil);
        assert!(
            text_of(&lab, &config, &lab.servers).is_err(),
            "spoiled place {index}"
        );
    }
    // A bad name from a source removes that server alone.
    let mut servers = lab.servers.clone();
    servers.get_mut("storage").unwrap()[0].name = evil.to_owned();
    let text = text_of(&lab, &lab.config, &servers).unwrap();
    assert!(!text.contains("evil"), "{text}");
}

#[test]
fn a_service_without_its_backend_is_refused_by_name() {
    let mut lab = Lab::new(1);
    lab.config.backends.clear();
    let error = text_of(&lab, &lab.config, &lab.servers).unwrap_err();
    let named = Error::NoBackend {
        service: "s3".to_owned(),
        backend: "storage".to_owned(),
    };
    assert_eq!(error, named);
}
