//! A change of lists, and of the servers of backends, which come in the same request: the edits, and their results.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
};

use serde::{Deserialize, Serialize};

use crate::{dataplane::access::Diff, names::hostlist::fold};

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
    /// Expressions. `@file` has an absolute path; the process that applies the change reads it.
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

/// What a change did, or would do, to one list or backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Synced {
    pub target: Target,
    pub change: Diff<u64>,
    /// Addresses (or servers) on it afterwards.
    pub count: u64,
    /// With `dry_run`: the difference in the shortest notation, at most [`SHOWN`] lines each.
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Names that could not be resolved, with the reason.
    pub unresolved: BTreeMap<String, String>,
    /// Those of them that kept their earlier addresses.
    pub kept: Vec<String>,
    /// Why the change is in force but not on disk, so that a restart would lose it; `None`: it is on disk.
    #[serde(default)]
    pub unkept: Option<String>,
}

/// The most lines of a difference that are shown.
pub const SHOWN: usize = 1000;

/// Names that could not be resolved, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// As a hostlist. A very long one is cut, and ends with the number of names.
    pub names: String,
    pub count: usize,
    pub why: String,
    /// They keep their earlier addresses.
    pub kept: bool,
}

/// The most letters of a hostlist that are shown.
const NAMES: usize = 400;

/// A sort key by which names that differ in their number are in its order: n2 before n10.
fn counted(name: &str) -> (&str, usize, &str) {
    let number = name.find(|letter: char| letter.is_ascii_digit());
    let (before, _) = name.split_at(number.unwrap_or(name.len()));
    (before, name.len(), name)
}

impl Synced {
    /// The names that could not be resolved, grouped by reason.
    pub fn lacking(&self) -> Vec<Lacking> {
        lacking(&self.unresolved, &self.kept)
    }
}

/// Groups names that could not be resolved by reason: a hundred nodes that are down are one line. `kept`: those of them that
/// keep their earlier addresses.
pub fn lacking(unresolved: &BTreeMap<String, String>, kept: &[String]) -> Vec<Lacking> {
    let kept: BTreeSet<&String> = kept.iter().collect();
    let mut alike: BTreeMap<(&String, bool), Vec<&str>> = BTreeMap::new();
    for (name, why) in unresolved {
        alike
            .entry((why, kept.contains(name)))
            .or_default()
            .push(name);
    }
    let mut lacking: Vec<Lacking> = alike
        .into_iter()
        .map(|((why, kept), mut names)| {
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
        })
        .collect();
    lacking.sort_by(|one, other| one.names.cmp(&other.names));
    lacking
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
    /// Expressions removed from the list by `acl remove`.
    pub except: Vec<String>,
    pub count: u64,
    /// Addresses, ranges and prefixes in the kernel's maps.
    pub entries: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub list: String,
    pub listed: bool,
}

/// One expression that is added to the list or removed from it. The order counts: the last step with an address decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    Add(String),
    Remove(String),
}

impl Step {
    pub(super) fn source(&self) -> &String {
        match self {
            Self::Add(source) | Self::Remove(source) => source,
        }
    }

    pub(super) fn adds(&self) -> bool {
        matches!(self, Self::Add(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unresolved_names_with_the_same_reason_share_one_line() {
        let unresolved =
            (1..=100).map(|number| (format!("weka{number:03}"), "not found".to_owned()));
        let late = ("n7".to_owned(), "no answer in time".to_owned());
        let synced = Synced {
            target: Target::List("web".into()),
            change: Diff::default(),
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
    fn a_shortened_hostlist_states_the_number_of_names() {
        let odd = (0..1000).map(|number| (format!("n{}", number * 2), "not found".to_owned()));
        let synced = Synced {
            target: Target::List("web".into()),
            change: Diff::default(),
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
        let text = lacking.to_string();
        assert!(text.starts_with("n[0,2,4,"), "{text}");
        assert!(text.ends_with("... (1000 names): not found"), "{text}");
    }
}
