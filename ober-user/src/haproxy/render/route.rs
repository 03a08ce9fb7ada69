//! Writes the choice of the backend: by VIP, by the name in SNI, by host and path.

use super::{
    Error,
    text::{Lines, token},
};
use crate::config::{Listener, Names, Protocol, Route, Service, UnknownName};

/// The host of a request, without the port and a dot at the end.
pub(super) const HOST: &str = "req.hdr(host),host_only,rtrim(.)";

#[derive(Clone, Copy)]
pub(super) struct Routing<'a> {
    pub(super) service: &'a Service,
    pub(super) listener: &'a Listener,
}

/// The name by which an unknown client is recognised.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Sni,
    Host,
}

impl<'a> Routing<'a> {
    /// The routes that can match on this listener, each with its number.
    fn routes(self) -> impl Iterator<Item = (usize, &'a Route)> {
        let protocol = &self.listener.protocol;
        let fits = |route: &&Route| {
            let host = !route.hosts.is_empty() || !route.paths.is_empty();
            (route.sni.is_empty() || protocol.has_sni()) && (!host || protocol.is_http())
        };
        let routes = self.service.routes.iter().enumerate();
        routes.filter(move |(_, route)| fits(route))
    }

    /// The conditions of every route, under the names `r0:sni`, `r0:host` and so on, and `known`: any name of any route.
    pub(super) fn names(self, lines: &mut Lines) -> Result<(), Error> {
        for (number, route) in self.routes() {
            let vips: Vec<String> = route.vips.iter().map(ToString::to_string).collect();
            let vip = if self.listener.proxy_from.is_empty() {
                "dst"
            } else {
                "var(sess.vip) -m ip"
            };
            lines.any_of(&format!("acl r{number}:vip {vip} --"), "address", &vips)?;
            one_of(lines, &format!("r{number}:sni"), self.sni(), &route.sni)?;
            one_of(lines, &format!("r{number}:host"), HOST, &route.hosts)?;
            // As S3 reads a path: decoded, and otherwise unchanged.
            for reading in ["path", "path,url_dec"] {
                let start = format!("acl r{number}:path {reading} -m beg --");
                lines.any_of(&start, "path", &route.paths)?;
            }
        }
        let Some(by) = self
            .by()
            .filter(|_| self.unknown_names().any(|it| it.1 != UnknownName::Default))
        else {
            return Ok(());
        };
        for (_, route) in self.routes() {
            match by {
                By::Sni => one_of(lines, "known", self.sni(), &route.sni)?,
                By::Host => one_of(lines, "known", HOST, &route.hosts)?,
            }
        }
        Ok(())
    }

    fn by(self) -> Option<By> {
        let sni = self.routes().any(|(_, route)| !route.sni.is_empty());
        let host = self.routes().any(|(_, route)| !route.hosts.is_empty());
        match (sni, host) {
            (true, _) => Some(By::Sni),
            (false, true) => Some(By::Host),
            (false, false) => None,
        }
    }

    /// HAProxy's expression for the name in SNI on this listener.
    fn sni(self) -> &'static str {
        if self.listener.protocol == Protocol::Passthrough {
            "req.ssl_sni"
        } else {
            "ssl_fc_sni"
        }
    }

    /// The condition for each kind of client with an unknown name or none, and what to do with it.
    fn unknown_names(self) -> impl Iterator<Item = (String, UnknownName)> {
        let name = match self.by() {
            Some(By::Sni) => format!("{} -m found", self.sni()),
            Some(By::Host) => "req.hdr(host) -m len gt 0".to_owned(),
            None => return Vec::new().into_iter(),
        };
        let unexpected = (format!("{{ {name} }} !known"), self.service.unexpected_name);
        vec![unexpected, (format!("!{{ {name} }}"), self.service.no_name)].into_iter()
    }

    /// Rejects connections by their SNI.
    pub(super) fn strangers_of_tls(self, lines: &mut Lines) {
        let passthrough = self.listener.protocol == Protocol::Passthrough;
        if passthrough {
            // The rule waits until the whole ClientHello has come, in however many segments.
            lines.add("tcp-request content reject if !{ req.ssl_hello_type 1 }");
        }
        let when = if passthrough { "content" } else { "session" };
        if self.by() == Some(By::Sni) {
            for (condition, _) in self
                .unknown_names()
                .filter(|it| it.1 == UnknownName::Reject)
            {
                lines.add(format!("tcp-request {when} reject if {condition}"));
            }
        }
    }

    /// Denies requests by their host.
    pub(super) fn strangers_of_http(self, lines: &mut Lines) {
        if self.by() == Some(By::Host) {
            for (condition, _) in self
                .unknown_names()
                .filter(|it| it.1 == UnknownName::Reject)
            {
                lines.add(format!("http-request deny deny_status 421 if {condition}"));
            }
        }
    }

    /// Draws one of the live servers of all backends, for unknown clients that may have any: `txn.drawn` is its number,
    /// and `txn.live0` and so on are the numbers of live servers up to and with each backend.
    pub(super) fn chosen_among_all(self, lines: &mut Lines, rule: &str) {
        if !self.unknown_names().any(|it| it.1 == UnknownName::Any) {
            return;
        }
        let mut before = String::new();
        let mut last = 0;
        for (number, backend) in self.service.backends().enumerate() {
            lines.add(format!(
                "{rule} set-var(txn.live{number}) nbsrv({backend}){before}"
            ));
            before = format!(",add(txn.live{number})");
            last = number;
        }
        lines.add(format!(
            "{rule} set-var(txn.drawn) rand(1000000),mod(txn.live{last})"
        ));
    }

    /// Writes the backend of every client.
    pub(super) fn ways(self, lines: &mut Lines) -> Result<(), Error> {
        for (number, route) in self.routes() {
            let written = [
                ("vip", !route.vips.is_empty()),
                ("sni", !route.sni.is_empty()),
                ("host", !route.hosts.is_empty()),
                ("path", !route.paths.is_empty()),
            ];
            let conditions = written.iter().filter(|it| it.1);
            let conditions: Vec<String> =
                conditions.map(|it| format!("r{number}:{}", it.0)).collect();
            let backend = token("backend name", &route.backend)?;
            lines.add(format!("use_backend {backend} if {}", conditions.join(" ")));
        }
        for (condition, _) in self.unknown_names().filter(|it| it.1 == UnknownName::Any) {
            for (number, backend) in self.service.backends().enumerate() {
                let backend = token("backend name", backend)?;
                lines.add(format!(
                    "use_backend {backend} if {condition} {{ var(txn.drawn),sub(txn.live{number}) lt 0 }}"
                ));
            }
        }
        lines.add(format_args!(
            "default_backend {}",
            token("backend name", &self.service.backend)?
        ));
        Ok(())
    }
}

/// A named condition that is true for any of the names.
pub(super) fn one_of(lines: &mut Lines, acl: &str, what: &str, names: &Names) -> Result<(), Error> {
    for (method, names) in [
        ("str", &names.exact),
        ("end", &names.below),
        ("reg", &names.patterns),
    ] {
        lines.any_of(
            &format!("acl {acl} {what} -i -m {method} --"),
            "name",
            names,
        )?;
    }
    Ok(())
}
