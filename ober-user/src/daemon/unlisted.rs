//! A list keeps new connections of other clients out; those that a client has when it is taken off the list are ended here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tokio::task::spawn_blocking;

use crate::{
    lists::{self, Keeper},
    netlink::{
        connections::{self, Connection},
        question::Refusal,
    },
};

/// Connections ended, by the service that they were of.
type Ended = BTreeMap<(IpAddr, u16), usize>;

/// Ends the connections of clients that no list admits to them, while the daemon goes on.
pub(super) fn end_connections(keeper: &Keeper) {
    let facts = keeper.facts();
    drop(spawn_blocking(move || match end(&facts) {
        Ok(ended) => {
            for ((vip, port), connections) in ended {
                tracing::info!(%vip, port, connections, "ended connections of clients that are not on the list any more");
            }
        }
        Err(error) => tracing::warn!(
            %error,
            "end connections of clients that are not on the list any more; they may go on where no XDP program is attached \
             (the kernel needs CONFIG_INET_DIAG_DESTROY)"
        ),
    }));
}

fn end(facts: &lists::Facts) -> Result<Ended, Refusal> {
    let mut ended = Ended::new();
    let services = facts.listed_services();
    let doors: BTreeSet<(u16, bool)> = services
        .keys()
        .map(|(vip, port)| (*port, vip.is_ipv6()))
        .collect();
    for (port, six) in doors {
        let admitted = |it: &Connection| {
            let list = services.get(&(it.local.ip(), port));
            list.is_none_or(|list| facts.holds(*list, it.remote.ip()))
        };
        let connections = connections::of_port(port, six)?;
        for connection in connections.iter().filter(|it| !admitted(it)) {
            connection.end()?;
            *ended.entry((connection.local.ip(), port)).or_default() += 1;
        }
    }
    Ok(ended)
}
