//! The HAProxy workers: independent processes on sockets that the daemon owns.
//!
//! ```text
//! Config + servers -> render/ -> prepare (haproxy -c) -> Pool -> worker/world (one task a worker) -> worker/ (machine)
//!                     sockets ---------------------------^        |        pidfd: end seen at once
//!                     worker/adopt: record beside each worker ----+        runtime_api: ready or not
//! live/, pool/slot       servers changed in a running worker       pool/preview   what a reload would do to each
//! certificates, health   certificates and verdicts, by the command socket
//! version, outdated, limits   which HAProxy is installed and running, open files
//! dismiss, finishing     the end of workers without a daemon; what processes that finish still have
//! ```
//! A worker outlives the daemon. The daemon must hold its instance's lock before it makes a [`Pool`]: each of two pools
//! on one run directory would take the other's workers for strays.
//!
//! It never binds a VIP, and never changes the kernel's maps: the daemon puts the sockets and rings there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub mod certificates;
mod dismiss;
pub mod finishing;
pub mod health;
mod limits;
mod live;
mod outdated;
pub mod pool;
mod prepare;
pub mod render;
mod runtime_api;
pub mod sockets;
pub mod version;
pub mod worker;

pub use self::worker::snapshot::{Snapshot, Stage};
pub use self::{
    dismiss::{Left, dismiss},
    limits::{allow, files},
    pool::{Pool, Report, Workers, preview::Preview},
    prepare::{out_of_date, validate},
    runtime_api::{BUFFER, ask, who},
};
pub(crate) use outdated::outdated;
pub use sockets::{Family, Listening};
pub use worker::Exit;

use crate::config::paths::Files;

/// A worker may get connections, or no longer. Sent as soon as the slot knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerEvent {
    pub worker: usize,
    pub in_ring: bool,
}

/// Why workers could not be started or reloaded. Workers that served before go on serving.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Render(#[from] render::Error),
    #[error(transparent)]
    Certificates(#[from] crate::certificates::copies::Error),
    #[error("read the certificates: {0}; nothing was changed")]
    Unread(io::Error),
    #[error(transparent)]
    Account(#[from] crate::certificates::acme::AccountError),
    #[error(
        "run HAProxy: there is no {}; `apt-get install haproxy`, or name another in `workers.haproxy`",
        haproxy.display()
    )]
    Missing { haproxy: PathBuf },
    #[error("{} is no HAProxy: name another in `workers.haproxy`", haproxy.display())]
    NoHaproxy { haproxy: PathBuf },
    #[error(
        "{key} needs HAProxy {needed}, and {} is older; install that or remove the key",
        haproxy.display()
    )]
    TooOld {
        haproxy: PathBuf,
        key: String,
        needed: &'static str,
    },
    #[error(
        "{key} needs HAProxy built with {feature}, and {} is not; install one that is (Debian's is) or remove the key",
        haproxy.display()
    )]
    NotBuilt {
        haproxy: PathBuf,
        key: String,
        feature: &'static str,
    },
    #[error("write the configuration of the workers: {source}")]
    Ended { source: tokio::task::JoinError },
    #[error("run {} to check the configuration: {source}", haproxy.display())]
    Check { haproxy: PathBuf, source: io::Error },
    #[error(
        "HAProxy refuses the configuration made for it, and nothing was changed; it is kept in {} and HAProxy \
         says:\n{words}",
        file.display()
    )]
    Refused { file: PathBuf, words: String },
    #[error("HAProxy refuses the text made from this configuration, and says:\n{words}")]
    RefusedText { words: String },
    #[error(
        "open the listening sockets of worker {worker}: {source}; each worker needs one a port and address family: \
         raise LimitNOFILE of the service if there are too many files open"
    )]
    Sockets { worker: usize, source: io::Error },
    #[error("write {}: {source}; HAProxy's files need a directory that root can write and space in it", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "worker {worker} does not start with the new configuration, and nothing was changed: {why}"
    )]
    NotServing { worker: usize, why: String },
}

impl Error {
    /// The error when a program could not be run.
    fn not_run(haproxy: &Path, source: io::Error) -> Self {
        let haproxy = haproxy.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { haproxy },
            _ => Self::Check { haproxy, source },
        }
    }
}

/// The command socket of a worker, for [`ask`].
pub fn command_socket(run: &Path, worker: usize) -> PathBuf {
    Files::new(run, worker).cli()
}

/// Is there a worker of this run directory, or a record of one?
pub fn known(run: &Path) -> bool {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_record = |name: String| {
        let middle = name.strip_prefix("worker-");
        middle.is_some_and(|rest| rest.strip_suffix(".json").is_some())
    };
    names.any(is_record) || !worker::adopt::running(run).is_empty()
}
