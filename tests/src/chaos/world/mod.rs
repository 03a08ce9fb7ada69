//! Everything there is to break: two nodes behind FRR, one beside keepalived, the servers behind both, and the clients.
//!
//! ```text
//! client -- router (FRR) --+-- node 0 --+-- storage: two S3 servers, a name server, a source of servers
//!                          +-- node 1 --+
//! client -- switch --+-- node 2 -----------------+-- storage: the same once more
//!                    +-- keepalived and HAProxy -+
//! ```

mod back;
mod node;
mod source;
mod texts;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use ober_programs::IP;
use ober_user::{backends::server::Server, config::Config};
use rustls::ClientConfig;

pub(super) use back::Back;
pub(super) use node::Node;
pub(super) use source::Mood;
pub(super) use texts::router;

use super::{STEADY, fault::Site};
use crate::{
    certificate::Authority,
    client::Client,
    lab::{
        Host, Lab, Process, VIP4, VIP6,
        fabric::{Fabric, STORAGE, node4},
        pair::{Pair, member4},
        plain_haproxy, until,
    },
    nodes::one::{OPEN, S3_PORT, SECURE},
    pattern::Pattern,
    peers::{Frr, Keepalived, keepalived::Router},
};

/// A client that is on no list, beside the listed one.
pub(super) const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 66));
/// Addresses from which the router asks a node directly, past its own choice of a path.
pub(super) const ASKERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 78, 9, 10)),
    IpAddr::V4(Ipv4Addr::new(10, 78, 9, 11)),
];
/// The object that clients read all the time.
pub(super) const PATH: &str = "/chaos/object";
pub(super) const CONTENT: Pattern = Pattern::new(41, 20_000);
/// A large one.
pub(super) const LARGE: &str = "/chaos/large";
pub(super) const MUCH: Pattern = Pattern::new(42, 2_000_000);
/// How long the set-up may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// The installation. Fields are dropped in this order.
pub(super) struct World {
    pub(super) nodes: [Node; 3],
    pub(super) keepalived: Mutex<Option<Keepalived>>,
    _plain: Vec<Process>,
    pub(super) frr: Mutex<Frr>,
    pub(super) backs: [Back; 2],
    pub(super) authority: Authority,
    trust: Arc<ClientConfig>,
    pub(super) burning: Arc<AtomicBool>,
    pub(super) fabric: Fabric,
    pub(super) pair: Pair,
}

/// Locks, even when another holder panicked.
pub(super) fn hold<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Builds and starts everything, and waits until it serves.
    pub(super) fn new() -> Result<Self> {
        let (fabric, pair) = (Fabric::new("chaos-r")?, Pair::new("chaos-v")?);
        prepare(&fabric)?;
        let authority = Authority::new()?;
        let backs = [
            Back::start(&fabric.lab, &fabric.storage)?,
            Back::start(&pair.lab, &pair.storage)?,
        ];
        let frr = Frr::start(&fabric.lab, &fabric.router, &texts::router())?;
        let node = |lab: &Lab, host: &Host, number: usize| -> Result<Node> {
            let pem = authority.server(&[VIP4, VIP6])?;
            Node::new(lab, host, number, &pem)
        };
        let nodes = [
            node(&fabric.lab, &fabric.nodes[0], 0)?,
            node(&fabric.lab, &fabric.nodes[1], 1)?,
            node(&pair.lab, &pair.nodes[0], 2)?,
        ];
        let plain = beside(&pair, &nodes[2])?;
        let world = Self {
            nodes,
            keepalived: Mutex::new(Some(keepalived(&pair)?)),
            _plain: plain,
            frr: Mutex::new(frr),
            backs,
            trust: authority.client()?,
            authority,
            burning: Arc::default(),
            fabric,
            pair,
        };
        world.begin()?;
        Ok(world)
    }

    fn begin(&self) -> Result<()> {
        for number in 0..self.nodes.len() {
            self.nodes[number].start(self.host(number))?;
        }
        for number in 0..self.nodes.len() {
            until(&format!("node {number} is healthy"), PATIENCE, || {
                let status = self.nodes[number].status(self.host(number))?;
                Ok(status.healthy.then_some(()))
            })?;
        }
        until("a master beside keepalived", PATIENCE, || {
            Ok((self.masters()? == [true, false]).then_some(()))
        })?;
        // A path that comes later moves connections to a node that does not know them.
        let mut since = None;
        until("both nodes behind the router", PATIENCE, || {
            since = (self.paths()? == [true; 2]).then(|| since.unwrap_or_else(Instant::now));
            Ok(since.filter(|it| it.elapsed() > STEADY))
        })?;
        for site in Site::ALL {
            until(&format!("objects at {site:?}"), PATIENCE, || {
                self.store(site).map(Some)
            })?;
        }
        Ok(())
    }

    /// Whether the router has a path to the VIP through each node.
    pub(super) fn paths(&self) -> Result<[bool; 2]> {
        let mut ip = IP.args(["-json", "route", "show", &VIP4.to_string()]);
        let text = String::from_utf8(self.fabric.router.output(&mut ip)?.stdout)?;
        Ok([0, 1].map(|node| text.contains(&format!("\"{}\"", node4(node)))))
    }

    /// Whether node 2 and keepalived, which share the VIP, have it.
    pub(super) fn masters(&self) -> Result<[bool; 2]> {
        let has = |host: &Host| -> Result<bool> {
            let mut ip = IP.args(["-oneline", "address", "show", "dev", "in0"]);
            let text = String::from_utf8(host.output(&mut ip)?.stdout)?;
            Ok(text.contains(&format!(" {VIP4}/")))
        };
        Ok([has(&self.pair.nodes[0])?, has(&self.pair.nodes[1])?])
    }

    fn store(&self, site: Site) -> Result<()> {
        let client = self.secure();
        self.client(site).tokio(async || {
            let mut connection = client.connect().await?;
            // The bucket may be there already.
            let made = connection.create_bucket("chaos").await;
            connection.put(PATH, CONTENT).await.or(made)?;
            connection.put(LARGE, MUCH).await?;
            anyhow::Ok(())
        })?
    }

    pub(super) fn host(&self, node: usize) -> &Host {
        match node {
            2 => &self.pair.nodes[0],
            other => &self.fabric.nodes[other],
        }
    }

    pub(super) fn client(&self, site: Site) -> &Host {
        match site {
            Site::Routed => &self.fabric.client,
            Site::Shared => &self.pair.client,
        }
    }

    /// A client of the VIP over TLS, of either site.
    pub(super) fn secure(&self) -> Client {
        Client::tls(SocketAddr::new(VIP4, SECURE), Arc::clone(&self.trust))
            .limits(Duration::from_secs(3), Duration::from_secs(8))
    }

    /// A client of the VIP over plain HTTP, which is for listed ones.
    pub(super) fn open() -> Client {
        Client::plain(SocketAddr::new(VIP4, OPEN))
            .limits(Duration::from_secs(3), Duration::from_secs(8))
    }
}

/// Adds to the topology of other tests: a stranger's address, and a route to each node past the router's choice of a path.
fn prepare(fabric: &Fabric) -> Result<()> {
    fabric
        .client
        .ip(&[format!("addr add {STRANGER}/24 dev cl0")])?;
    let router = &fabric.router;
    router.sysctl("net.ipv6.conf.all.keep_addr_on_down", "1")?;
    for (number, asker) in (0_u8..).zip(ASKERS) {
        let table = 100 + u32::from(number);
        router.ip(&[
            format!("addr add {asker}/32 dev lo"),
            format!("rule add from {asker} lookup {table}"),
            // While the link is down a question must fail, and not reach the other node.
            format!("route add unreachable default metric 1000 table {table}"),
        ])?;
        past(fabric, number)?;
    }
    Ok(())
}

/// The route to a node past the router's choice of a path; it goes with the link.
pub(super) fn past(fabric: &Fabric, node: u8) -> Result<()> {
    let (table, address) = (100 + u32::from(node), node4(node));
    let route = format!("route replace default via {address} table {table}");
    fabric.router.ip(&[route])
}

/// HAProxy without Ober beside keepalived, so that its VIP is served too.
fn beside(pair: &Pair, node: &Node) -> Result<Vec<Process>> {
    let host = &pair.nodes[1];
    host.sysctl("net.ipv4.ip_nonlocal_bind", "1")?;
    let config = Config::load(&node.config).context("read the configuration of node 2")?;
    let server = |port| Server::new(format!("s{port}"), SocketAddr::new(STORAGE, port));
    let servers = vec![server(S3_PORT), server(S3_PORT + 1)];
    let servers = [("rgw".to_owned(), servers)].into_iter().collect();
    plain_haproxy(&pair.lab, host, &config, &servers)
}

/// keepalived with less priority than node 2.
pub(super) fn keepalived(pair: &Pair) -> Result<Keepalived> {
    let router = Router {
        interface: "in0".to_owned(),
        version: 3,
        vrid: texts::VRID,
        priority: 100,
        interval: texts::ADVERTISEMENT,
        vips: vec![VIP4],
        source: member4(1),
        peers: vec![member4(0)],
        preempt: true,
        more: String::new(),
    };
    Keepalived::start(&pair.lab, &pair.nodes[1], &router)
}
