//! Durable files: written beside their places, synced, exchanged with the old file, and the directory synced. A reader, or a
//! node after a loss of power, finds the old file or the new one, whole. A change is on disk before the daemon reports it as
//! done.
//!
//! A damaged file loses its own content alone: it is moved aside and made anew from its source ([`recover_json`]). [`TABLE`]
//! states for each file how long it lasts and what happens when it is damaged.
//!
//! `pending` writes beside and exchanges, `appended` adds at the end, `read` reads back, `trouble` keeps problems for `status`.
//! A file's content is never overwritten in its place.

mod appended;
mod pending;
mod read;
mod trouble;

use std::{io, path::PathBuf};

pub use appended::Appended;
pub use pending::{Batch, Pending, Placed, remove, rename};
pub use read::{length, read, read_json, recover, recover_json, set_aside};
pub use trouble::{Damaged, Disk, Unkept, disk, kept, unkept};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("write {path}: {source}; its directory must be writable and its disk not full", path = .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("read {path}: {source}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("read {path}: it is damaged: {why}", path = .path.display())]
    Damaged { path: PathBuf, why: String },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Write { source, .. } | Error::Read { source, .. } => source,
            Error::Damaged { why, .. } => Self::new(io::ErrorKind::InvalidData, why),
        }
    }
}

/// How long a file must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// It is on disk before the daemon reports the change: a loss of power loses nothing.
    Power,
    /// It describes processes, which a loss of power ends too: it is not synced.
    Boot,
}

/// The purpose of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Configuration,
    History,
    Orders,
    List,
    Entries,
    ListText,
    Backend,
    ClusterKey,
    Addresses,
    Account,
    Issued,
    Bootstrap,
    BackendSetup,
    Record,
    WorkerText,
    Certificate,
}

/// One kind of file.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub kind: Kind,
    /// Path below the state or the run directory, or beside the main file. `*` stands for letters other than `/`.
    pub place: &'static str,
    pub lasts: Lasts,
    /// What happens when it is damaged.
    pub damaged: &'static str,
}

const fn row(kind: Kind, place: &'static str, lasts: Lasts, damaged: &'static str) -> Row {
    Row {
        kind,
        place,
        lasts,
        damaged,
    }
}

/// Every file that Herr Ober keeps. Sockets, the lock and logs are not listed: they are not read back.
pub const TABLE: &[Row] = &[
    row(
        Kind::Configuration,
        "ober.toml",
        Lasts::Power,
        "a start goes by the last good snapshot of the history; a reload is refused",
    ),
    row(
        Kind::History,
        "state/history/*.json",
        Lasts::Power,
        "this snapshot cannot be put in force again; the others can",
    ),
    row(
        Kind::Orders,
        "state/gate.json",
        Lasts::Power,
        "no VIP is drained or disabled any more: repeat the orders that must stay in force",
    ),
    row(
        Kind::List,
        "state/lists/*.json",
        Lasts::Power,
        "the list keeps the addresses it had, or else has the sources of the configuration; give it its sources \
         again with `ober-user acl sync`",
    ),
    row(
        Kind::Entries,
        "state/lists/*.entries",
        Lasts::Power,
        "it is made anew from the sources of the list and the last addresses of their names",
    ),
    row(
        Kind::ListText,
        "state/lists/*.stdin",
        Lasts::Power,
        "the list keeps what it had; give it its text again with `ober-user acl sync`",
    ),
    row(
        Kind::Backend,
        "state/backends/*.json",
        Lasts::Power,
        "the backend has the servers of the configuration and of its discovery; set others again with `ober-user acl sync`",
    ),
    row(
        Kind::ClusterKey,
        "state/cluster.key",
        Lasts::Power,
        "the key is taken from the kernel's maps, or made anew",
    ),
    row(
        Kind::Addresses,
        "state/vips.json",
        Lasts::Power,
        "VIPs that are addresses of this node count as the administrator's: `ober-user detach` leaves them",
    ),
    row(
        Kind::Account,
        "state/acme/account.key",
        Lasts::Power,
        "a new account is made with the authority",
    ),
    row(
        Kind::Issued,
        "state/acme/*.pem",
        Lasts::Power,
        "the certificate is ordered again, and its copy serves until then",
    ),
    row(
        Kind::Bootstrap,
        "/var/lib/ober/bootstrap.json",
        Lasts::Power,
        "`bootstrap` refuses to change anything until it is moved away: what was there before its changes is not known any more",
    ),
    row(
        Kind::BackendSetup,
        "/var/lib/ober/backend-setup.json",
        Lasts::Power,
        "`backend-setup` refuses to change anything until it is moved away: what was there before its changes is not known any more",
    ),
    row(
        Kind::Record,
        "run/worker-*.json",
        Lasts::Boot,
        "the worker is replaced and may finish its connections",
    ),
    row(
        Kind::WorkerText,
        "run/worker-*.cfg",
        Lasts::Boot,
        "it is written anew",
    ),
    row(
        Kind::Certificate,
        "run/certificates/*",
        Lasts::Boot,
        "it is copied again",
    ),
];

impl Kind {
    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.kind == self)
    }

    /// How long a file of this kind must last.
    pub fn lasts(self) -> Lasts {
        self.row().map_or(Lasts::Power, |row| row.lasts)
    }

    /// What happens when such a file is damaged.
    fn damaged(self) -> &'static str {
        self.row().map_or("", |row| row.damaged)
    }
}

/// Runs work that may wait for a disk without blocking the other tasks of its runtime thread.
pub fn off_the_runtime<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}

#[cfg(test)]
mod tests;
