//! How many connections the limit on open files allows.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that a worker needs beside its connections: for listeners, its own sockets, checks of servers.
const OTHERS: u64 = 200;
/// Descriptors of a connection: one to the client and one to the server.
const ENDS: u64 = 2;

/// Open files that a worker needs for this many connections.
pub fn files(connections: u32) -> u64 {
    u64::from(connections) * ENDS + OTHERS
}

/// Raises this process's limit (workers inherit it) towards the files that `connections` need. Returns how many
/// connections the limit allows.
pub fn allow(connections: u32) -> u32 {
    let needed = files(connections);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return connections;
    };
    if soft >= needed {
        return connections;
    }
    // Only a privileged process may raise the hard limit, and only up to fs.nr_open.
    if setrlimit(Resource::RLIMIT_NOFILE, needed, needed.max(hard)).is_ok() {
        return connections;
    }
    let reached = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard);
    let allowed = u32::try_from(reached.saturating_sub(OTHERS) / ENDS)
        .unwrap_or(connections)
        .max(1);
    tracing::warn!(
        wanted = connections,
        allowed,
        "workers.max_connections needs {needed} open files and the limit is {reached}: raise LimitNOFILE and fs.nr_open"
    );
    allowed
}
