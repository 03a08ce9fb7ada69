//! From a configuration and the servers of its backends to what is checked, and how.

use std::collections::BTreeSet;

use super::engine::Target;
use crate::{
    backends::server::Servers,
    config::{self, Check, Config, Service, sections::check::Kind},
};

/// The servers to check: those of backends that some service refers to.
pub(crate) fn targets(config: &Config, servers: &Servers) -> Vec<Target> {
    let used: BTreeSet<_> = config.services.iter().flat_map(Service::backends).collect();
    let backends = config
        .backends
        .iter()
        .filter(|(name, _)| used.contains(name.as_str()));
    let targets = backends.flat_map(|(name, backend)| {
        let servers = servers.get(name).into_iter().flatten();
        servers.filter_map(|server| {
            Some(Target {
                backend: name.clone(),
                server: server.addr,
                name: server.host.clone(),
                check: check(backend)?,
                proxy_protocol: backend.proxy_protocol,
            })
        })
    });
    targets.collect()
}

/// The backend's check, over TLS if it asks the serving port and that takes nothing else.
fn check(backend: &config::Backend) -> Option<Check> {
    let mut check = backend.check.clone()?;
    if let (Kind::Http(http), Some(servers), None) = (&mut check.kind, &backend.tls, check.port) {
        http.tls = http.tls.take().or_else(|| Some(servers.into()));
    }
    Some(check)
}
