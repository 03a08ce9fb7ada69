//! A node with the services of one configuration, in front of origins that report what they saw.

use std::{
    fmt::Write,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ober_tests::{
    certificate::Authority,
    client::Raw,
    ingress::Ingress,
    lab::{Cluster, Shape},
    nodes::one::two_cpus,
    origin::{Manner, Origins, tls},
};
use rustls::ClientConfig;

/// The names in the certificates of listeners and origins, and the VIPs for clients that ask for no name.
fn names() -> Vec<String> {
    let names = [
        "b.test",
        "x.b.test",
        "c1.test",
        "other.test",
        "origin.test",
        "s3.test",
    ];
    let vips = (1..60).map(|last| vip(last).to_string());
    names
        .map(ToOwned::to_owned)
        .into_iter()
        .chain(vips)
        .collect()
}

/// Fields are dropped in this order.
pub(crate) struct Front {
    pub(crate) ober: Ingress,
    origins: Origins,
    pub(crate) authority: Authority,
    pub(crate) trust: Arc<ClientConfig>,
    pub(crate) cluster: Cluster,
}

/// A VIP by its last byte.
pub(crate) fn vip(last: u8) -> IpAddr {
    IpAddr::from([10, 77, 9, last])
}

/// An address of the storage host by its last byte.
pub(crate) fn storage(last: u8) -> IpAddr {
    IpAddr::from([10, 77, 1, last])
}

impl Front {
    /// Everything but the daemon. In a configuration `@/` is the laboratory's directory, with `all.pem` for listeners,
    /// `ca.pem`, `other-ca.pem` and `client.pem`.
    pub(crate) fn new(name: &str, workers: usize, services: &str) -> Self {
        let cluster = Cluster::new(name, Shape::default()).unwrap();
        let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
        let lab = &cluster.lab;
        for (file, text) in [
            ("all.pem", authority.server_named(&names()).unwrap()),
            ("client.pem", authority.for_client().unwrap()),
            ("ca.pem", authority.pem()),
            ("other-ca.pem", other.pem()),
        ] {
            lab.write(file, text).unwrap();
        }
        let addresses: Vec<String> = (3..100)
            .map(|last| format!("addr add {}/24 dev st0", storage(last)))
            .collect();
        cluster.storage.ip(&addresses).unwrap();
        let directory = lab.directory().display().to_string();
        let cpus = &two_cpus().unwrap()[..workers];
        let text = format!(
            "[node]\ninstance = \"{}\"\ninterfaces = [\"in0\"]\nsteer = \"always\"\nvip_interface = \"lo\"\n\
             state = \"@/state\"\nrun = \"@/run\"\nmetrics = \"127.0.0.1:8404\"\nsample = 1\n\
             [workers]\ncpus = {cpus:?}\nmax_connections = 2000\n{services}",
            lab.instance()
        );
        let config = lab
            .write("ober.toml", text.replace("@/", &format!("{directory}/")))
            .unwrap();
        Self {
            ober: Ingress::new(config),
            origins: Origins::new().unwrap(),
            trust: authority.client().unwrap(),
            authority,
            cluster,
        }
    }

    pub(crate) fn origin(&self, name: &str, last: u8, port: u16, manner: Manner) {
        let address = SocketAddr::new(storage(last), port);
        self.origins
            .serve(&self.cluster.storage, name, address, manner)
            .unwrap();
    }

    /// An origin that speaks TLS, perhaps only to clients with a certificate.
    pub(crate) fn secure_origin(&self, name: &str, last: u8, port: u16, clients: bool) {
        let pem = self.authority.server_named(&names()).unwrap();
        let config = tls(&pem, clients.then_some(&self.authority)).unwrap();
        let manner = Manner {
            tls: Some(config),
            ..Manner::default()
        };
        self.origin(name, last, port, manner);
    }

    pub(crate) fn start(mut self) -> Self {
        self.ober.start(&self.cluster.node).unwrap();
        self
    }

    /// Runs `ask` on the first client.
    pub(crate) fn ask<T: Send>(&self, ask: impl FnOnce() -> T + Send) -> T {
        self.cluster.clients[0].run(ask).unwrap()
    }

    /// Which origin answers `GET PATH` over a plain connection.
    pub(crate) fn who(&self, last: u8, port: u16, host: &str, path: &str) -> String {
        let raw = Raw::new(SocketAddr::new(vip(last), port));
        who(self.ask(|| raw.get(host, path)))
    }

    /// The same over TLS, with this name in SNI; an address: without SNI.
    pub(crate) fn who_by_tls(&self, last: u8, sni: &str, host: &str, path: &str) -> String {
        let raw = Raw::new(SocketAddr::new(vip(last), 443)).tls(&self.trust, sni);
        who(self.ask(|| raw.get(host, path)))
    }

    /// Writes the configuration anew and reloads.
    pub(crate) fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.ober.config).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(&self.ober.config, text.replace(from, to)).unwrap();
        self.ober.cli(&self.cluster.node, &["reload"]).unwrap();
    }
}

/// The origin's name, or the status when it is not 200, or `closed`.
pub(crate) fn who(answer: io::Result<String>) -> String {
    let Ok(text) = answer else {
        return "closed".to_owned();
    };
    let status = text.split(' ').nth(1).unwrap_or("closed").to_owned();
    if status != "200" {
        return status;
    }
    field(&text, "name")
}

/// One line of an origin's answer.
pub(crate) fn field(text: &str, name: &str) -> String {
    let start = format!("{name}=");
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(&start));
    value
        .unwrap_or_else(|| panic!("{name} in {text}"))
        .to_owned()
}

/// `[[services]]` with one listener; `extra` are lines of the listener and what comes after it.
pub(crate) fn service(
    name: &str,
    last: u8,
    backend: &str,
    keys: &str,
    port: u16,
    extra: &str,
) -> String {
    let mut text = String::new();
    let vip = vip(last);
    writeln!(
        text,
        "[[services]]\nname = \"{name}\"\nvips = [\"{vip}\"]\nbackend = \"{backend}\"\n{keys}\n\
         [[services.listeners]]\nport = {port}\n{extra}"
    )
    .unwrap();
    text
}

/// `[backends.NAME]` without checks, so its servers count as up; `extra` are further lines.
pub(crate) fn backend(name: &str, servers: &str, extra: &str) -> String {
    format!(
        "[backends.{name}.check]\nenabled = false\n[backends.{name}]\nservers = {servers}\n{extra}\n"
    )
}
