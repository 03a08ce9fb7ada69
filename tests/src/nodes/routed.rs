//! The whole of Ober behind a router: FRR, to which two nodes announce the VIPs, a client that reaches them by the routes of
//! that router, and a storage host that serves S3 to both nodes.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use ober_programs::IP;
use ober_user::api::status::Status;
use rustls::ClientConfig;

use crate::{
    certificate::Authority,
    client::Client,
    ingress::Ingress,
    lab::{
        Host, Process, VIP4, VIP6,
        fabric::{Fabric, NODE_AS, ROUTER_AS, STORAGE, node4, router4},
        routes::Routes,
        until,
    },
    nodes::{
        one::{S3_PORT, SECURE, serve_objects, two_cpus},
        text::Text,
    },
    peers::Frr,
};

/// What differs between tests.
#[derive(Clone, Debug)]
pub struct Settings {
    /// 1 or 2 on each node.
    pub workers: usize,
    /// The BFD profile of the sessions with the router, or `off`.
    pub bfd: &'static str,
    /// Lines of `[gate]`.
    pub gate: String,
    /// Tables added to the configuration.
    pub extra: String,
}

impl Default for Settings {
    /// BFD 50 ms x 3, a gate that is quick.
    fn default() -> Self {
        Self {
            workers: 2,
            bfd: "fast",
            gate: "interval = \"200ms\"\nfast_interval = \"50ms\"\nrise = 2\nfall = 2\nmin_up = \"0\"\ngraceful_time = \"500ms\"\n".to_owned(),
            extra: String::new(),
        }
    }
}

/// The fabric, and Ober on both of its nodes.
#[derive(Debug)]
pub struct Routed {
    pub ober: [Ingress; 2],
    pub storage: Process,
    pub frr: Frr,
    pub fabric: Fabric,
    trust: Arc<ClientConfig>,
}

impl Routed {
    /// Everything but the daemons.
    pub fn new(name: &str, settings: &Settings) -> Result<Self> {
        let fabric = Fabric::new(name)?;
        let lab = &fabric.lab;
        let authority = Authority::new()?;
        let certificate = lab.write("s3.pem", authority.server(&[VIP4, VIP6])?)?;
        let config = |node: u8| -> Result<Ingress> {
            let text = configuration(&fabric, settings, node, &certificate)?;
            Ok(Ingress::new(lab.write(&format!("ober-{node}.toml"), text)?))
        };
        let address = SocketAddr::new(STORAGE, S3_PORT);
        Ok(Self {
            ober: [config(0)?, config(1)?],
            storage: serve_objects(lab, &fabric.storage, address)?,
            frr: Frr::start(lab, &fabric.router, &router(settings))?,
            trust: authority.client()?,
            fabric,
        })
    }

    /// Start the daemon of a node and wait until it is healthy; not until it announces.
    pub fn start(&mut self, node: usize) -> Result<Status> {
        self.ober[node].start(&self.fabric.nodes[node])
    }

    pub fn node(&self, node: usize) -> &Host {
        &self.fabric.nodes[node]
    }

    pub fn status(&self, node: usize) -> Result<Status> {
        self.ober[node].status(self.node(node))
    }

    /// A command of a node's CLI; its standard output.
    pub fn cli(&self, node: usize, arguments: &[&str]) -> Result<String> {
        self.ober[node].cli(self.node(node), arguments)
    }

    /// The router's routes, from now on.
    pub fn routes(&self) -> Result<Routes> {
        Routes::watch(&self.fabric.router)
    }

    /// The nodes the router's kernel sends packets for the IPv4 VIP to.
    pub fn paths(&self) -> Result<Vec<usize>> {
        let mut ip = IP.command();
        ip.args(["-json", "route", "show", &VIP4.to_string()]);
        let text = String::from_utf8(self.fabric.router.output(&mut ip)?.stdout)?;
        let known = |node: &u8| text.contains(&format!("\"{}\"", node4(*node)));
        Ok([0, 1]
            .iter()
            .filter(|node| known(node))
            .map(|node| usize::from(*node))
            .collect())
    }

    /// Wait until the router sends packets for the IPv4 VIP to exactly these nodes.
    pub fn until_paths(&self, nodes: &[usize], limit: Duration) -> Result<()> {
        let mut seen = Vec::new();
        until(&format!("the router's paths are {nodes:?}"), limit, || {
            seen = self.paths()?;
            Ok((seen == nodes).then_some(()))
        })
        .with_context(|| format!("they are {seen:?}"))
    }

    /// Neither node is announced for as long as `time`.
    pub fn never_announced(&self, time: Duration) -> Result<()> {
        let began = std::time::Instant::now();
        while began.elapsed() < time {
            let paths = self.paths()?;
            ensure!(paths.is_empty(), "the router has paths {paths:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// A client of the IPv4 VIP over TLS.
    pub fn secure(&self) -> Client {
        Client::tls(SocketAddr::new(VIP4, SECURE), Arc::clone(&self.trust))
    }
}

fn router(settings: &Settings) -> String {
    let neighbours = [0_u8, 1].map(|node| {
        let (address, number) = (node4(node), NODE_AS + u32::from(node));
        let bfd = match settings.bfd {
            "off" => String::new(),
            _ => format!(" neighbor {address} bfd\n neighbor {address} bfd profile lab\n"),
        };
        format!(
            " neighbor {address} remote-as {number}\n neighbor {address} timers 1 3\n \
             neighbor {address} timers connect 1\n{bfd}"
        )
    });
    let activate = [0_u8, 1].map(|node| format!("  neighbor {} activate\n", node4(node)));
    format!(
        "bfd\n profile lab\n  transmit-interval 50\n  receive-interval 50\n  detect-multiplier 3\n exit\nexit\n\
         router bgp {ROUTER_AS}\n bgp router-id 10.78.0.1\n no bgp ebgp-requires-policy\n \
         bgp bestpath as-path multipath-relax\n{}\
         address-family ipv4 unicast\n  maximum-paths 2\n exit-address-family\n \
         address-family ipv6 unicast\n{}  maximum-paths 2\n exit-address-family\nexit\n",
        neighbours.concat(),
        activate.concat(),
    )
}

fn configuration(
    fabric: &Fabric,
    settings: &Settings,
    node: u8,
    certificate: &Path,
) -> Result<String> {
    let directory = fabric.lab.directory().join(format!("ober-{node}"));
    std::fs::create_dir(&directory)?;
    let Settings {
        workers,
        bfd,
        gate,
        extra,
    } = settings;
    let cpus = &two_cpus()?[..(*workers).clamp(1, 2)];
    let more = format!(
        r#"interval = "200ms"
rise = 1
fall = 2

[gate]
{gate}
[bgp]
as = {number}
router_id = "{address}"

[[bgp.neighbours]]
address = "{router}"
as = {ROUTER_AS}
hold_time = "3s"
bfd = "{bfd}"
{extra}
"#,
        number = NODE_AS + u32::from(node),
        address = node4(node),
        router = router4(node),
    );
    let text = Text {
        instance: &format!("{}-{node}", fabric.lab.instance()),
        directory: &directory,
        node: "",
        cpus,
        lists: "",
        vips: &[VIP4, VIP6],
        certificate,
        open: true,
        storage: SocketAddr::new(STORAGE, S3_PORT),
    };
    Ok(text.with(&more))
}
