//! The section `[[services]]`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
};

use ober_common::abi::SERVICES;

use super::{
    Access, Backend, List, Listener, Protection, Service, raw,
    scalar::{At, Key},
    source::{Fault, Span},
    tree::suggestion,
    valid::Judge,
};
use crate::pem;

/// The word in `access` that is not a list.
pub(super) const OPEN: &str = "open";

/// What is already taken on this node.
#[derive(Default)]
struct Taken {
    names: BTreeMap<String, Span>,
    /// The service and the place of its listener.
    sockets: BTreeMap<(IpAddr, NonZeroU16), (String, Span)>,
    /// Kernel services so far.
    count: usize,
}

impl Judge<'_> {
    pub(super) fn services(
        &mut self,
        written: Vec<At<raw::Service>>,
        lists: &BTreeMap<String, List>,
        backends: &BTreeMap<String, Backend>,
        metrics: SocketAddr,
    ) -> Vec<Service> {
        let mut taken = Taken::default();
        let services = written.into_iter().map(|At { value, span }| {
            let name = self.service_name(value.name, &span, &mut taken);
            let vips = self.vips(&name, value.vips, &span);
            let listeners = self.listeners(&name, value.listeners, &span, lists);
            self.sockets(&name, &vips, &listeners, metrics, &mut taken);
            let before = taken.count;
            taken.count += vips.len() * listeners.len();
            let most = SERVICES as usize - 1;
            if before <= most && taken.count > most {
                let message = format!(
                    "more than {most} pairs of VIP and port on this node, from service `{name}` on"
                );
                self.refuse(Fault::new(span.clone(), message).help("use fewer VIPs or listeners"));
            }
            Service {
                backend: self.backend_of(&name, value.backend, &span, backends),
                name,
                vips,
                listeners: listeners.into_iter().map(|at| at.value).collect(),
            }
        });
        services.collect()
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

    fn listeners(
        &mut self,
        name: &str,
        written: Vec<At<raw::Listener>>,
        service: &Span,
        lists: &BTreeMap<String, List>,
    ) -> Vec<At<Listener>> {
        if written.is_empty() {
            let message = format!("service `{name}` has no listener");
            let help = "add `[[services.listeners]]` with `port = 443` and `certificate = \"...\"`";
            self.refuse(Fault::new(service.clone(), message).help(help));
        }
        let listeners = written.into_iter().filter_map(|At { value, span }| {
            let protection = self.protection(value.certificate);
            let access = self.access(name, value.access, &protection, &span, lists);
            let Some(At { value: port, span }) = value.port.0 else {
                self.refuse(Fault::new(
                    span,
                    format!("a listener of service `{name}` without `port`"),
                ));
                return None;
            };
            Some(At {
                value: Listener {
                    port,
                    protection,
                    access,
                },
                span,
            })
        });
        listeners.collect()
    }

    fn protection(&mut self, certificate: Key<String>) -> Protection {
        let Some(at) = certificate.0 else {
            return Protection::Plain;
        };
        let span = at.span.clone();
        let certificate = self.word_path(at);
        if let Err(error) = pem::check(&certificate) {
            self.refuse(Fault::new(span, error.to_string()).help(error.fix()));
        }
        Protection::Tls { certificate }
    }

    /// TLS is open unless said otherwise; plain HTTP is never open by silence.
    fn access(
        &mut self,
        name: &str,
        key: Key<String>,
        protection: &Protection,
        listener: &Span,
        lists: &BTreeMap<String, List>,
    ) -> Access {
        match key.0 {
            Some(at) if at.value == OPEN => Access::Open,
            Some(at) => Access::List(self.list(at, lists)),
            None => {
                if *protection == Protection::Plain {
                    let message = format!(
                        "a listener of service `{name}` has no certificate, so it must say its `access`"
                    );
                    let help = "write `access = \"frontend-http\"` for listed clients only, or `access = \"open\"`";
                    self.refuse(Fault::new(listener.clone(), message).help(help));
                }
                Access::Open
            }
        }
    }

    /// No VIP and port twice, over all services.
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
                // The other VIPs of both would only repeat it.
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

/// Why an address cannot be a VIP. Loopback can: a node may be tried out alone.
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
