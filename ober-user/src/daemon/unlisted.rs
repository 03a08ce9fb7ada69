//! Ends the connections of clients that are taken off a list. A list itself keeps out new connections only.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tokio::task::spawn_blocking;

use crate::{
    lists::{self, AccessLists},
    system::netlink::{
        connections::{self, Connection},
        question::Refusal,
    },
};

/// Ended connections, by their service.
type Ended = BTreeMap<(IpAddr, u16), usize>;

/// Ends the connections of clients that are not on the list of the service, on a thread of its own.
pub(super) fn end_connections(access_lists: &AccessLists) {
    let facts = access_lists.facts();
    drop(spawn_blocking(move || {
        let (ended, refused) = end(&facts);
        for ((vip, port), connections) in ended {
            tracing::info!(%vip, port, connections, "ended connections of clients that are not on the list any more");
        }
        if let Some(error) = refused {
            tracing::warn!(
                %error,
                "end connections of clients that are not on the list any more; they may go on where no XDP program is attached \
                 (the kernel needs CONFIG_INET_DIAG_DESTROY)"
            );
        }
    }));
}

/// A connection that cannot be ended does not stop the others: an older kernel may refuse to end one that its worker closed
/// already. Returns the first refusal.
fn end(facts: &lists::ListFacts) -> (Ended, Option<Refusal>) {
    let (mut ended, mut refused) = (Ended::new(), None);
    let services = facts.listed_services();
    let ports: BTreeSet<(u16, bool)> = services
        .keys()
        .map(|(vip, port)| (*port, vip.is_ipv6()))
        .collect();
    for (port, six) in ports {
        let connections = connections::of_port(port, six).unwrap_or_else(|error| {
            refused.get_or_insert(error);
            Vec::new()
        });
        for connection in connections.iter().filter(|it| is_unlisted(facts, it)) {
            match connection.end() {
                Ok(()) => *ended.entry((connection.local.ip(), port)).or_default() += 1,
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
        }
    }
    (ended, refused)
}

/// A reload gives a service another list before it empties the one it had: what the list said counts if the service still has
/// it afterwards.
fn is_unlisted(facts: &lists::ListFacts, connection: &Connection) -> bool {
    let list = || facts.list_of(connection.local.ip(), connection.local.port());
    let before = list();
    before.is_some_and(|list| !facts.holds(list, connection.remote.ip())) && list() == before
}
