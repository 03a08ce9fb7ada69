//! Writes the section of a backend: how a server is chosen, how it is reached, how many clients it gets.

use std::{net::SocketAddr, path::Path};

use super::{
    Error, Share, balance,
    bind::terms,
    early,
    text::{Lines, Words, limit, quote, time, token},
    tier::{Role, Tiers},
};
use crate::{
    backends::server::Server,
    config::{
        Backend, Balance, Check, ProxyVersion, WhenFull, paths,
        sections::{
            check::{Http, Kind, Over},
            tls::{Authorities, ToServers},
        },
    },
};

pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    /// It gets HTTP requests, not just bytes.
    pub(super) http: bool,
    /// Some requests may come by HTTP/2.
    pub(super) http2: bool,
    pub(super) share: Share,
    /// The run directory.
    pub(super) run: &'a Path,
    pub(super) servers: &'a [Server],
}

/// A server's number, weight and role among the others.
#[derive(Clone, Copy)]
struct ServerPosition {
    number: Option<u32>,
    weight: Option<u16>,
    role: Role,
}

impl Section<'_> {
    /// The section. A server that cannot be written is left out, and the reason is added to `left_out`.
    pub(super) fn render(
        &self,
        backend: &Backend,
        left_out: &mut Vec<Error>,
    ) -> Result<String, Error> {
        let name = token("backend name", self.name)?;
        let mut lines = Lines::new(&format!("backend {name}"));
        if !self.http {
            lines.add("mode tcp");
        }
        for line in balance::lines(backend.balance) {
            lines.add(line);
        }
        lines.add(format_args!(
            "timeout connect {}",
            limit(backend.timeouts.connect)
        ));
        lines.add(format_args!(
            "timeout server {}",
            limit(backend.timeouts.server)
        ));
        lines.add(format_args!(
            "timeout queue {}",
            limit(backend.timeouts.queue)
        ));
        lines.add(format_args!("retries {}", backend.retries));
        let no = if backend.redispatch { "" } else { "no " };
        lines.add(format_args!("{no}option redispatch"));
        if self.http {
            early::of_servers(&mut lines);
        }
        if self.http2 {
            // When a reused connection ends without an answer, HAProxy tells a client of HTTP/2 that the request was
            // not processed, although it may have been.
            lines.add("http-reuse never");
            lines.add("option http-server-close");
        }
        if backend.when_full == WhenFull::Reject {
            let reject = if self.http {
                "http-request deny deny_status 503"
            } else {
                "tcp-request content reject"
            };
            lines.add(format_args!("{reject} if {{ be_conn_free({name}) eq 0 }}"));
        }
        if let Some(check) = &backend.check {
            Self::checks(&mut lines, check, backend.tls.is_some())?;
        }
        left_out.extend(self.servers(&mut lines, backend));
        Ok(lines.end())
    }

    /// HAProxy's own checks, for the time when the daemon is gone. While it runs, it renews its verdicts before these
    /// checks can reach another one, which takes at least two answers (see [`crate::haproxy::health`]). They check less
    /// than the daemon does: that the port accepts, that TLS answers, that the status is right.
    fn checks(lines: &mut Lines, check: &Check, secure: bool) -> Result<(), Error> {
        let mut server = Words::new(format_args!(
            "default-server check inter {} rise {} fall {}",
            time(check.interval),
            check.rise.max(2),
            check.fall.max(2)
        ));
        if let Some(port) = check.port {
            server.add(format_args!("port {port}"));
        }
        lines.add(format_args!("timeout check {}", time(check.timeout)));
        let over_tls = match &check.kind {
            Kind::Http(http) => {
                requests(lines, http)?;
                http.tls.is_some()
            }
            Kind::Probe(probe) => matches!(probe.over, Over::Tls(_)),
            Kind::Tls(_) => true,
            Kind::Tcp | Kind::Exec(_) => false,
        };
        // Servers that are reached by TLS are checked by TLS anyway.
        if over_tls && !secure {
            server.add("check-ssl verify none");
        }
        lines.add(server);
        Ok(())
    }

    fn servers(&self, lines: &mut Lines, backend: &Backend) -> Vec<Error> {
        // Also without backup servers, because they may be added while the worker runs.
        lines.add("option allbackups");
        let tiers = Tiers::of(self.servers);
        let weights = balance::weights(backend.balance, self.servers);
        let numbers = balance::numbers(self.servers);
        let mut left_out = Vec::new();
        for (server, (weight, number)) in self.servers.iter().zip(weights.into_iter().zip(numbers))
        {
            let place = ServerPosition {
                number: (backend.balance == Balance::IpHash1).then_some(number),
                weight,
                role: tiers.role(server.terms.tier),
            };
            match self.server(backend, server, place) {
                Ok(line) => lines.add(line),
                Err(error) => left_out.push(error),
            }
        }
        left_out
    }

    fn server(
        &self,
        backend: &Backend,
        server: &Server,
        place: ServerPosition,
    ) -> Result<Words, Error> {
        let name = token("server name", &server.name)?;
        let mut line = Words::new(format_args!("server {name} {}", address(server)));
        if let Some(number) = place.number {
            line.add(format_args!("id {number}"));
        }
        if let Some(weight) = place.weight {
            line.add(format_args!("weight {weight}"));
        }
        self.capacity(&mut line, backend, server);
        match backend.proxy_protocol {
            Some(ProxyVersion::V1) => line.add("send-proxy"),
            Some(ProxyVersion::V2) => line.add("send-proxy-v2"),
            None => {}
        }
        if let Some(tls) = &backend.tls {
            secure(&mut line, tls, server, self.run)?;
        }
        match place.role {
            Role::First => {}
            Role::Backup => line.add("backup"),
            Role::Held => line.add("backup disabled"),
        }
        Ok(line)
    }

    fn capacity(&self, line: &mut Words, backend: &Backend, server: &Server) {
        let most = server.terms.max_connections.or(backend.max_connections);
        let Some(most) = most else { return };
        line.add(format_args!("maxconn {}", self.share.at_most(most.get())));
        if backend.strict_max_connections {
            line.add("strict-maxconn");
        }
    }
}

fn requests(lines: &mut Lines, http: &Http) -> Result<(), Error> {
    // The host is an address: servers with virtual-hosted buckets would take a name for a bucket.
    let host = match &http.host {
        Some(host) => quote("check host", host)?,
        None => "127.0.0.1".to_owned(),
    };
    lines.add("option httpchk");
    lines.add(format_args!(
        "http-check send meth {} uri {} ver HTTP/1.1 hdr Host {host}",
        quote("check method", &http.method)?,
        quote("check path", &http.path)?,
    ));
    lines.add(format_args!("http-check expect status {}", http.status));
    Ok(())
}

/// Not the form of `SocketAddr`, which writes a scope behind the address.
fn address(server: &Server) -> String {
    match server.addr {
        SocketAddr::V4(addr) => addr.to_string(),
        SocketAddr::V6(addr) => format!("[{}]:{}", addr.ip(), addr.port()),
    }
}

fn secure(line: &mut Words, tls: &ToServers, server: &Server, run: &Path) -> Result<(), Error> {
    line.add("ssl");
    match &tls.verify {
        None => line.add("verify none"),
        Some(Authorities::System) => line.add("verify required ca-file @system-ca"),
        Some(Authorities::File(path)) => {
            let path = quote("ca", &path.display().to_string())?;
            line.add(format_args!("verify required ca-file {path}"));
        }
        Some(Authorities::Missing(path)) => {
            let stand_in = paths::copy(run, path);
            let path = quote("ca", &stand_in.display().to_string())?;
            line.add(format_args!("verify required ca-file {path}"));
        }
    }
    if let Some(certificate) = &tls.certificate {
        let copy = paths::copy(run, certificate);
        let pem = quote("certificate", &copy.display().to_string())?;
        line.add(format_args!("crt {pem}"));
    }
    // HAProxy checks that the certificate has the name that it sends as SNI.
    if let Some(name) = tls.server_name.as_ref().or(server.host.as_ref()) {
        let name = token("server name", name)?;
        line.add(format_args!("sni str({name}) check-sni {name}"));
    } else if tls.verify == Some(Authorities::System) {
        // The system's authorities sign certificates for every host, and HAProxy does not check an address in a
        // certificate (2.6: `verifyhost` and `sni` compare only its DNS names).
        return Err(Error::Unnamed {
            server: server.name.clone(),
            address: server.addr.ip(),
        });
    }
    terms(line, &tls.terms)
}
