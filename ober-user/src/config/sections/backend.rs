//! The section `[backends.*]`: which servers get the requests of clients.

use std::{
    collections::BTreeMap,
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{discover::Discover, list::message_of, tls::ToServers};
use crate::{
    config::{
        Check, Limits,
        judge::Judge,
        text::{
            notation::{At, Key, Period},
            source::Fault,
        },
    },
    names::server_line::{self, ExpressionError, ServerTerms},
};

/// S3 servers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Backend")]
pub(crate) struct Raw {
    /// Hostlist expressions, each with a port or the port below, and behind a blank what sets its servers apart:
    /// `weight=2`, `tier=1`, `max_connections=50`.
    servers: Vec<At<String>>,
    /// Port of servers that name none.
    port: Key<NonZeroU16>,
    /// How a server is chosen.
    balance: Key<Balance>,
    /// Connections to one server at once.
    max_connections: Key<NonZeroU32>,
    /// What happens when every server has its `max_connections`. Must be written with them.
    when_full: Key<WhenFull>,
    /// Idle connections count for `max_connections` too. Needs HAProxy 3.2.
    strict_max_connections: Key<bool>,
    /// Further attempts when a server does not accept a connection.
    retries: Key<u32>,
    /// Whether the last attempt may go to another server.
    redispatch: Key<bool>,
    /// Tell servers the client's address by the PROXY protocol.
    proxy_protocol: Key<ProxyVersion>,
    tls: Option<super::tls::RawToServers>,
    /// Where more servers are found.
    discover: Vec<At<super::discover::Raw>>,
    check: super::check::Raw,
    timeouts: RawTimeouts,
}

/// Limits on inactivity; `"0"`: none. None of them ends a transfer that moves.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Timeouts")]
pub(super) struct RawTimeouts {
    /// Until a server accepts a connection.
    connect: Key<Period>,
    /// Silence of the client, for instance in the middle of an upload.
    client: Key<Period>,
    /// Silence of the server, for instance while it assembles a multipart upload.
    server: Key<Period>,
    /// Until the client has sent all headers of a request.
    http_request: Key<Period>,
    /// Between two requests on one connection.
    keep_alive: Key<Period>,
    /// In the queue when every server is busy.
    queue: Key<Period>,
}

/// A group of servers for services.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Hostlist expressions, each with a port or [`Backend::port`], and with the [`ServerTerms`] of its servers.
    pub servers: Vec<String>,
    /// Port of servers that have none of their own.
    pub port: NonZeroU16,
    pub balance: Balance,
    /// Connections to one server at a time, over all workers; a server may have its own limit.
    pub max_connections: Option<NonZeroU32>,
    pub when_full: WhenFull,
    /// Idle connections count for `max_connections` too.
    pub strict_max_connections: bool,
    /// Further attempts when a server does not accept a connection.
    pub retries: u32,
    /// Whether the last attempt may go to another server.
    pub redispatch: bool,
    /// Version of the PROXY protocol that tells servers the client's address; `None`: they get none.
    pub proxy_protocol: Option<ProxyVersion>,
    /// `None`: plain connections to the servers.
    pub tls: Option<ToServers>,
    /// Sources of further servers.
    pub discover: Vec<Discover>,
    pub check: Option<Check>,
    pub timeouts: Timeouts,
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    /// The one with the fewest connections for its weight.
    LeastConn,
    /// Each in turn, whatever its weight.
    RoundRobin,
    /// Each in turn, as often as its weight says.
    Weight,
    /// By the client's address modulo the number of servers.
    IpHash,
    /// By the client's address, so that a server that leaves or returns moves its own clients alone.
    IpHash1,
    /// The better of two drawn at random.
    Random,
    /// The first that is not full.
    First,
}

/// What happens to a client when every server has its `max_connections`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// It waits, at most for the timeout `queue`.
    #[default]
    Queue,
    /// Its request is answered with 503, its connection closed.
    Reject,
}

/// Version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ProxyVersion {
    #[serde(rename = "v1")]
    V1,
    #[serde(rename = "v2")]
    V2,
}

/// Inactivity limits; zero: none. None of them ends a transfer that makes progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    pub connect: Duration,
    pub client: Duration,
    pub server: Duration,
    pub http_request: Duration,
    pub keep_alive: Duration,
    pub queue: Duration,
}

const HTTP: NonZeroU16 = NonZeroU16::new(80).unwrap();
const SECOND: Duration = Duration::from_secs(1);

impl Judge<'_> {
    /// The expressions of servers, with the terms behind them.
    pub(super) fn servers(
        &mut self,
        written: Vec<At<String>>,
        port: NonZeroU16,
        most: usize,
    ) -> Vec<String> {
        self.expressions(written, |text| match server_line::judge(text, port, most) {
            // Errors in the terms are reported with help of their own.
            Ok(()) | Err(ExpressionError::Terms(_)) => Ok(()),
            Err(ExpressionError::Hostlist(error)) => Err(message_of(&error)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// `workers`: how many share a limit of connections.
    pub(crate) fn backends(
        &mut self,
        written: BTreeMap<String, At<Raw>>,
        workers: u32,
        limits: &Limits,
    ) -> BTreeMap<String, Backend> {
        let backends = written.into_iter().map(|(name, At { value, span })| {
            self.name("a backend", &name, &span);
            self.capacity(&value, workers);
            if let Some(tls) = &value.tls {
                self.held_to_names(&value.servers, tls);
            }
            let port = value.port.or(HTTP);
            if value.check.is_assumed() {
                self.assumed.insert(name.clone());
            }
            let backend = Backend {
                servers: self.servers(value.servers, port, limits.servers),
                port,
                balance: value.balance.or(Balance::LeastConn),
                max_connections: self.shared("max_connections", &value.max_connections, workers),
                when_full: value.when_full.or(WhenFull::Queue),
                strict_max_connections: value.strict_max_connections.or(false),
                retries: self.number("retries", value.retries, 3, 0..=100),
                redispatch: value.redispatch.or(true),
                proxy_protocol: value.proxy_protocol.0.map(|at| at.value),
                tls: value.tls.map(|tls| self.server_tls(tls)),
                discover: self.discover(value.discover, port, limits.servers),
                check: self.check(value.check),
                timeouts: self.timeouts(value.timeouts),
            };
            (name, backend)
        });
        backends.collect()
    }

    /// A limit of connections and `when_full` must be given together, and `first` needs such a limit.
    fn capacity(&mut self, raw: &Raw, workers: u32) {
        let mut own = None;
        for at in &raw.servers {
            match ServerTerms::split(&at.value) {
                Ok((_, terms)) => {
                    let limit = terms.max_connections.map(|value| At {
                        value,
                        span: at.span.clone(),
                    });
                    self.shared("max_connections", &Key(limit.clone()), workers);
                    own = own.or(limit);
                }
                Err(error) => {
                    let help = "after the expression you may write `weight=0` to `weight=256`, `tier=0` to `tier=255` and `max_connections=1` or more";
                    self.refuse(Fault::new(at.span.clone(), error).help(help));
                }
            }
        }
        let limited = raw.max_connections.span().or(own.map(|at| at.span));
        if let (Some(span), None) = (&limited, raw.when_full.span()) {
            let message = "`max_connections` without saying what happens beyond";
            let help = "write `when_full = \"queue\"` or `when_full = \"reject\"`";
            self.refuse(Fault::new(span.clone(), message).help(help));
        }
        let first = raw
            .balance
            .0
            .as_ref()
            .filter(|at| at.value == Balance::First);
        if let (Some(at), None) = (first, &limited) {
            let message = "with `balance = \"first\"` and no limit every client goes to one server";
            self.refuse(Fault::new(at.span.clone(), message).help("write `max_connections`"));
        }
        let useless = raw.when_full.span().or(raw.strict_max_connections.span());
        if let (Some(span), None) = (useless, &limited) {
            let message = "it says what happens at `max_connections`, and there are none";
            self.refuse(Fault::new(span, message).help("write `max_connections`"));
        }
    }

    /// A string that is one word in HAProxy's configuration.
    pub(super) fn word(
        &mut self,
        name: &str,
        key: Key<String>,
        default: &str,
        what: &str,
        good: fn(&str) -> bool,
    ) -> String {
        if let Some(at) = key.0.as_ref().filter(|at| !good(&at.value)) {
            let message = format!("`{name}` is `{}`, but must be {what}", at.value);
            self.refuse(Fault::new(at.span.clone(), message));
        }
        key.or(default.to_owned())
    }

    fn timeouts(&mut self, timeouts: RawTimeouts) -> Timeouts {
        Timeouts {
            connect: self.period_or_none("connect", timeouts.connect, SECOND * 5),
            client: self.period_or_none("client", timeouts.client, SECOND * 60),
            // A gateway sends nothing while it assembles a multipart upload.
            server: self.period_or_none("server", timeouts.server, SECOND * 300),
            http_request: self.period_or_none("http_request", timeouts.http_request, SECOND * 10),
            keep_alive: self.period_or_none("keep_alive", timeouts.keep_alive, SECOND * 30),
            queue: self.period_or_none("queue", timeouts.queue, SECOND * 30),
        }
    }
}
