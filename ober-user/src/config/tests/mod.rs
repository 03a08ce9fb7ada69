//! Texts in, a [`Config`] or readable faults out.

use std::{
    fs,
    num::NonZeroU16,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use ober_test_support::certificate::chain_and_key;
use tempfile::TempDir;

use super::*;
use crate::system::account::Accounts;

mod acme;
mod bfd;
mod bgp;
mod documents;
mod files;
mod programs;
mod refusals;
mod services;
mod sources;
mod vips;

/// A directory with the files that a configuration may name: a certificate `s3.pem` and a program `haproxy`.
pub(crate) struct ConfigDirectory {
    directory: TempDir,
    env: Env,
}

impl ConfigDirectory {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("s3.pem"), chain_and_key()).unwrap();
        let haproxy = directory.path().join("haproxy");
        fs::write(&haproxy, "").unwrap();
        fs::set_permissions(&haproxy, fs::Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let variables = [("PATH".to_owned(), path)].into();
        Self {
            directory,
            env: Env {
                variables,
                cpus: vec![0, 1, 4],
                accounts: Accounts::read(
                    "root:x:0:0::/root:/bin/sh\nchecks:x:71:72::/:/bin/false\n",
                    "root:x:0:\nchecks:x:72:\n",
                ),
            },
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn parse(&self, text: &str) -> Result<Config, Error> {
        Config::parse(text, self.directory.path(), &self.env)
    }

    pub(crate) fn judge(&self, texts: &Texts) -> Result<Config, Error> {
        texts.config(self.directory.path(), &self.env)
    }

    /// The whole message, with this place's directory as `@`.
    pub(super) fn message(&self, text: &str) -> String {
        let error = self.parse(text).expect_err("refused").to_string();
        error.replace(self.directory.path().to_str().unwrap(), "@")
    }

    /// The faults without their pictures: line, message, help.
    pub(super) fn problems(&self, text: &str) -> Vec<String> {
        let Err(Error::Invalid(Report(problems))) = self.parse(text) else {
            panic!("this must be refused:\n{text}");
        };
        let texts = problems.iter().map(|problem| {
            let line = problem.place.as_ref().map_or(0, |excerpt| excerpt.line);
            let mut lines = vec![format!("{line}: {}", problem.message)];
            lines.extend(problem.help.iter().cloned());
            lines.join(" | ")
        });
        texts
            .map(|text| text.replace(self.directory.path().to_str().unwrap(), "@"))
            .collect()
    }
}

/// The smallest configuration of a node with one service.
pub(crate) const LEAST: &str = r#"
[node]
interfaces = ["eth1"]
[[services]]
name = "s3"
vips = ["192.0.2.10", "2001:db8::10"]
backend = "rgw"
[[services.listeners]]
port = 443
certificate = "s3.pem"
[[services.listeners]]
port = 80
access = "frontend-http"
[backends.rgw]
servers = ["rgw[01-08]:7480"]
"#;

#[test]
fn omitted_keys_take_the_documented_defaults() {
    let directory = ConfigDirectory::new();
    let config = directory.parse(LEAST).unwrap();
    assert_eq!(
        config.node,
        Node {
            instance: "main".to_owned(),
            interfaces: vec!["eth1".to_owned()],
            xdp: XdpMode::Auto,
            steer: Steer::Auto,
            vip_interface: VipInterface::Auto,
            routers: None,
            cluster_key: None,
            state: "/var/lib/ober/main".into(),
            run: "/run/ober/main".into(),
            bpffs: "/sys/fs/bpf".into(),
            metrics: "127.0.0.1:8404".parse().unwrap(),
            sample: 1,
            event_rate: 100,
            fragments: Fragments::Listed,
            packet_log: false,
            history: 50,
            reconcile: Duration::from_secs(30),
        }
    );
    assert_eq!(config.workers.cpus, [0, 1, 4]);
    assert_eq!(config.workers.haproxy, directory.path("haproxy"));
    assert_eq!(config.workers.drain, Duration::from_hours(1));
    assert_eq!(
        config.lists.keys().collect::<Vec<_>>(),
        [FRONTEND_HTTP, ROUTERS]
    );
    let [service] = &config.services[..] else {
        panic!("one service")
    };
    assert_eq!(
        service.listeners[0],
        Listener {
            port: NonZeroU16::new(443).unwrap(),
            protocol: Protocol::Https {
                tls: sections::tls::Termination {
                    certificates: vec![directory.path("s3.pem")],
                    acme: vec![],
                    terms: sections::tls::Terms {
                        min: sections::tls::Version::V12,
                        max: None,
                        ciphers: None,
                        suites: None,
                    },
                    tickets: true,
                    alpn: vec!["http/1.1".to_owned()],
                },
                hsts: None,
            },
            access: Access::Open,
            rules: vec![],
            proxy_from: vec![],
        }
    );
    assert_eq!(
        service.listeners[1].access,
        Access::List(FRONTEND_HTTP.to_owned())
    );
    let check = config.backends["rgw"].check.as_ref().unwrap();
    let sections::check::Kind::Http(http) = &check.kind else {
        panic!("{check:?}")
    };
    assert_eq!(
        (http.method.as_str(), http.status.to_string().as_str()),
        ("GET", "200-499,503")
    );
}

#[test]
fn directories_follow_the_instance_and_an_empty_vip_interface_is_none() {
    let directory = ConfigDirectory::new();
    let text = "[node]\ninterfaces=['a']\ninstance='two'\nvip_interface=''\nrun='run'";
    let node = directory.parse(text).unwrap().node;
    assert_eq!(node.state, Path::new("/var/lib/ober/two"));
    assert_eq!(node.run, directory.path("run"));
    assert_eq!(node.vip_interface, VipInterface::Unmanaged);
}

#[test]
fn workers_are_spread_in_turn_over_the_configured_or_online_cpus() {
    let directory = ConfigDirectory::new();
    let cpus = |workers: &str| {
        let text = format!("[node]\ninterfaces=['a']\n[workers]\n{workers}");
        directory.parse(&text).unwrap().workers.cpus
    };
    assert_eq!(cpus(""), [0, 1, 4]);
    assert_eq!(cpus("count = 2"), [0, 1]);
    assert_eq!(cpus("count = 5"), [0, 1, 4, 0, 1]);
    assert_eq!(cpus("cpus = [4, 0]"), [4, 0]);
    assert_eq!(cpus("count = 3\ncpus = [4]"), [4, 4, 4]);
    assert_eq!(cpus("count = 'auto'\ncpus = [1]"), [1]);
}

#[test]
fn a_check_can_be_disabled_and_a_resolve_interval_of_zero_is_accepted() {
    let directory = ConfigDirectory::new();
    let text =
        "[resolve]\ninterval='0'\n[backends.b.check]\nenabled=false\n[node]\ninterfaces=['a']";
    let config = directory.parse(text).unwrap();
    assert_eq!(config.backends["b"].check, None);
    assert_eq!(config.resolve.interval, Duration::ZERO);
}

#[test]
fn vips_and_listeners_keep_the_order_of_the_configuration() {
    let directory = ConfigDirectory::new();
    let text = format!(
        "{LEAST}\n[lists.admins]\n[[services]]\nname='b'\nvips=['192.0.2.10']\nbackend='rgw'\n\
         [[services.listeners]]\nport=81\naccess='admins'"
    );
    let config = directory.parse(&text).unwrap();
    let rows: Vec<_> = config
        .vip_listeners()
        .map(|it| {
            let (vip, port) = (it.vip.to_string(), it.listener.port.get());
            (it.service.name.as_str(), vip, port)
        })
        .collect();
    let row = |service, vip: &str, port| (service, vip.to_owned(), port);
    assert_eq!(
        rows,
        [
            row("s3", "192.0.2.10", 443),
            row("s3", "2001:db8::10", 443),
            row("s3", "192.0.2.10", 80),
            row("s3", "2001:db8::10", 80),
            row("b", "192.0.2.10", 81),
        ]
    );
}

#[test]
fn a_listener_whose_list_is_missing_is_not_offered() {
    let mut config = ConfigDirectory::new().parse(LEAST).unwrap();
    config.lists.remove(FRONTEND_HTTP);
    let ports = config.vip_listeners().map(|it| it.listener.port.get());
    assert_eq!(ports.collect::<Vec<_>>(), [443, 443]);
}

#[test]
fn gate_settings_accept_numbers_percentages_and_lists_of_statuses() {
    use sections::gate::{AtLeast, Down, Gate};
    let directory = ConfigDirectory::new();
    let text = "[node]\ninterfaces=['a']\n[gate]\nmin_workers='67%'\nmin_servers=0\nstatus='200,403-404'\n\
         down='graceful-shutdown'\ngraceful_time='0'\nfast_interval='1s'\ndisable_file='off'";
    let gate = directory.parse(text).unwrap().gate;
    assert_eq!(
        gate,
        Gate {
            min_workers: AtLeast::Percent(67),
            min_servers: AtLeast::Number(0),
            status: vec![(200, 200), (403, 404)],
            down: Down::GracefulShutdown,
            graceful_time: Duration::ZERO,
            fast_interval: Duration::from_secs(1),
            disable_file: Some(directory.path("off")),
            ..Gate::default()
        }
    );
    let of = |least: AtLeast| [0, 1, 3, 4].map(|total| least.of(total));
    assert_eq!(of(AtLeast::Percent(67)), [1, 1, 3, 3]);
    assert_eq!(of(AtLeast::Percent(100)), [1, 1, 3, 4]);
    assert_eq!(of(AtLeast::Number(2)), [2, 2, 2, 2]);
}

/// A configuration with `count` of each object.
pub(crate) fn large(count: usize) -> String {
    let head = "[node]\ninterfaces = ['eth1']\n[limits]\nservers = 100000\n[backends.rgw]\n";
    let servers = (0..count * 10).map(|number| format!("'n{number}:80', "));
    let services = (0..count).map(|number| {
        format!(
            "[[services]]\nname = 's{number}'\nvips = ['10.9.{number}.1', '10.9.{number}.2']\nbackend = 'rgw'\n\
             listeners = [{{ port = 80, access = 'open' }}]\n"
        )
    });
    let neighbours = (0..count).map(|number| {
        format!("[[bgp.neighbours]]\naddress = '10.8.{number}.1'\nas = 65000\nmultihop = 2\n")
    });
    let sources =
        (0..count * 10).map(|number| format!("'10.7.{}.{}', ", number >> 8, number & 255));
    [
        head.to_owned(),
        format!("servers = [{}]\n", servers.collect::<String>()),
        services.collect(),
        "[bgp]\nas = 65001\n".to_owned(),
        neighbours.collect(),
        format!(
            "[lists.large]\nsources = [{}]\n",
            sources.collect::<String>()
        ),
    ]
    .concat()
}

#[test]
fn parsing_work_grows_linearly_with_the_size_of_the_configuration() {
    let directory = ConfigDirectory::new();
    ober_test_support::scale::linear([1, 10], large, |text| {
        std::hint::black_box(directory.parse(text).unwrap());
    });
}
