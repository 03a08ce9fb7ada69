//! The configurations of the nodes and of the router.

use std::{path::Path, time::Duration};

use anyhow::Result;

use crate::{
    lab::{
        VIP4, VIP6,
        fabric::{NODE_AS, ROUTER_AS, STORAGE, node4, router4},
        pair::member4,
    },
    nodes::one::{OPEN, S3_PORT, SECURE, two_cpus},
};

pub(super) const VRID: u8 = 51;
pub(super) const ADVERTISEMENT: Duration = Duration::from_millis(100);
/// The port of the source of servers.
pub(super) const SOURCE_PORT: u16 = 8000;

/// FRR for the two nodes: BFD 100 ms x 5, since eleven programs share the CPUs. Its routes name no nexthop groups of the
/// kernel: zebra 8.4 does not notice that the kernel takes a member out of one when a link goes down.
pub(in crate::chaos) fn router() -> String {
    let neighbours = [0_u8, 1].map(|node| {
        let (address, number) = (node4(node), NODE_AS + u32::from(node));
        format!(
            " neighbor {address} remote-as {number}\n neighbor {address} timers 1 6\n \
             neighbor {address} timers connect 1\n neighbor {address} bfd\n neighbor {address} bfd profile lab\n"
        )
    });
    format!(
        "no zebra nexthop kernel enable\nbfd\n profile lab\n  transmit-interval 100\n  receive-interval 100\n  detect-multiplier 5\n exit\nexit\n\
         router bgp {ROUTER_AS}\n bgp router-id 10.78.0.1\n no bgp ebgp-requires-policy\n \
         bgp bestpath as-path multipath-relax\n{}\
         address-family ipv4 unicast\n  maximum-paths 2\n exit-address-family\nexit\n",
        neighbours.concat(),
    )
}

/// A node behind the router, or beside keepalived.
pub(super) fn node(number: usize, instance: &str, directory: &Path) -> Result<String> {
    let (vips, neighbours) = match u8::try_from(number)? {
        2 => (format!("\"{VIP4}\""), vrrp()),
        node => (format!("\"{VIP4}\", \"{VIP6}\""), bgp(node)),
    };
    let directory = directory.display();
    Ok(format!(
        r#"[node]
instance = "{instance}"
interfaces = ["in0"]
state = "{directory}/state"
run = "{directory}/run"
reconcile = "2s"

[workers]
cpus = {cpus:?}
max_connections = 2000
drain = "5s"
backoff_max = "1s"

[limits]
ipv4_pages = 16
ipv6_hosts = 4096

[resolve]
interval = "1s"
timeout = "1s"

[lists.frontend-http]
sources = ["10.78.0.11", "friend.test"]

[[services]]
name = "s3"
vips = [{vips}]
backend = "rgw"

[[services.listeners]]
port = {SECURE}
certificate = "{directory}/s3.pem"

[[services.listeners]]
port = {OPEN}
access = "frontend-http"

[backends.rgw]
servers = ["{STORAGE}:{S3_PORT}"]

[backends.rgw.check]
path = "/"
interval = "500ms"
fast_interval = "200ms"
rise = 1
fall = 2

[[backends.rgw.discover]]
kind = "plaintext"
url = "http://{STORAGE}:{SOURCE_PORT}/servers"
pattern = "(?<host>[0-9.]+):(?<port>[0-9]+)"
interval = "1s"
timeout = "1s"

[[backends.rgw.discover]]
kind = "srv"
lookup = "_s3._tcp.test"
nameserver = "{STORAGE}:53"
interval = "1s"
timeout = "1s"

[gate]
interval = "500ms"
fast_interval = "100ms"
timeout = "1s"
rise = 2
fall = 2
min_up = "0"
graceful_time = "500ms"

{neighbours}"#,
        cpus = two_cpus()?,
    ))
}

fn bgp(node: u8) -> String {
    format!(
        r#"[bfd.profiles.lab]
transmit = "100ms"
receive = "100ms"
multiplier = 5

[bgp]
as = {number}
router_id = "{address}"

[[bgp.neighbours]]
address = "{router}"
as = {ROUTER_AS}
hold_time = "6s"
connect_retry = "1s"
bfd = "lab"
"#,
        number = NODE_AS + u32::from(node),
        address = node4(node),
        router = router4(node),
    )
}

fn vrrp() -> String {
    format!(
        r#"[vrrp]
interface = "in0"
source = ["{own}"]
peers = ["{other}"]
advertisement_interval = "{interval}ms"

[[vrrp.instances]]
vips = ["{VIP4}"]
vrid = {VRID}
priority = 200
"#,
        own = member4(0),
        other = member4(1),
        interval = ADVERTISEMENT.as_millis(),
    )
}

/// The zone of the name server: the client that is listed by name, and the second S3 server.
pub(super) fn zone() -> String {
    format!(
        "$ORIGIN test.\n$TTL 1\n@ SOA ns host 1 1 1 1 1\n@ NS ns\nns A {STORAGE}\nfriend A 10.78.0.50\n\
         _s3._tcp SRV 1 5 {second} store\nstore A {STORAGE}\n",
        second = S3_PORT + 1
    )
}

/// The answer of the source of servers.
pub(super) fn servers() -> String {
    format!("{STORAGE}:{}\n", S3_PORT + 1)
}
