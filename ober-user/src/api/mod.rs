//! What the CLI and the daemon say to each other over the UNIX socket `<run>/control.sock` (mode 0600): one JSON
//! [`Question`] on a line, answered by one JSON [`Answer`] on a line; or one [`Stream`], which lasts until the caller hangs up:
//! drops, answered by [`Reply::Watching`] and a line for every sampled one, or a stop to come, answered by the gates. `status/` is what a node says of itself,
//! `metrics/` the same as text for Prometheus, `http/` serves both on a loopback
//! address, `connections` bounds the callers of both sockets.
//!
//! It never changes anything on the node: it holds the types of requests and answers, and shows what the daemon gives it.

pub mod connections;
pub mod http;
pub mod metrics;
#[cfg(test)]
pub(crate) mod sample;
pub mod status;

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    announce::gate::{self, Order},
    api::status::{Counters, DropEvent, Status},
    backends, config, dataplane, lists,
    plan::{Plan, history},
    system::blame::Blame,
};

pub use crate::lists::edit::{
    Checked, Edit, How, Lacking, ListEntries, SHOWN, Sync, Synced, Target, lacking,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Question {
    Status,
    Counters,
    /// The backends with their servers and sources.
    Backends,
    /// Changes lists and backends, all or none.
    Sync(Sync),
    /// The sources and entries of the lists; all of them without a name.
    Show {
        list: Option<String>,
    },
    /// For every list, whether the address is on it.
    Check {
        address: IpAddr,
    },
    /// Puts the configuration in force as it is on disk now.
    Reload,
    /// Replaces the workers by new processes of the same configuration, one at a time.
    RestartWorkers,
    /// The plan of putting a configuration in force; changes nothing.
    Plan {
        of: Text,
    },
    /// Puts a configuration in force, and on disk.
    Apply {
        of: Text,
        note: Option<String>,
        /// The fingerprint of the main file that this replaces; `None`: whatever is there.
        #[serde(default)]
        over: Option<String>,
    },
    /// Drains, undrains, disables or enables a VIP; without one, all.
    Gate {
        vip: Option<IpAddr>,
        order: Order,
    },
}

/// What lasts until the caller hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Stream {
    /// Sampled drops as they happen: lines without end.
    Watch,
    /// Every VIP is given up before a stop that comes within so many seconds. When the caller hangs up before, they are
    /// announced again: what a caller that died ordered must not stay.
    Leave { seconds: u64 },
}

/// The configuration that a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Text {
    /// The daemon's own files.
    Own,
    /// The daemon's files with this main file.
    File(config::File),
    /// A snapshot; without a number the one before.
    Snapshot(Option<u64>),
}

pub type Answer = Result<Reply, Failure>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    Status(Box<Status>),
    Counters(Counters),
    Backends(BTreeMap<String, status::backends::Backend>),
    Synced(Vec<Synced>),
    Lists(Vec<ListEntries>),
    Checked(Vec<Checked>),
    /// The answer to [`Stream::Watch`] before the first drop.
    Watching(Sampling),
    Drop(DropEvent),
    Reloaded(Reloaded),
    Restarted(Restarted),
    Plan(Plan),
    /// The gates an order or a [`Stream::Leave`] was for, after it.
    Gate(Vec<status::gate::Gate>),
}

/// How many of the drops are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// One in so many; 0: none.
    pub one_in: u32,
    /// The most reports a second on each CPU.
    pub rate: u32,
}

/// A configuration that was put in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    pub replaced: Vec<usize>,
    /// Workers that took the change while they ran.
    #[serde(default)]
    pub changed_live: Vec<usize>,
    pub unchanged: Vec<usize>,
    pub failed: BTreeMap<usize, String>,
    /// What was done.
    pub plan: Plan,
    /// Its number in the history; `None`: it could not be kept.
    pub snapshot: Option<u64>,
    /// Failures that did not undo the change.
    pub warnings: Vec<String>,
}

/// What became of the workers when they were to be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarted {
    pub replaced: Vec<usize>,
    /// Not tried, because another one failed before.
    pub unchanged: Vec<usize>,
    /// The process they had goes on, if there was one.
    pub failed: BTreeMap<usize, String>,
}

/// Why a request was refused or failed. A change that failed was put back, or `message` says what could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub message: String,
    /// The caller's fault (exit status 2) or ours (1)?
    pub usage: bool,
}

/// The failure with all its causes. It is the caller's fault when one of them is; a configuration that is wrong is.
pub fn failure(error: &anyhow::Error) -> Failure {
    let usage = error.chain().any(|cause| {
        let blames = [
            cause.downcast_ref().map(lists::Error::blame),
            cause.downcast_ref().map(backends::Error::blame),
            cause.downcast_ref().map(gate::Error::blame),
            cause.downcast_ref().map(history::Error::blame),
        ];
        blames.contains(&Some(Blame::Caller)) || cause.is::<config::Error>()
    });
    Failure {
        message: dataplane::chain(error.as_ref()),
        usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::hostlist::{Error, Origin};

    #[test]
    fn an_error_message_names_each_cause_once() {
        let source = Error::Read {
            origin: Origin::File("/nowhere".into()),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let list = "web".to_owned();
        let said = failure(&lists::Error::Sources { list, source }.into()).message;
        assert_eq!(said.matches("/nowhere").count(), 1, "{said}");
        assert_eq!(said.matches("entity not found").count(), 1, "{said}");
    }
}
