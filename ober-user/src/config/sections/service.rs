//! The section `[[services]]`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

use ober_common::abi::SERVICES;
use schemars::JsonSchema;
use serde::Deserialize;

use super::route::Visibility;
use crate::config::{
    Backend, List, Listener, Route, Throttle, UnknownName,
    judge::Judge,
    text::{
        error::suggestion,
        notation::{At, Key, Period, Rate},
        source::{Fault, Span},
    },
};

/// VIPs and the ports on them, in front of backends.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Service")]
pub(crate) struct Raw {
    /// Its name, in metrics and messages. Must be written.
    pub(super) name: Key<String>,
    /// Addresses clients connect to. Must be written.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    pub(super) vips: Vec<At<IpAddr>>,
    /// One of `backends`: where what no route takes goes. Must be written.
    pub(super) backend: Key<String>,
    /// Ports on every VIP of this service. At least one.
    pub(super) listeners: Vec<At<super::listener::Raw>>,
    /// Ways to other backends; the first that fits is taken.
    pub(super) routes: Vec<At<super::route::Raw>>,
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
    pub(super) timeouts: RawTimeouts,
}

/// Limits on inactivity of clients; left out: those of the service's backend.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ClientTimeouts")]
pub(super) struct RawTimeouts {
    /// Silence of the client.
    client: Key<Period>,
    /// Until the client has sent all headers of a request, or its TLS greeting.
    http_request: Key<Period>,
    /// Between two requests on one connection.
    keep_alive: Key<Period>,
}

/// VIPs and the ports on them, which clients connect to, in front of backends.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: String,
    pub vips: Vec<IpAddr>,
    pub listeners: Vec<Listener>,
    /// A key of [`crate::config::Config::backends`]: the backend of requests that no route applies to.
    pub backend: String,
    /// The first route that applies decides.
    pub routes: Vec<Route>,
    /// What happens to a client whose name has no route.
    pub unexpected_name: UnknownName,
    /// What happens to a client that asks for no name.
    pub no_name: UnknownName,
    pub throttle: Throttle,
    pub timeouts: ClientTimeouts,
}

/// Inactivity limits of clients; `None`: those of the service's backend; zero: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTimeouts {
    pub client: Option<Duration>,
    pub http_request: Option<Duration>,
    pub keep_alive: Option<Duration>,
}

impl Service {
    /// Every backend that the service may use, its own first, each once.
    pub fn backends(&self) -> impl Iterator<Item = &str> {
        let mut backends = vec![self.backend.as_str()];
        for route in &self.routes {
            if !backends.contains(&route.backend.as_str()) {
                backends.push(&route.backend);
            }
        }
        backends.into_iter()
    }
}

/// Names and sockets of the services so far.
#[derive(Default)]
struct Taken {
    names: BTreeMap<String, Span>,
    /// The service and the place of its listener in the file.
    sockets: BTreeMap<(IpAddr, NonZeroU16), (String, Span)>,
    /// The first service that uses a backend, and whether it reads HTTP.
    modes: BTreeMap<String, (String, bool)>,
    /// Number of VIPs and ports so far.
    count: usize,
}

impl Judge<'_> {
    pub(crate) fn services(
        &mut self,
        written: Vec<At<Raw>>,
        lists: &mut BTreeMap<String, List>,
        backends: &BTreeMap<String, Backend>,
        metrics: SocketAddr,
        workers: u32,
    ) -> Vec<Service> {
        let mut taken = Taken::default();
        let services = written.into_iter().map(
            |At {
                 value: mut raw,
                 span,
             }| {
                let name = self.service_name(std::mem::take(&mut raw.name), &span, &mut taken);
                let vips = self.vips(&name, std::mem::take(&mut raw.vips), &span);
                let written = std::mem::take(&mut raw.listeners);
                let listeners = self.listeners(&name, written, &span, lists);
                self.sockets(&name, &vips, &listeners, metrics, &mut taken);
                self.room(&name, vips.len() * listeners.len(), &span, &mut taken);
                let listeners: Vec<Listener> = listeners.into_iter().map(|at| at.value).collect();
                let service = self.service(raw, name, vips, listeners, &span, backends, workers);
                self.modes(&service, &span, &mut taken);
                service
            },
        );
        services.collect()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what is judged already goes into the service as it is"
    )]
    fn service(
        &mut self,
        mut raw: Raw,
        name: String,
        vips: Vec<IpAddr>,
        listeners: Vec<Listener>,
        span: &Span,
        backends: &BTreeMap<String, Backend>,
        workers: u32,
    ) -> Service {
        let sight = Visibility {
            http: listeners.iter().any(|listener| listener.protocol.is_http()),
            tls: listeners.iter().any(|listener| listener.protocol.has_sni()),
        };
        let backend = self.backend_of(&name, std::mem::take(&mut raw.backend), span, backends);
        let mut routes = Vec::new();
        for At {
            value: mut route,
            span,
        } in std::mem::take(&mut raw.routes)
        {
            let backend = std::mem::take(&mut route.backend);
            let backend = self.backend_of(&name, backend, &span, backends);
            routes.push(self.route(route, span, backend, &vips, sight));
        }
        let names = routes
            .iter()
            .any(|route| !route.sni.is_empty() || !route.hosts.is_empty());
        for key in [&raw.unexpected_name, &raw.no_name] {
            if let (Some(span), false) = (key.span(), names) {
                let message = "no route of this service goes by a name";
                self.refuse(Fault::new(span, message).help("add `sni` or `hosts` to a route"));
            }
        }
        Service {
            throttle: self.throttle(&raw, sight.http, workers),
            unexpected_name: raw.unexpected_name.or(UnknownName::Default),
            no_name: raw.no_name.or(UnknownName::Default),
            timeouts: ClientTimeouts {
                client: self.own_period("client", raw.timeouts.client),
                http_request: self.own_period("http_request", raw.timeouts.http_request),
                keep_alive: self.own_period("keep_alive", raw.timeouts.keep_alive),
            },
            name,
            vips,
            listeners,
            backend,
            routes,
        }
    }

    fn own_period(&mut self, name: &str, key: Key<Period>) -> Option<Duration> {
        key.0
            .is_some()
            .then(|| self.period_or_none(name, key, Duration::ZERO))
    }

    fn room(&mut self, name: &str, pairs: usize, service: &Span, taken: &mut Taken) {
        let before = taken.count;
        taken.count += pairs;
        let most = SERVICES as usize - 1;
        if before <= most && taken.count > most {
            let message = format!(
                "more than {most} pairs of VIP and port on this node, from service `{name}` on"
            );
            self.refuse(Fault::new(service.clone(), message).help("use fewer VIPs or listeners"));
        }
    }

    /// A backend gets requests or bytes, so all its services must agree.
    fn modes(&mut self, service: &Service, span: &Span, taken: &mut Taken) {
        for listener in &service.listeners {
            let http = listener.protocol.is_http();
            for backend in service.backends() {
                let first = taken
                    .modes
                    .entry(backend.to_owned())
                    .or_insert_with(|| (service.name.clone(), http));
                if first.1 == http {
                    continue;
                }
                let message = format!(
                    "backend `{backend}` is for {} of service `{}` and cannot be for {} of service `{}` too",
                    spoken(!http),
                    first.0,
                    spoken(http),
                    service.name
                );
                let help = "write a second backend with the same servers";
                self.refuse(Fault::new(span.clone(), message).help(help));
                return;
            }
        }
    }

    fn service_name(&mut self, key: Key<String>, service: &Span, taken: &mut Taken) -> String {
        let Some(At { value: name, span }) = key.0 else {
            self.refuse(Fault::new(service.clone(), "a service without `name`"));
            return String::new();
        };
        self.name("a service", &name, &span);
        if let Some(first) = taken.names.insert(name.clone(), span.clone()) {
            self.refuse(Fault::new(span, format!("two services are called `{name}`")).first(first));
        }
        name
    }

    fn vips(&mut self, name: &str, written: Vec<At<IpAddr>>, service: &Span) -> Vec<IpAddr> {
        if written.is_empty() {
            let help =
                "write the addresses clients connect to, for instance `vips = [\"192.0.2.10\"]`";
            self.refuse(
                Fault::new(service.clone(), format!("service `{name}` has no `vips`")).help(help),
            );
        }
        let mut vips: Vec<IpAddr> = Vec::new();
        for At { value: vip, span } in written {
            if let Some(reason) = unusable(vip) {
                self.refuse(Fault::new(span, format!("{vip} cannot be a VIP: {reason}")));
            } else if vips.contains(&vip) {
                self.refuse(Fault::new(
                    span,
                    format!("VIP {vip} is written twice in service `{name}`"),
                ));
            } else {
                vips.push(vip);
            }
        }
        vips
    }

    /// Refuses a VIP and port that two listeners have, over all services.
    fn sockets(
        &mut self,
        name: &str,
        vips: &[IpAddr],
        listeners: &[At<Listener>],
        metrics: SocketAddr,
        taken: &mut Taken,
    ) {
        for At {
            value: Listener { port, .. },
            span,
        } in listeners
        {
            for &vip in vips {
                if metrics == SocketAddr::new(vip, port.get()) {
                    let message = format!("{metrics} is taken by `metrics` of [node]");
                    self.refuse(Fault::new(span.clone(), message));
                }
                let Some((other, first)) = taken
                    .sockets
                    .insert((vip, *port), (name.to_owned(), span.clone()))
                else {
                    continue;
                };
                let message =
                    format!("port {port} of VIP {vip} is already served by service `{other}`");
                self.refuse(Fault::new(span.clone(), message).first(first));
                // The other VIPs of both would give the same message.
                break;
            }
        }
    }

    fn backend_of(
        &mut self,
        name: &str,
        key: Key<String>,
        service: &Span,
        backends: &BTreeMap<String, Backend>,
    ) -> String {
        let Some(At { value, span }) = key.0 else {
            let message = format!("service `{name}` names no `backend`");
            self.refuse(
                Fault::new(service.clone(), message)
                    .help("write the NAME of one `[backends.NAME]`"),
            );
            return String::new();
        };
        if !backends.contains_key(&value) {
            let known: Vec<&str> = backends.keys().map(String::as_str).collect();
            let help = if known.is_empty() {
                format!("add `[backends.{value}]`")
            } else {
                suggestion(&value, &known)
            };
            self.refuse(Fault::new(span, format!("there is no backend `{value}`")).help(help));
        }
        value
    }
}

fn spoken(http: bool) -> &'static str {
    if http { "requests" } else { "bytes" }
}

/// Why an address cannot be a VIP. A loopback address can be one: it serves to try a node out.
fn unusable(vip: IpAddr) -> Option<&'static str> {
    if vip.is_unspecified() {
        return Some("it is no address, and Ober serves no wildcards");
    }
    if vip.is_multicast() {
        return Some("it is a multicast address");
    }
    if vip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Some("it is the broadcast address");
    }
    match vip {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Some("write the IPv4 address itself")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}
