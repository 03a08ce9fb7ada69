//! The files as written: every key may be missing, none may be unknown. The comments here are the descriptions in
//! `config/ober.schema.json`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::{NonZeroU16, NonZeroU32},
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Fragments, Steer, XdpMode,
    sections::{
        backend::{Balance, ProxyVersion, WhenFull},
        route::UnknownName,
    },
    text::notation::{At, Count, Key, Period, Rate, Secret},
};

/// Configuration of Herr Ober: the main file and those in `config.d` beside it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Herr Ober")]
pub(super) struct File {
    pub(super) node: Node,
    pub(super) workers: Workers,
    pub(super) limits: Limits,
    pub(super) resolve: Resolve,
    /// Access lists by name. `frontend-http` and `routers` always exist.
    pub(super) lists: BTreeMap<String, At<List>>,
    /// What clients reach. Those of several files stand one after another.
    pub(super) services: Vec<At<Service>>,
    /// Groups of S3 servers by name.
    pub(super) backends: BTreeMap<String, At<Backend>>,
    /// When this node may attract traffic.
    pub(super) gate: super::sections::gate::Raw,
    /// Announce the VIPs to routers by BGP.
    pub(super) bgp: Option<At<super::sections::bgp::Raw>>,
    /// How fast BFD is.
    pub(super) bfd: super::sections::bfd::Raw,
    /// Share the VIPs among nodes by VRRP.
    pub(super) vrrp: Option<At<super::sections::vrrp::Raw>>,
    /// Have certificates issued by ACME.
    pub(super) acme: Option<At<super::sections::acme::Raw>>,
}

/// This machine and where Ober keeps its things.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Node {
    /// Names the pins, the state and the control socket; several instances may share a machine.
    pub(super) instance: Key<String>,
    /// Interfaces clients come in by; the XDP program is attached to each. Must be written.
    pub(super) interfaces: Vec<At<String>>,
    /// How XDP is attached: `auto` is native, and generic where the driver cannot.
    pub(super) xdp: Key<XdpMode>,
    /// Send packets to their worker's CPU; `auto`: unless every interface has as many receive queues as there are workers or is a veth.
    pub(super) steer: Key<Steer>,
    /// Where missing VIP addresses are added; `auto`: on a dummy interface, or `lo` where the kernel has none; empty: they
    /// are the administrator's.
    pub(super) vip_interface: Key<String>,
    /// The list of routers. When written, routing protocols are accepted from it alone.
    pub(super) routers: Key<String>,
    /// Secret of the flow hash, 32 hexadecimal digits, as `"${NAME}"`. Left out: made at the first start.
    pub(super) cluster_key: Key<Secret>,
    /// A file that holds the cluster key, not readable by every account.
    pub(super) cluster_key_file: Key<String>,
    /// Directory for what survives a reboot.
    pub(super) state: Key<String>,
    /// Directory for what does not.
    pub(super) run: Key<String>,
    /// The BPF file system.
    pub(super) bpffs: Key<String>,
    /// Metrics, health and statistics; a loopback address and port.
    pub(super) metrics: Key<SocketAddr>,
    /// One drop in this many may be reported as an event: a power of two, or 0 for none.
    pub(super) sample: Key<u32>,
    /// At most so many drops a second are reported on each CPU.
    pub(super) event_rate: Key<u32>,
    /// Sources that may send fragments to a VIP: `listed` are those on an access list of one of its services.
    pub(super) fragments: Key<Fragments>,
    /// Compile the logging of rare packets into the kernel programs.
    pub(super) packet_log: Key<bool>,
    /// Configurations that were in force and are kept for `history` and `rollback`: 2 to 10,000.
    pub(super) history: Key<u32>,
    /// Servers in the workers, maps, programs and addresses are compared with what they are to be this often, and set
    /// right; "0": never.
    pub(super) reconcile: Key<Period>,
}

/// The `HAProxy` processes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Workers {
    /// How many, 1 to 64; `"auto"`: one for each CPU.
    pub(super) count: Key<Count>,
    /// CPUs they are pinned to, in turn; left out: every CPU that is online.
    pub(super) cpus: Vec<At<u32>>,
    /// The program: a path, or a name looked up in PATH.
    pub(super) haproxy: Key<String>,
    /// Account HAProxy runs as; left out: `haproxy` where there is one, otherwise root.
    pub(super) user: Key<String>,
    /// Its group; left out: the own one of that account.
    pub(super) group: Key<String>,
    /// Connections one worker accepts at once.
    pub(super) max_connections: Key<u32>,
    /// How long a replaced worker may finish its connections.
    pub(super) drain: Key<Period>,
    /// First pause before a crashed worker is started again; doubles each time.
    pub(super) backoff: Key<Period>,
    /// The longest such pause.
    pub(super) backoff_max: Key<Period>,
}

/// Sizes fixed at the start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Pages of 65,536 IPv4 addresses, 8 KiB each, over all lists.
    pub(super) ipv4_pages: Key<u32>,
    /// IPv6 host addresses over all lists.
    pub(super) ipv6_hosts: Key<u32>,
    /// IPv6 prefixes over all lists.
    pub(super) ipv6_prefixes: Key<u32>,
    /// Names or addresses one list may expand to.
    pub(super) expansion: Key<u32>,
    /// Steered packets that may wait for a CPU, 64 to 16384; further ones are dropped.
    pub(super) steer_queue: Key<u32>,
    /// Servers one backend may have, 1 to 100,000. A source that names more has failed.
    pub(super) servers: Key<u32>,
}

/// Names to addresses.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Resolve {
    /// Pause between two rounds; `"0"`: only when asked.
    pub(super) interval: Key<Period>,
    /// Time one name may take.
    pub(super) timeout: Key<Period>,
    /// Names asked for at once.
    pub(super) concurrency: Key<u32>,
    /// A `slurm.conf` whose `NodeAddr` wins over the name service.
    pub(super) slurm_conf: Key<String>,
}

/// An access list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct List {
    /// Hostlist expressions, addresses and prefixes, in force until `acl sync` replaces them.
    pub(super) sources: Vec<At<String>>,
}

/// VIPs and the ports on them, in front of backends.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Service {
    /// Its name, in metrics and messages. Must be written.
    pub(super) name: Key<String>,
    /// Addresses clients connect to. Must be written.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) vips: Vec<At<IpAddr>>,
    /// One of `backends`: where what no route takes goes. Must be written.
    pub(super) backend: Key<String>,
    /// Ports on every VIP of this service. At least one.
    pub(super) listeners: Vec<At<Listener>>,
    /// Ways to other backends; the first that fits is taken.
    pub(super) routes: Vec<At<super::sections::route::Raw>>,
    /// What happens to a client that asks for a name that no route has.
    pub(super) unexpected_name: Key<UnknownName>,
    /// What happens to a client that asks for no name at all.
    pub(super) no_name: Key<UnknownName>,
    /// Connections at once; further ones are closed. Left out: as many as the workers take.
    pub(super) max_connections: Key<NonZeroU32>,
    /// Connections at once of one client address.
    pub(super) client_connections: Key<NonZeroU32>,
    /// New connections of one client address: `"50/s"`, `"1000/10s"`.
    pub(super) client_connection_rate: Key<Rate>,
    /// Requests of one client address; answered with 429 beyond.
    pub(super) client_request_rate: Key<Rate>,
    pub(super) timeouts: ClientTimeouts,
}

/// Limits on inactivity of clients; left out: those of the service's backend.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClientTimeouts {
    /// Silence of the client.
    pub(super) client: Key<Period>,
    /// Until the client has sent all headers of a request, or its TLS greeting.
    pub(super) http_request: Key<Period>,
    /// Between two requests on one connection.
    pub(super) keep_alive: Key<Period>,
}

/// A port on every VIP of the service.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Listener {
    /// TCP port. Must be written.
    pub(super) port: Key<NonZeroU16>,
    /// The protocol; left out: https with a certificate, http without.
    pub(super) protocol: Key<super::sections::listener::Word>,
    /// PEM file of chain and key, or a directory of them, for https and tls.
    pub(super) certificate: Key<String>,
    /// More of them, chosen by the name a client asks for; the first of all is for every other name.
    pub(super) certificates: Vec<At<String>>,
    /// Names for which a certificate is obtained from the authority in `[acme]`, and renewed.
    pub(super) acme: Vec<At<String>>,
    /// `"open"` or the name of a list. Must be written for http and tcp, unless `rules` apply to all clients.
    pub(super) access: Key<String>,
    /// Access rules, in order: `"allow 192.0.2.0/24"`, `"deny all"`; for HTTP also `path=/PREFIX` and `method=A,B`.
    pub(super) rules: Vec<At<String>>,
    /// Addresses and prefixes of proxies that begin every connection with the PROXY protocol, version 1 or 2.
    pub(super) proxy_from: Vec<At<String>>,
    /// Send every request to the service's https listener.
    pub(super) redirect_https: Key<bool>,
    /// For how long browsers are told to use HTTPS alone.
    pub(super) hsts: Key<Period>,
    pub(super) tls: Option<At<super::sections::tls::Raw>>,
}

/// S3 servers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Backend {
    /// Hostlist expressions, each with a port or the port below, and behind a blank what sets its servers apart:
    /// `weight=2`, `tier=1`, `max_connections=50`.
    pub(super) servers: Vec<At<String>>,
    /// Port of servers that name none.
    pub(super) port: Key<NonZeroU16>,
    /// How a server is chosen.
    pub(super) balance: Key<Balance>,
    /// Connections to one server at once.
    pub(super) max_connections: Key<NonZeroU32>,
    /// What happens when every server has its `max_connections`. Must be written with them.
    pub(super) when_full: Key<WhenFull>,
    /// Idle connections count for `max_connections` too. Needs HAProxy 3.2.
    pub(super) strict_max_connections: Key<bool>,
    /// Further attempts when a server does not accept a connection.
    pub(super) retries: Key<u32>,
    /// Whether the last attempt may go to another server.
    pub(super) redispatch: Key<bool>,
    /// Tell servers the client's address by the PROXY protocol.
    pub(super) proxy_protocol: Key<ProxyVersion>,
    pub(super) tls: Option<super::sections::tls::RawToServers>,
    /// Where more servers are found.
    pub(crate) discover: Vec<At<super::sections::discover::Raw>>,
    pub(crate) check: super::sections::check::Raw,
    pub(super) timeouts: Timeouts,
}

/// Limits on inactivity; `"0"`: none. None of them ends a transfer that moves.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Timeouts {
    /// Until a server accepts a connection.
    pub(super) connect: Key<Period>,
    /// Silence of the client, for instance in the middle of an upload.
    pub(super) client: Key<Period>,
    /// Silence of the server, for instance while it assembles a multipart upload.
    pub(super) server: Key<Period>,
    /// Until the client has sent all headers of a request.
    pub(super) http_request: Key<Period>,
    /// Between two requests on one connection.
    pub(super) keep_alive: Key<Period>,
    /// In the queue when every server is busy.
    pub(super) queue: Key<Period>,
}
