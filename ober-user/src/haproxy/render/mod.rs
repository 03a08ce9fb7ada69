//! Writes the configuration of one HAProxy worker. Pure: descriptors are given by environment variables, so that the
//! same configuration gives the same text, whatever the numbers of the sockets.
//!
//! ```text
//! global   the process                              frontend, bind, early   a listener: its clients, sockets, TLS
//! route, rules, paths   which backend, which rules  backend, balance, tier  the servers, and how one is chosen
//! text     words and lines of HAProxy's language
//! ```
//! It never reads a file, a clock or a socket. A value that a user wrote is quoted or refused, and never read as a
//! keyword of HAProxy.

mod backend;
mod balance;
mod bind;
mod early;
mod frontend;
mod global;
mod paths;
mod route;
mod rules;
mod text;
pub mod tier;

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use super::sockets::keys;
use crate::{
    backends::server::Servers,
    config::{Backend, Config, Service, sections::check::reads_http},
};

/// The values by which one worker's text differs from another's.
#[derive(Clone, Copy, Debug)]
pub struct WorkerContext<'a> {
    pub worker: usize,
    pub cpu: u32,
    /// HAProxy's command socket.
    pub cli: &'a Path,
    /// The socket at which `/stats` and `/metrics` are served.
    pub stats: &'a Path,
    /// The directory that it sees as `/` after it has read its files and changed to its account. `None`: it keeps the
    /// root and the account of the daemon, which lacks the right to change them.
    pub root: Option<&'a Path>,
    /// Thumbprint of the ACME account, when an authority validates by HTTP on port 80.
    pub thumbprint: Option<&'a str>,
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
    #[error(
        "verify the certificate of the server {server:?}: {address} has no name to verify it by, and the machine's \
         authorities vouch for every host; write `server_name`, the `ca` that signs your servers' certificates, a host \
         name for it, or `verify = false`"
    )]
    Unnamed { server: String, address: IpAddr },
}

/// The environment variable that carries the number of the socket at this place in [`keys`].
pub fn variable(index: usize) -> String {
    format!("OBER_FD_{index}")
}

/// The whole configuration of one worker, and the servers left out of it.
#[derive(Debug)]
pub struct Rendered {
    pub text: String,
    /// Why servers could not be written. The others are written all the same.
    pub left_out: Vec<Error>,
}

/// Renders the whole configuration of one worker. Servers that cannot be written are left out.
pub fn render(
    config: &Config,
    servers: &Servers,
    place: WorkerContext<'_>,
) -> Result<Rendered, Error> {
    let mut left_out = Vec::new();
    let mut out = global::global(&config.workers, place)?;
    let share = Share::of(config);
    let keys = keys(config);
    for service in &config.services {
        let own = backend_of(config, service, &service.backend)?;
        for listener in &service.listeners {
            let front = frontend::Frontend {
                service,
                listener,
                timeouts: &own.timeouts,
                share,
                run: &config.node.run,
                thumbprint: place.thumbprint,
            };
            out += &front.render(&keys)?;
        }
        out += &frontend::clients(service)?;
    }
    let mut written: BTreeSet<&str> = BTreeSet::new();
    for service in &config.services {
        for name in service.backends() {
            backend_of(config, service, name)?;
            written.insert(name);
        }
    }
    for name in written {
        let none = Vec::new();
        let section = backend::Section {
            name,
            http: reads_http(&config.services, name),
            http2: offers_h2(&config.services, name),
            share,
            run: &config.node.run,
            servers: servers.get(name).unwrap_or(&none),
        };
        if let Some(backend) = config.backends.get(name) {
            out += &section.render(backend, &mut left_out)?;
        }
    }
    out += &global::stats(place.stats)?;
    Ok(Rendered {
        text: out,
        left_out,
    })
}

/// May a client of HTTP/2 reach this backend?
fn offers_h2(services: &[Service], backend: &str) -> bool {
    let mut led = services
        .iter()
        .filter(|service| service.backends().any(|name| name == backend));
    led.any(|service| {
        let mut listeners = service.listeners.iter();
        listeners.any(|listener| listener.protocol.offers_h2())
    })
}

fn backend_of<'c>(config: &'c Config, service: &Service, name: &str) -> Result<&'c Backend, Error> {
    config.backends.get(name).ok_or_else(|| Error::NoBackend {
        service: service.name.clone(),
        backend: name.to_owned(),
    })
}

/// A worker's share of a limit for all workers.
#[derive(Clone, Copy)]
struct Share {
    workers: u32,
}

impl Share {
    fn of(config: &Config) -> Self {
        Self {
            workers: u32::try_from(config.workers.cpus.len()).unwrap_or(1).max(1),
        }
    }

    /// A share so that all together are not more than the whole, unless the whole is less than one for each worker.
    fn at_most(self, whole: u32) -> u32 {
        (whole / self.workers).max(1)
    }

    /// A share so that all together are not less than the whole.
    fn at_least(self, whole: u32) -> u32 {
        whole.div_ceil(self.workers).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backends::server::Server, config::Env};

    fn config(backend: &str, services: usize) -> Config {
        let services = (0..services).map(|number| {
            let vip = format!("10.9.{}.{}", number >> 8, number & 255);
            format!("[[services]]\nname='s{number}'\nvips=['{vip}']\nbackend='rgw'\nlisteners=[{{port=80, access='open'}}]\n")
        });
        let text = format!(
            "[node]\ninterfaces=['a']\n[workers]\nhaproxy='/bin/sh'\n[backends.rgw]\nmax_connections=9\n\
             when_full='queue'\n{backend}\n{}",
            services.collect::<String>()
        );
        let env = Env {
            cpus: vec![0],
            ..Env::default()
        };
        Config::parse(&text, Path::new("/"), &env).unwrap()
    }

    fn place<'a>() -> WorkerContext<'a> {
        WorkerContext {
            worker: 0,
            cpu: 0,
            cli: Path::new("/cli"),
            stats: Path::new("/stats"),
            root: None,
            thumbprint: None,
        }
    }

    fn text(config: &Config, servers: &Servers) -> String {
        let rendered = render(config, servers, place()).unwrap();
        assert_eq!(rendered.left_out, []);
        rendered.text
    }

    /// Servers of all weights and tiers, all with names and some with the same address.
    fn servers(count: usize) -> Servers {
        let server = |number: u32| {
            let [_, a, b, c] = number.to_be_bytes();
            let mut server = Server::new(format!("s{number}"), ([10, a, b, c & 0xfe], 80).into());
            server.host = Some(format!("s{number}.test"));
            server.terms.tier = c;
            server.terms.weight = u16::from(b);
            server
        };
        let count = u32::try_from(count).unwrap();
        [("rgw".to_owned(), (0..count).map(server).collect())].into()
    }

    #[test]
    fn rendering_work_grows_linearly_with_the_servers_for_every_balance() {
        for balance in [
            "leastconn",
            "roundrobin",
            "weight",
            "iphash",
            "iphash1",
            "random",
            "first",
        ] {
            let config = config(&format!("balance='{balance}'\ntls={{verify=false}}"), 1);
            ober_test_support::scale::linear([100, 1000], servers, |servers| {
                std::hint::black_box(text(&config, servers));
            });
        }
    }

    #[test]
    fn a_server_without_a_name_is_left_out_where_tls_verifies_names() {
        let config = config("tls={}", 1);
        let mut servers = servers(2);
        for server in servers.get_mut("rgw").unwrap() {
            server.host = None;
        }
        let Rendered { text, left_out } = render(&config, &servers, place()).unwrap();
        assert!(!text.contains("    server "), "{text}");
        let lines: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].contains("has no name to verify it by"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_server_that_cannot_be_rendered_does_not_affect_the_others() {
        let config = config("tls={verify=false}", 1);
        let mut servers = servers(3);
        let all = servers.get_mut("rgw").unwrap();
        all[1].host = Some("rgw 1.example.net".to_owned());
        all[2].name = "a\nb".to_owned();
        let Rendered { text, left_out } = render(&config, &servers, place()).unwrap();
        assert_eq!(
            text.lines()
                .filter(|line| line.contains("    server "))
                .count(),
            1
        );
        let said: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        assert!(
            said[0].contains("rgw 1.example.net") && said[1].contains("a\\nb"),
            "{said:?}"
        );
    }

    #[test]
    fn rendering_work_grows_linearly_with_the_services() {
        let make = |count| config("", count);
        ober_test_support::scale::linear([2, 20], make, |config| {
            std::hint::black_box(text(config, &servers(10)));
        });
    }
}
