//! Two nodes that share the VIPs by VRRP, a client beside them on one switch, S3 behind both. The second node runs Ober
//! too, or is left to another router.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use ober_programs::IP;
use rustls::ClientConfig;

use crate::{
    certificate::Authority,
    client::Client,
    ingress::Ingress,
    lab::{
        Host, Process, VIP4,
        fabric::STORAGE,
        pair::{Pair, member4},
        until,
    },
    nodes::{
        one::{S3_PORT, SECURE, serve_objects, two_cpus},
        text::Text,
    },
    peers::{Keepalived, keepalived::Router},
};

/// The virtual router of the IPv4 VIP.
pub const VRID: u8 = 51;
/// Between two advertisements: 10 ms.
pub const ADVERTISEMENT: Duration = Duration::from_millis(10);

/// The configuration with the default interval, for tests in which nothing may be interrupted: on a busy machine a timer of
/// 10 ms is late at times, and a master that is late gives way.
pub fn unhurried(text: &str) -> String {
    let hurried = format!(
        "advertisement_interval = \"{}ms\"\n",
        ADVERTISEMENT.as_millis()
    );
    text.replace(&hurried, "")
}

/// Both nodes and all around them.
#[derive(Debug)]
pub struct SharedVip {
    pub ober: [Ingress; 2],
    pub storage: Process,
    pub pair: Pair,
    trust: Arc<ClientConfig>,
}

impl SharedVip {
    /// Everything but the daemons. `priorities`: those of the two nodes.
    pub fn new(name: &str, priorities: [u8; 2]) -> Result<Self> {
        let pair = Pair::new(name)?;
        let lab = &pair.lab;
        let authority = Authority::new()?;
        let certificate = lab.write("s3.pem", authority.server(&[VIP4])?)?;
        let config = |node: u8| -> Result<Ingress> {
            let priority = priorities[usize::from(node)];
            let text = configuration(&pair, node, priority, &certificate)?;
            Ok(Ingress::new(lab.write(&format!("ober-{node}.toml"), text)?))
        };
        Ok(Self {
            ober: [config(0)?, config(1)?],
            storage: serve_objects(lab, &pair.storage, SocketAddr::new(STORAGE, S3_PORT))?,
            trust: authority.client()?,
            pair,
        })
    }

    pub fn node(&self, node: usize) -> &Host {
        &self.pair.nodes[node]
    }

    /// Start the daemon of a node and wait until it is healthy; not until it is master.
    pub fn start(&mut self, node: usize) -> Result<()> {
        self.ober[node].start(&self.pair.nodes[node])?;
        Ok(())
    }

    /// A command of a node's CLI; its standard output.
    pub fn cli(&self, node: usize, arguments: &[&str]) -> Result<String> {
        self.ober[node].cli(self.node(node), arguments)
    }

    /// keepalived as the second node, with this priority.
    pub fn keepalived(&self, priority: u8) -> Result<Keepalived> {
        let router = Router {
            interface: "in0".to_owned(),
            version: 3,
            vrid: VRID,
            priority,
            interval: ADVERTISEMENT,
            vips: vec![VIP4],
            source: Self::address(1),
            peers: vec![Self::address(0)],
            preempt: true,
            more: String::new(),
        };
        Keepalived::start(&self.pair.lab, self.node(1), &router)
    }

    /// Does the node's kernel have the VIP?
    pub fn holds(&self, node: usize) -> Result<bool> {
        let mut ip = IP.command();
        ip.args(["-oneline", "address", "show"]);
        let text = String::from_utf8(self.node(node).output(&mut ip)?.stdout)?;
        Ok(text.contains(&format!(" {VIP4}/")))
    }

    /// Wait until this node has the VIP and the other has not.
    pub fn until_master(&self, node: usize, limit: Duration) -> Result<()> {
        until(&format!("node {node} is master"), limit, || {
            Ok((self.holds(node)? && !self.holds(1 - node)?).then_some(()))
        })
    }

    /// A client of the VIP over TLS.
    pub fn secure(&self) -> Client {
        Client::tls(SocketAddr::new(VIP4, SECURE), Arc::clone(&self.trust))
    }

    /// The MAC address to which the client sends, read from its neighbour table without asking.
    pub fn cached(&self) -> Result<String> {
        let mut ip = IP.command();
        ip.args(["neighbour", "show", &VIP4.to_string()]);
        let text = String::from_utf8(self.pair.client.output(&mut ip)?.stdout)?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "lladdr");
        let mac = words
            .nth(1)
            .with_context(|| format!("the client knows no MAC of the VIP: {text}"))?;
        Ok(mac.to_owned())
    }

    /// The address of a node on the switch.
    pub fn address(node: u8) -> IpAddr {
        member4(node)
    }
}

fn configuration(pair: &Pair, node: u8, priority: u8, certificate: &Path) -> Result<String> {
    let directory = pair.lab.directory().join(format!("ober-{node}"));
    std::fs::create_dir(&directory)?;
    let more = format!(
        r#"
[gate]
interval = "200ms"
fast_interval = "50ms"
rise = 2
min_up = "0"

[vrrp]
interface = "in0"
source = ["{own}"]
peers = ["{other}"]
advertisement_interval = "{interval}ms"

[[vrrp.instances]]
vips = ["{VIP4}"]
vrid = {VRID}
priority = {priority}
"#,
        own = member4(node),
        other = member4(1 - node),
        interval = ADVERTISEMENT.as_millis(),
    );
    let text = Text {
        instance: &format!("{}-{node}", pair.lab.instance()),
        directory: &directory,
        node: "",
        cpus: &two_cpus()?,
        lists: "",
        vips: &[VIP4],
        certificate,
        open: false,
        storage: SocketAddr::new(STORAGE, S3_PORT),
    };
    Ok(text.with(&more))
}
