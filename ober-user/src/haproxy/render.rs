//! The text one HAProxy worker reads. Pure: descriptors come in by environment variable, so that the same
//! configuration gives the same text whatever numbers the sockets have.
//!
//! Whatever a user wrote is either refused here or stands between single quotes, where HAProxy's reader takes
//! everything literally; a line cannot be ended or begun from inside a value.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use super::sockets::{Key, keys};
use crate::config::{
    Backend, Balance, Check, Config, Listener, Protection, Service, Timeouts, Workers,
    check::{Http, Kind, Over, Probe},
};

/// A server of a backend, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub name: String,
    pub addr: SocketAddr,
    /// Its share among the servers of its tier, 0 to 256; 0: no new work.
    pub weight: u32,
    /// Servers of a higher tier work only when all of the lower ones are down.
    pub tier: u32,
    /// Its host name, where one is known: for TLS.
    pub host: Option<String>,
}

impl Server {
    /// Like every other.
    pub fn new(name: impl Into<String>, addr: SocketAddr) -> Self {
        Self {
            name: name.into(),
            addr,
            weight: 1,
            tier: 1,
            host: None,
        }
    }
}

/// The servers of each backend, by the backend's name.
pub type Servers = BTreeMap<String, Vec<Server>>;

/// What sets one worker's text apart from another's.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub worker: usize,
    pub cpu: u32,
    /// HAProxy's command socket.
    pub cli: &'a Path,
    /// Where `/stats` and `/metrics` are served.
    pub stats: &'a Path,
}

/// A value that cannot be written into HAProxy's configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "write the {what} {value:?} into HAProxy's configuration: only letters, digits and - _ . : are possible \
         there; rename it"
    )]
    Name { what: &'static str, value: String },
    #[error(
        "write the {what} {value:?} into HAProxy's configuration: control characters are not possible; remove them"
    )]
    Control { what: &'static str, value: String },
    #[error(
        "service {service:?} names the backend {backend:?}, which is not configured; add it or name another"
    )]
    NoBackend { service: String, backend: String },
}

/// The environment variable that carries the number of the socket at this place in [`keys`].
pub fn variable(index: usize) -> String {
    format!("OBER_FD_{index}")
}

/// The whole configuration of one worker.
pub fn render(config: &Config, servers: &Servers, place: Place<'_>) -> Result<String, Error> {
    let mut out = global(&config.workers, place)?;
    let keys = keys(config);
    for service in &config.services {
        let backend = config
            .backends
            .get(&service.backend)
            .ok_or_else(|| Error::NoBackend {
                service: service.name.clone(),
                backend: service.backend.clone(),
            })?;
        for listener in &service.listeners {
            out += &frontend(service, listener, &backend.timeouts, &keys)?;
        }
    }
    for (name, section) in &config.backends {
        if config
            .services
            .iter()
            .any(|service| service.backend == *name)
        {
            let none = Vec::new();
            out += &backend(name, section, servers.get(name).unwrap_or(&none))?;
        }
    }
    out += &stats(place.stats)?;
    Ok(out)
}

fn global(workers: &Workers, place: Place<'_>) -> Result<String, Error> {
    let mut lines = Lines::new(&format!(
        "# Worker {}, CPU {}. Written by ober-user; changes made here are lost.\nglobal",
        place.worker, place.cpu
    ));
    // Level notice: servers going up and down, not every request.
    lines.add("log stderr format raw daemon notice");
    lines.add("nbthread 1");
    lines.add(format_args!("maxconn {}", workers.max_connections));
    if let Some(user) = &workers.user {
        lines.add(format_args!("user {}", quote("workers.user", user)?));
    }
    if let Some(group) = &workers.group {
        lines.add(format_args!("group {}", quote("workers.group", group)?));
    }
    let cli = quote("path", &format!("unix@{}", place.cli.display()))?;
    lines.add(format_args!("stats socket {cli} mode 600 level admin"));
    lines.add(format_args!("hard-stop-after {}", time(workers.drain)));
    lines.add("ssl-default-bind-options ssl-min-ver TLSv1.2");
    lines.add("tune.ssl.default-dh-param 2048");
    // The default of 64 KiB holds an HTTP/2 upload to one window a round trip.
    lines.add("tune.h2.initial-window-size 1048576");
    lines.section("defaults");
    lines.add("mode http");
    lines.add("log global");
    lines.add("option dontlognull");
    // A request is passed on while it arrives: objects are larger than buffers.
    lines.add("no option http-buffer-request");
    // A draining worker answers the next request of an idle connection before it closes it.
    lines.add("option idle-close-on-response");
    lines.add("http-reuse safe");
    lines.add("option redispatch");
    lines.add("retries 3");
    Ok(lines.end())
}

fn frontend(
    service: &Service,
    listener: &Listener,
    timeouts: &Timeouts,
    keys: &[Key],
) -> Result<String, Error> {
    let name = token("service name", &service.name)?;
    let mut lines = Lines::new(&format!("frontend {name}:{}", listener.port));
    let ours = |key: &Key| key.service == service.name && key.port == listener.port;
    for (index, _) in keys.iter().enumerate().filter(|(_, key)| ours(key)) {
        let bind = format!("bind \"fd@${{{}}}\"", variable(index));
        match &listener.protection {
            Protection::Tls { certificate } => {
                let pem = quote("certificate", &certificate.display().to_string())?;
                lines.add(format_args!("{bind} ssl crt {pem} alpn h2,http/1.1"));
            }
            Protection::Plain => lines.add(bind),
        }
    }
    let scheme = match listener.protection {
        Protection::Tls { .. } => "https",
        Protection::Plain => "http",
    };
    lines.add(format_args!("timeout client {}", time(timeouts.client)));
    lines.add(format_args!(
        "timeout http-request {}",
        time(timeouts.http_request)
    ));
    lines.add(format_args!(
        "timeout http-keep-alive {}",
        time(timeouts.keep_alive)
    ));
    // What a client claims about itself is dropped before the truth is added.
    lines.add("http-request del-header X-Forwarded-For");
    lines.add("http-request del-header Forwarded");
    lines.add(format_args!(
        "http-request set-header X-Forwarded-Proto {scheme}"
    ));
    lines.add("option forwardfor");
    lines.add(format_args!(
        "default_backend {}",
        token("backend name", &service.backend)?
    ));
    Ok(lines.end())
}

fn backend(name: &str, backend: &Backend, servers: &[Server]) -> Result<String, Error> {
    let mut lines = Lines::new(&format!("backend {}", token("backend name", name)?));
    lines.add(match backend.balance {
        Balance::LeastConn => "balance leastconn",
        Balance::RoundRobin => "balance roundrobin",
        Balance::Random => "balance random",
    });
    lines.add(format_args!(
        "timeout connect {}",
        time(backend.timeouts.connect)
    ));
    lines.add(format_args!(
        "timeout server {}",
        time(backend.timeouts.server)
    ));
    lines.add(format_args!(
        "timeout queue {}",
        time(backend.timeouts.queue)
    ));
    if let Some(check) = &backend.check {
        checks(&mut lines, check)?;
    }
    let first_tier = servers.iter().map(|server| server.tier).min();
    if servers.iter().any(|server| Some(server.tier) != first_tier) {
        lines.add("option allbackups");
    }
    for server in servers {
        let server_name = token("server name", &server.name)?;
        // Not SocketAddr's own form: a scope would follow the address.
        let at = match server.addr {
            SocketAddr::V4(addr) => addr.to_string(),
            SocketAddr::V6(addr) => format!("[{}]:{}", addr.ip(), addr.port()),
        };
        let weight = match server.weight {
            1 => String::new(),
            weight => format!(" weight {weight}"),
        };
        let backup = if Some(server.tier) == first_tier {
            ""
        } else {
            " backup"
        };
        lines.add(format_args!("server {server_name} {at}{weight}{backup}"));
    }
    Ok(lines.end())
}

/// HAProxy's own checks, the fallback when the daemon is gone: it renews its verdicts before they could come to another
/// one, which takes at least two answers (see [`super::health`]). They ask less than the daemon does: that the port
/// accepts, that TLS answers, that the status is right.
fn checks(lines: &mut Lines, check: &Check) -> Result<(), Error> {
    let port = check.port.map(|port| format!(" port {port}"));
    let mut server = format!(
        "default-server check inter {} rise {} fall {}{}",
        time(check.interval),
        check.rise.max(2),
        check.fall.max(2),
        port.unwrap_or_default()
    );
    lines.add(format_args!("timeout check {}", time(check.timeout)));
    match &check.kind {
        Kind::Http(http) => {
            requests(lines, http)?;
            if http.tls.is_some() {
                server += " check-ssl verify none";
            }
        }
        Kind::Tls(_)
        | Kind::Probe(Probe {
            over: Over::Tls(_), ..
        }) => {
            server += " check-ssl verify none";
        }
        Kind::Tcp | Kind::Probe(_) | Kind::Exec(_) => {}
    }
    lines.add(server);
    Ok(())
}

fn requests(lines: &mut Lines, http: &Http) -> Result<(), Error> {
    // An address as the host: a name would be taken for a bucket by servers with virtual-hosted buckets.
    let host = match &http.host {
        Some(host) => quote("check host", host)?,
        None => "127.0.0.1".to_owned(),
    };
    lines.add("option httpchk");
    lines.add(format_args!(
        "http-check send meth {} uri {} ver HTTP/1.1 hdr Host {}",
        quote("check method", &http.method)?,
        quote("check path", &http.path)?,
        host
    ));
    lines.add(format_args!("http-check expect status {}", http.status));
    Ok(())
}

fn stats(path: &Path) -> Result<String, Error> {
    let mut lines = Lines::new("frontend ober-stats");
    let at = quote("path", &format!("unix@{}", path.display()))?;
    lines.add(format_args!("bind {at} mode 600"));
    lines.add("timeout client 10s");
    lines.add("http-request use-service prometheus-exporter if { path /metrics }");
    lines.add("stats enable");
    lines.add("stats uri /stats");
    lines.add("stats refresh 5s");
    Ok(lines.end())
}

/// HAProxy's milliseconds, never zero: zero would mean without end.
fn time(duration: Duration) -> String {
    let millis = duration.as_millis().max(1);
    if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

/// A name as HAProxy allows it; quoting would not make another one legal.
fn token<'a>(what: &'static str, value: &'a str) -> Result<&'a str, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if !value.is_empty() && value.chars().all(allowed) {
        Ok(value)
    } else {
        Err(Error::Name {
            what,
            value: value.to_owned(),
        })
    }
}

/// One word for HAProxy's reader, whatever is in it.
fn quote(what: &'static str, value: &str) -> Result<String, Error> {
    if value.chars().any(char::is_control) {
        return Err(Error::Control {
            what,
            value: value.to_owned(),
        });
    }
    Ok(format!("'{}'", value.replace('\'', "'\\''")))
}

/// A section under its heading.
struct Lines(String);

impl Lines {
    fn new(heading: &str) -> Self {
        Self(format!("{heading}\n"))
    }

    fn section(&mut self, heading: &str) {
        self.0.push('\n');
        self.0 += heading;
        self.0.push('\n');
    }

    fn add(&mut self, line: impl fmt::Display) {
        // Writing to a String cannot fail.
        writeln!(self.0, "    {line}").unwrap_or_default();
    }

    fn end(mut self) -> String {
        self.0.push('\n');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// HAProxy's reader for one line: words, with single quotes and backslashes.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut open, mut chars) =
            (Vec::new(), None::<String>, false, line.chars());
        while let Some(c) = chars.next() {
            match c {
                '\'' => {
                    open = !open;
                    word.get_or_insert_default();
                }
                '\\' if !open => word.get_or_insert_default().extend(chars.next()),
                ' ' if !open => words.extend(word.take()),
                '#' if !open => break,
                c => word.get_or_insert_default().push(c),
            }
        }
        assert!(!open, "a quote stayed open: {line}");
        words.extend(word);
        words
    }

    proptest! {
        #[test]
        fn any_value_is_refused_or_is_exactly_one_word(value in "\\PC*|.*") {
            match quote("value", &value) {
                Ok(quoted) => {
                    prop_assert!(!quoted.contains('\n'));
                    let line = format!("crt {quoted} alpn");
                    prop_assert_eq!(words(&line), ["crt", value.as_str(), "alpn"]);
                }
                Err(_) => prop_assert!(value.chars().any(char::is_control)),
            }
        }

        #[test]
        fn any_name_is_refused_or_is_one_plain_word(value in ".*") {
            if let Ok(name) = token("name", &value) {
                prop_assert_eq!(words(name), [value.as_str()]);
                prop_assert!(!name.contains(['\'', '"', '$', '\\']));
            }
        }
    }

    #[test]
    fn a_duration_never_becomes_zero_which_haproxy_takes_for_endless() {
        assert_eq!(time(Duration::ZERO), "1ms");
        assert_eq!(time(Duration::from_micros(1)), "1ms");
        assert_eq!(time(Duration::from_millis(1500)), "1500ms");
        assert_eq!(time(Duration::from_mins(5)), "300s");
    }
}
