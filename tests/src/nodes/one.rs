//! The whole of Ober on a cluster: a storage host that serves S3, a node that runs the real `ober-user`, clients that
//! trust its certificate. The demo and the end-to-end tests begin here.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};
use ober_programs::Command;
use ober_user::{
    api::status::{Count, Counters, ServiceCounters, Status},
    backends::server::Server,
    config::Config,
};
use rustls::ClientConfig;

use crate::{
    certificate::Authority,
    client::Client,
    ingress::Ingress,
    lab::{
        Cluster, Host, Lab, Process, Shape, VIP4, VIP6, client4, client6, plain_haproxy, program,
        storage4, until,
    },
    nodes::text::Text,
};

/// Port of the S3 server on the storage host.
pub const S3_PORT: u16 = 9000;
/// TLS on the VIPs, for all clients.
pub const SECURE: u16 = 443;
/// Plain HTTP on the VIPs, for listed clients.
pub const OPEN: u16 = 80;

/// What differs between stages.
#[derive(Clone, Debug)]
pub struct Settings {
    pub shape: Shape,
    pub steer: &'static str,
    pub xdp: &'static str,
    /// On two CPUs in turn.
    pub workers: usize,
    /// Sources of `frontend-http`.
    pub listed: Vec<String>,
    /// Lines added to the configuration.
    pub extra: String,
}

impl Default for Settings {
    /// Two clients of which the first is listed, two workers, steering by CPU: the clients send whole checksums, so
    /// nothing is lost that they need.
    fn default() -> Self {
        Self {
            shape: Shape::default(),
            steer: "always",
            xdp: "auto",
            workers: 2,
            listed: vec![client4(0).to_string(), client6(0).to_string()],
            extra: String::new(),
        }
    }
}

/// A cluster with everything on it. Fields are dropped in this order.
#[derive(Debug)]
pub struct Stage {
    pub ober: Ingress,
    pub storage: Process,
    pub cluster: Cluster,
    /// The authority's certificate, for other clients.
    pub authority: PathBuf,
    trust: Arc<ClientConfig>,
}

impl Stage {
    /// Everything but the daemon.
    pub fn new(name: &str, settings: &Settings) -> Result<Self> {
        let cluster = Cluster::new(name, settings.shape)?;
        let lab = &cluster.lab;
        let authority = Authority::new()?;
        let certificate = lab.write("s3.pem", authority.server(&[VIP4, VIP6])?)?;
        let config = lab.write(
            "ober.toml",
            configuration(&cluster, settings, &certificate.display().to_string())?,
        )?;
        Ok(Self {
            ober: Ingress::new(config),
            storage: serve_objects(lab, &cluster.storage, SocketAddr::new(storage4(), S3_PORT))?,
            authority: lab.write("authority.pem", authority.pem())?,
            trust: authority.client()?,
            cluster,
        })
    }

    /// Run the daemon and wait until it says that it is healthy.
    pub fn start(&mut self) -> Result<Status> {
        self.ober.start(&self.cluster.node)
    }

    /// Run plain HAProxy in the place of Ober: the same configuration, `SO_REUSEPORT`, no program in the kernel.
    pub fn start_plain(&self) -> Result<Vec<Process>> {
        let node = &self.cluster.node;
        node.ip(&[
            format!("addr add {VIP4}/32 dev lo"),
            format!("addr add {VIP6}/128 dev lo nodad"),
        ])?;
        let config = Config::load(&self.ober.config)?;
        let server = Server::new("storage".to_owned(), SocketAddr::new(storage4(), S3_PORT));
        let servers = config
            .backends
            .keys()
            .map(|name| (name.clone(), vec![server.clone()]))
            .collect();
        plain_haproxy(&self.cluster.lab, node, &config, &servers)
    }

    /// SIGKILL to the daemon alone.
    pub fn kill(&mut self) -> Result<()> {
        self.ober.kill()
    }

    /// A command of the CLI in the node; its standard output.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        self.ober.cli(&self.cluster.node, arguments)
    }

    /// A command of the CLI in the node, whatever its exit status.
    pub fn try_cli(&self, arguments: &[&str]) -> Result<Output> {
        self.ober.try_cli(&self.cluster.node, arguments)
    }

    /// A command of the CLI that goes on, such as `acl watch`.
    pub fn spawn_cli(&self, arguments: &[&str]) -> Result<Process> {
        self.cluster.node.spawn(&mut self.ober.ober(arguments)?)
    }

    pub fn status(&self) -> Result<Status> {
        self.ober.status(&self.cluster.node)
    }

    pub fn counters(&self) -> Result<Counters> {
        serde_json::from_str(&self.cli(&["counters", "--json"])?)
            .context("read `ober-user counters --json`")
    }

    /// The counters of one service.
    pub fn service(&self, vip: IpAddr, port: u16) -> Result<ServiceCounters> {
        let services = self.counters()?.services;
        let found = services
            .into_iter()
            .find(|service| service.vip == Some(vip) && service.port == Some(port));
        found.with_context(|| format!("no counters of the service at {vip} port {port}"))
    }

    /// One verdict of one service.
    pub fn verdict(&self, vip: IpAddr, port: u16, verdict: &str) -> Result<Count> {
        Ok(self
            .service(vip, port)?
            .verdicts
            .get(verdict)
            .copied()
            .unwrap_or_default())
    }

    /// A client of the VIP over TLS.
    pub fn secure(&self, vip: IpAddr) -> Client {
        Client::tls(SocketAddr::new(vip, SECURE), Arc::clone(&self.trust))
    }

    /// A client of the VIP over plain HTTP.
    pub fn open(&self, vip: IpAddr) -> Client {
        Client::plain(SocketAddr::new(vip, OPEN))
    }
}

/// An S3 server on `host`, with a journal of its requests.
pub fn serve_objects(lab: &Lab, host: &Host, address: SocketAddr) -> Result<Process> {
    std::fs::create_dir(lab.directory().join("objects"))?;
    another_server(lab, host, address)
}

/// Another S3 server for the same objects.
pub fn another_server(lab: &Lab, host: &Host, address: SocketAddr) -> Result<Process> {
    let root = lab.directory().join("objects");
    let mut command = Command::own(program("s3-server")?);
    command.arg(address.to_string()).arg(&root).arg("--journal");
    let mut server = host.spawn(&mut command)?;
    until("a listening S3 server", Duration::from_secs(5), || {
        if let Some(end) = server.ended()? {
            bail!("s3-server ended: {end}: {}", server.tail());
        }
        Ok(server.log().contains("listening on").then_some(()))
    })?;
    Ok(server)
}

/// Two CPUs this process may use; the same twice on a machine with one.
pub fn two_cpus() -> Result<[usize; 2]> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("ask which CPUs may be used")?;
    let mut usable = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let first = usable.next().context("no CPU may be used")?;
    Ok([first, usable.next().unwrap_or(first)])
}

fn configuration(cluster: &Cluster, settings: &Settings, certificate: &str) -> Result<String> {
    let lab = &cluster.lab;
    let cpus: Vec<usize> = (two_cpus()?.into_iter().cycle())
        .take(settings.workers.max(1))
        .collect();
    let Settings {
        steer,
        xdp,
        listed,
        extra,
        ..
    } = settings;
    let text = Text {
        instance: lab.instance(),
        directory: lab.directory(),
        node: &format!(
            "steer = \"{steer}\"\nxdp = \"{xdp}\"\nvip_interface = \"lo\"\nmetrics = \"127.0.0.1:8404\"\n"
        ),
        cpus: &cpus,
        lists: &format!("[lists.frontend-http]\nsources = {listed:?}\n\n"),
        vips: &[VIP4, VIP6],
        certificate: Path::new(certificate),
        open: true,
        storage: SocketAddr::new(storage4(), S3_PORT),
    };
    Ok(text.with(&format!("{extra}\n")))
}
