//! Metrics of `crate::backends::check` and `crate::backends::discover`.

use std::collections::BTreeMap;

use super::{Family, Labels, counter, gauge, one};
use crate::api::status::backends::{Backend, Server, ServerState, Source};

pub(super) fn families(backends: &BTreeMap<String, Backend>) -> Vec<Family> {
    let count = |state: ServerState| {
        let of = |backend: &Backend| {
            let servers = backend.servers.iter();
            servers.filter(|server| server.state == state).count() as u64
        };
        backends
            .iter()
            .map(|(name, backend)| (one("backend", name), of(backend)))
            .collect::<Vec<_>>()
    };
    vec![
        gauge(
            "ober_backend_servers",
            "Servers of a backend.",
            backends
                .iter()
                .map(|(name, backend)| (one("backend", name), backend.servers.len() as u64))
                .collect(),
        ),
        gauge(
            "ober_backend_servers_up",
            "Servers whose checks are good.",
            count(ServerState::Up),
        ),
        gauge(
            "ober_backend_servers_down",
            "Servers whose checks are bad.",
            count(ServerState::Down),
        ),
        gauge(
            "ober_backend_servers_left_out",
            "What sources named and is no server, and `servers` that could not be read; `ober-user backends` says why.",
            backends
                .iter()
                .map(|(name, backend)| (one("backend", name), backend.left_out.len() as u64))
                .collect(),
        ),
        gauge(
            "ober_server_up",
            "1: the checks of the server are good; no line where it is not checked.",
            servers(backends),
        ),
        gauge(
            "ober_discovery_servers",
            "Servers that a source named.",
            sources(backends, |source| source.servers),
        ),
        gauge(
            "ober_discovery_failing",
            "1: the last question to the source failed.",
            sources(backends, |source| Some(u64::from(source.error.is_some()))),
        ),
        counter(
            "ober_discovery_failures",
            "Questions to the source that failed.",
            sources(backends, |source| Some(source.failures)),
        ),
    ]
}

fn servers(backends: &BTreeMap<String, Backend>) -> Vec<(Labels, u64)> {
    let line = |backend: &String, server: &Server| {
        let up = match server.state {
            ServerState::Up => 1,
            ServerState::Down => 0,
            ServerState::Unchecked | ServerState::Unknown => return None,
        };
        let labels = vec![
            ("backend", backend.clone()),
            ("server", server.name.clone()),
            ("address", server.address.to_string()),
        ];
        Some((labels, up))
    };
    let each = backends.iter().flat_map(|(name, backend)| {
        backend
            .servers
            .iter()
            .filter_map(move |server| line(name, server))
    });
    each.collect()
}

fn sources(
    backends: &BTreeMap<String, Backend>,
    value: fn(&Source) -> Option<u64>,
) -> Vec<(Labels, u64)> {
    let each = backends.iter().flat_map(|(name, backend)| {
        backend.sources.iter().filter_map(move |source| {
            let labels = vec![("backend", name.clone()), ("source", source.name.clone())];
            Some((labels, value(source)?))
        })
    });
    each.collect()
}
