//! What the CLI and the daemon say to each other over the UNIX socket `<run>/control.sock` (mode 0600): one JSON
//! [`Request`] on a line, answered by one JSON [`Answer`] on a line; [`Request::Watch`] by
//! [`Reply::Watching`] and a line for every sampled drop until the caller hangs up.

pub mod http;
pub mod metrics;
#[cfg(test)]
pub(crate) mod sample;
pub mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::{
    announce::gate::{self, Order},
    api::status::{Counters, DropEvent, Status},
    backends, config,
    dataplane::{self, access::Change},
    lists,
    names::hostlist::fold,
    plan::{Plan, history},
};

/// File name of the socket in the run directory.
pub const SOCKET: &str = "control.sock";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
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
    /// Which lists hold the address.
    Check {
        address: IpAddr,
    },
    /// Sampled drops as they happen.
    Watch,
    /// Puts the configuration in force as it is on disk now.
    Reload,
    /// What putting a configuration in force would come to.
    Plan {
        of: Text,
    },
    /// Puts a configuration in force, and on disk.
    Apply {
        of: Text,
        note: Option<String>,
    },
    /// Drains, undrains, disables or enables a VIP; without one, all.
    Gate {
        vip: Option<IpAddr>,
        order: Order,
    },
}

/// Which configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Text {
    /// The daemon's own files.
    Own,
    /// With this in the place of the main file.
    File(config::File),
    /// A snapshot; without a number the one before.
    Snapshot(Option<u64>),
}

/// A change of lists and backends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    pub edits: Vec<Edit>,
    /// Show the difference, change nothing.
    pub dry_run: bool,
    /// Forget the previous addresses of names that no longer resolve.
    pub prune: bool,
}

/// One change of one list or backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    pub target: Target,
    pub how: How,
    /// Expressions. `@file` holds an absolute path, read by whoever applies the change.
    pub sources: Vec<String>,
    /// What the caller read for `-`; kept in the state directory from then on.
    pub stdin: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// An access list by name.
    List(String),
    /// The servers of a backend by name; only [`How::Replace`].
    Backend(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Replace,
    Add,
    Remove,
    /// Keep the sources and resolve them again.
    Refresh,
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
    /// To [`Request::Watch`] before the first drop.
    Watching(Sampling),
    Drop(DropEvent),
    Reloaded(Reloaded),
    Plan(Plan),
    /// The gates an order was for, after it.
    Gate(Vec<status::gate::Gate>),
}

/// How many of the drops are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// One in so many; 0: none.
    pub one_in: u32,
    /// So many a second and CPU at most.
    pub rate: u32,
}

/// What a change did, or would do, to one list or backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Synced {
    pub target: Target,
    pub change: Change,
    /// Addresses (or servers) on it afterwards.
    pub count: u64,
    /// With `dry_run`: the difference in the shortest notation, at most [`SHOWN`] lines each.
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Names that did not resolve, with the reason.
    pub unresolved: BTreeMap<String, String>,
    /// Those of them that kept earlier addresses.
    pub kept: Vec<String>,
    /// Why it is in force and would be lost by a restart; `None`: it would not.
    #[serde(default)]
    pub unkept: Option<String>,
}

/// Lines of a difference that are shown.
pub const SHOWN: usize = 1000;

/// Names of which not all is known, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// As a hostlist; a very long one is cut, and says how many they are.
    pub names: String,
    pub count: usize,
    pub why: String,
    /// They keep addresses they had.
    pub kept: bool,
}

/// So many letters of a hostlist tell whom it is about.
const NAMES: usize = 400;

/// By this, names that differ in their last number are in the order of it: n2 before n10.
fn counted(name: &str) -> (&str, usize, &str) {
    let number = name.find(|letter: char| letter.is_ascii_digit());
    let (before, _) = name.split_at(number.unwrap_or(name.len()));
    (before, name.len(), name)
}

impl Synced {
    /// The names that did not resolve, those that failed alike together: a hundred nodes that are down are one line.
    pub fn lacking(&self) -> Vec<Lacking> {
        let kept: BTreeSet<&String> = self.kept.iter().collect();
        let mut alike: BTreeMap<(&String, bool), Vec<&str>> = BTreeMap::new();
        for (name, why) in &self.unresolved {
            alike
                .entry((why, kept.contains(name)))
                .or_default()
                .push(name);
        }
        let lacking = alike.into_iter().map(|((why, kept), mut names)| {
            let count = names.len();
            names.sort_unstable_by(|one, other| counted(one).cmp(&counted(other)));
            let mut folded = fold(names);
            if let Some((cut, _)) = folded.char_indices().nth(NAMES) {
                folded.truncate(cut);
                folded = format!("{folded}... ({count} names)");
            }
            Lacking {
                names: folded,
                count,
                why: why.clone(),
                kept,
            }
        });
        let mut lacking: Vec<Lacking> = lacking.collect();
        lacking.sort_by(|one, other| one.names.cmp(&other.names));
        lacking
    }
}

impl Display for Lacking {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            names, why, kept, ..
        } = self;
        write!(out, "{names}: {why}")?;
        if *kept {
            out.write_str("; keeps its earlier addresses")?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListEntries {
    pub name: String,
    pub sources: Vec<String>,
    /// Expressions taken off the list by `acl remove`.
    pub except: Vec<String>,
    pub count: u64,
    /// Addresses, ranges and prefixes as the kernel holds them.
    pub entries: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub list: String,
    pub listed: bool,
}

/// A configuration that was put in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    pub replaced: Vec<usize>,
    /// They took the change while they ran.
    #[serde(default)]
    pub told: Vec<usize>,
    pub unchanged: Vec<usize>,
    pub failed: BTreeMap<usize, String>,
    /// What was done.
    pub plan: Plan,
    /// Its number in the history; `None`: it could not be kept.
    pub snapshot: Option<u64>,
    /// What went wrong beside it.
    pub warnings: Vec<String>,
}

/// Why a request was refused or failed. Nothing was half done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub message: String,
    /// The caller's fault (exit status 2) or ours (1)?
    pub usage: bool,
}

/// What failed, with all its causes; expressions and names the caller got wrong are the caller's.
pub fn failure(error: &anyhow::Error) -> Failure {
    let usage = error.chain().any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(
                lists::Error::Unknown { .. }
                    | lists::Error::Twice { .. }
                    | lists::Error::Sources { .. }
            )
        ) || matches!(
            cause.downcast_ref(),
            Some(
                backends::Error::Unknown { .. }
                    | backends::Error::Sources { .. }
                    | backends::Error::How { .. }
            )
        ) || matches!(cause.downcast_ref(), Some(gate::Error::Unknown { .. }))
            || matches!(
                cause.downcast_ref(),
                Some(history::Error::Unknown { .. } | history::Error::NoneBefore)
            )
            || cause.is::<config::Error>()
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
    fn names_that_failed_alike_are_one_line() {
        let unresolved =
            (1..=100).map(|number| (format!("weka{number:03}"), "not found".to_owned()));
        let late = ("n7".to_owned(), "no answer in time".to_owned());
        let synced = Synced {
            target: Target::List("web".into()),
            change: Change::default(),
            count: 0,
            added: vec![],
            removed: vec![],
            unresolved: unresolved.chain([late]).collect(),
            kept: vec!["weka050".into()],
            unkept: None,
        };
        let lines: Vec<String> = synced.lacking().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "n7: no answer in time",
                "weka050: not found; keeps its earlier addresses",
                "weka[001-049,051-100]: not found",
            ]
        );
    }

    #[test]
    fn of_a_cut_hostlist_the_number_of_names_is_told() {
        let odd = (0..1000).map(|number| (format!("n{}", number * 2), "not found".to_owned()));
        let synced = Synced {
            target: Target::List("web".into()),
            change: Change::default(),
            count: 0,
            added: vec![],
            removed: vec![],
            unresolved: odd.collect(),
            kept: vec![],
            unkept: None,
        };
        let [lacking] = &synced.lacking()[..] else {
            panic!("{:?}", synced.lacking());
        };
        let told = lacking.to_string();
        assert!(told.starts_with("n[0,2,4,"), "{told}");
        assert!(told.ends_with("... (1000 names): not found"), "{told}");
    }

    #[test]
    fn a_cause_that_the_error_names_is_not_told_again() {
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
