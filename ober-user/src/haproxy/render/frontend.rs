//! Writes the section of a listener: which clients may connect, how much each may use, how a request is changed.

use std::path::Path;

use super::{
    Error, Share,
    bind::binds,
    early,
    route::Routing,
    rules,
    text::{Lines, limit, time, token},
};
use crate::{
    config::{Listener, Protocol, Service, Timeouts},
    haproxy::sockets::Key,
};

/// Client addresses that are counted at once; a new one replaces the one that has been silent longest.
const CLIENTS: &str = "100k";

#[derive(Clone, Copy)]
pub(super) struct Frontend<'a> {
    pub(super) service: &'a Service,
    pub(super) listener: &'a Listener,
    /// Of the service's own backend.
    pub(super) timeouts: &'a Timeouts,
    pub(super) share: Share,
    /// The run directory.
    pub(super) run: &'a Path,
    pub(super) thumbprint: Option<&'a str>,
}

impl Frontend<'_> {
    pub(super) fn render(self, keys: &[Key]) -> Result<String, Error> {
        let (service, listener) = (self.service, self.listener);
        let http = listener.protocol.is_http();
        let mut lines = Lines::new(&format!("frontend {}", name(service, listener)?));
        if !http {
            lines.add("mode tcp");
        }
        binds(&mut lines, service, listener, keys, self.run)?;
        self.inactivity(&mut lines);
        self.connections(&mut lines)?;
        let routing = Routing { service, listener };
        routing.names(&mut lines)?;
        routing.strangers_of_tls(&mut lines);
        if http {
            self.requests(&mut lines, routing)?;
        } else {
            routing.chosen_among_all(&mut lines, "tcp-request content");
        }
        routing.ways(&mut lines)?;
        Ok(lines.end())
    }

    fn inactivity(self, lines: &mut Lines) {
        let (own, default) = (&self.service.timeouts, self.timeouts);
        let greeting = limit(own.http_request.unwrap_or(default.http_request));
        lines.add(format_args!(
            "timeout client {}",
            limit(own.client.unwrap_or(default.client))
        ));
        if self.listener.protocol == Protocol::Passthrough {
            lines.add(format_args!("tcp-request inspect-delay {greeting}"));
        }
        if !self.listener.protocol.is_http() {
            return;
        }
        lines.add(format_args!("timeout http-request {greeting}"));
        let idle = limit(own.keep_alive.unwrap_or(default.keep_alive));
        lines.add(format_args!("timeout http-keep-alive {idle}"));
        // A draining worker answers the next request of an idle connection before it closes it.
        lines.add("option idle-close-on-response");
    }

    /// The rules before a byte is read. `reject` closes without an answer.
    fn connections(self, lines: &mut Lines) -> Result<(), Error> {
        let (service, listener) = (self.service, self.listener);
        // Clients come by a VIP. The socket's own loopback address is for probes: no list guards it, and every process
        // on this node can reach it.
        lines.add("acl ober:inside dst 127.0.0.0/8 ::1");
        for stranger in ["src 127.0.0.0/8 ::1", "src_port lt 1024"] {
            lines.add(format_args!(
                "tcp-request connection reject if ober:inside !{{ {stranger} }}"
            ));
        }
        let expects_proxy_header = !listener.proxy_from.is_empty();
        if expects_proxy_header {
            // The PROXY header replaces the destination, but routes depend on the VIP.
            lines.add("tcp-request connection set-var(sess.vip) dst");
            let proxies: Vec<String> = listener
                .proxy_from
                .iter()
                .map(ToString::to_string)
                .collect();
            lines.any_of("acl proxy src --", "address", &proxies)?;
            lines.add("tcp-request connection expect-proxy layer4 if proxy");
        }
        if let Some(most) = service.throttle.connections {
            self.excess(lines, self.share.at_most(most.get()))?;
        }
        // The client's address is known only after the PROXY header.
        let when = if expects_proxy_header {
            "session"
        } else {
            "connection"
        };
        self.client(lines, when)?;
        rules::of_connections(lines, &listener.rules, when)
    }

    /// Rejects connections above the limit, which counts the connections of all listeners of the service.
    fn excess(self, lines: &mut Lines, most: u32) -> Result<(), Error> {
        let mut sum = format!("fe_conn({})", name(self.service, self.listener)?);
        let mut others = self
            .service
            .listeners
            .iter()
            .filter(|other| other.port != self.listener.port)
            .peekable();
        if others.peek().is_some() {
            lines.add("tcp-request connection set-var(sess.others) int(0)");
            sum += ",add(sess.others)";
        }
        for other in others {
            let other = name(self.service, other)?;
            lines.add(format_args!(
                "tcp-request connection set-var(sess.others) fe_conn({other}),add(sess.others)"
            ));
        }
        lines.add(format_args!(
            "tcp-request connection reject if {{ {sum} gt {most} }}"
        ));
        Ok(())
    }

    fn client(self, lines: &mut Lines, when: &str) -> Result<(), Error> {
        let throttle = &self.service.throttle;
        if !throttle.by_client() {
            return Ok(());
        }
        let table = table(self.service)?;
        lines.add(format_args!(
            "tcp-request {when} track-sc0 src table {table}"
        ));
        if let Some(most) = throttle.client_connections {
            let most = self.share.at_least(most.get());
            lines.add(format_args!(
                "tcp-request {when} reject if {{ sc0_conn_cur gt {most} }}"
            ));
        }
        if let Some(rate) = throttle.client_connection_rate {
            let most = self.share.at_least(rate.count);
            lines.add(format_args!(
                "tcp-request {when} reject if {{ sc0_conn_rate gt {most} }}"
            ));
        }
        Ok(())
    }

    /// The answer of HTTP-01 (RFC 8555 section 8.3): the requested token, a dot, and the thumbprint of our account. It
    /// is no secret.
    fn challenge(self, lines: &mut Lines) -> Result<(), Error> {
        if let (Some(thumbprint), Protocol::Http { .. }) =
            (self.thumbprint, &self.listener.protocol)
        {
            let thumbprint = token("thumbprint", thumbprint)?;
            lines.add(format_args!(
                "http-request return status 200 content-type text/plain lf-string %[path,field(4,/)].{thumbprint} \
                 if {{ path -m reg ^/\\.well-known/acme-challenge/[A-Za-z0-9_-]+$ }}"
            ));
        }
        Ok(())
    }

    fn requests(self, lines: &mut Lines, routing: Routing<'_>) -> Result<(), Error> {
        early::of_clients(lines);
        self.challenge(lines)?;
        if let Some(rate) = self.service.throttle.client_request_rate {
            let most = self.share.at_least(rate.count);
            lines.add(format_args!(
                "http-request deny deny_status 429 if {{ sc0_http_req_rate gt {most} }}"
            ));
        }
        rules::of_requests(lines, &self.listener.rules)?;
        routing.strangers_of_http(lines);
        if let Protocol::Https {
            hsts: Some(hsts), ..
        } = &self.listener.protocol
        {
            let seconds = hsts.as_secs();
            lines.add(format_args!(
                "http-after-response set-header Strict-Transport-Security max-age={seconds}"
            ));
        }
        let scheme = if self.listener.protocol.termination().is_some() {
            "https"
        } else {
            "http"
        };
        // Headers in which a client describes itself are removed before the true ones are added.
        lines.add("http-request del-header X-Forwarded-For");
        lines.add("http-request del-header Forwarded");
        lines.add(format_args!(
            "http-request set-header X-Forwarded-Proto {scheme}"
        ));
        lines.add("option forwardfor");
        routing.chosen_among_all(lines, "http-request");
        // No rule after this one is reached.
        if let Protocol::Http {
            redirect: Some(port),
        } = self.listener.protocol
        {
            let port = if port.get() == 443 {
                String::new()
            } else {
                format!(":{port}")
            };
            lines.add(format_args!(
                "http-request redirect code 308 location https://%[req.hdr(host),host_only]{port}%[pathq]"
            ));
        }
        Ok(())
    }
}

/// `s3:443`.
fn name(service: &Service, listener: &Listener) -> Result<String, Error> {
    let name = token("service name", &service.name)?;
    Ok(format!("{name}:{}", listener.port))
}

/// The name of the table that counts the clients of a service.
fn table(service: &Service) -> Result<String, Error> {
    Ok(format!("{}:clients", token("service name", &service.name)?))
}

/// The section that counts the clients of a service; empty when no limit needs it.
pub(super) fn clients(service: &Service) -> Result<String, Error> {
    let throttle = &service.throttle;
    if !throttle.by_client() {
        return Ok(String::new());
    }
    let mut stored = vec!["conn_cur".to_owned()];
    let rates = [
        throttle.client_connection_rate,
        throttle.client_request_rate,
    ];
    let kept = rates
        .iter()
        .flatten()
        .map(|rate| rate.period)
        .max()
        .unwrap_or_default();
    for (what, rate) in ["conn_rate", "http_req_rate"].iter().zip(rates) {
        stored.extend(rate.map(|rate| format!("{what}({})", time(rate.period))));
    }
    let mut lines = Lines::new(&format!("backend {}", table(service)?));
    // An IPv4 address is kept as its mapped IPv6 address.
    lines.add(format_args!(
        "stick-table type ipv6 size {CLIENTS} expire {} store {}",
        time(kept.max(std::time::Duration::from_mins(1))),
        stored.join(",")
    ));
    Ok(lines.end())
}
