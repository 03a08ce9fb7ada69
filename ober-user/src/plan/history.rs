//! Every configuration that was put in force, in the order of time: `<state>/history/NUMBER.json`, readable by root alone.
//!
//! A snapshot is the text of the main file and of those in `config.d`, as written: `${NAME}` is not put in, and what a
//! text refers to (certificates, hostlists, files of secrets) is not in it; nor is what `acl sync` put on a list or
//! `sync` made of the servers, which is state and not configuration. The same text again makes no second snapshot.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::{Texts, paths},
    system::{
        blame::Blame,
        store::{self, Kind, Pending, read_json},
    },
};

/// Why a configuration was put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    Start,
    Reload,
    Sighup,
    Apply,
    Rollback,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
            Self::Sighup => "SIGHUP",
            Self::Apply => "apply",
            Self::Rollback => "rollback",
        }
    }
}

/// Why a configuration was put in force, and on whose request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub reason: Reason,
    /// The snapshot a rollback put in force again.
    pub of: Option<u64>,
    /// User id of the caller; `None`: not known, as at a start of the daemon or a signal.
    pub by: Option<u32>,
    /// In the caller's words.
    pub note: Option<String>,
}

impl Origin {
    /// An origin without a caller.
    pub fn of(reason: Reason) -> Self {
        Self {
            reason,
            of: None,
            by: None,
            note: None,
        }
    }
}

/// A snapshot without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1, and never used again.
    pub number: u64,
    /// Seconds since 1970.
    pub time: u64,
    #[serde(flatten)]
    pub origin: Origin,
    /// Equal for equal texts.
    pub hash: String,
}

/// A configuration that was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    #[serde(flatten)]
    pub entry: Entry,
    pub written: Texts,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("find snapshot {number}: there is none of that number; {}", known(*.first, *.last))]
    Unknown {
        number: u64,
        first: Option<u64>,
        last: Option<u64>,
    },
    #[error(
        "find the configuration before this one: none is kept; `ober-user history` shows what is"
    )]
    NoneBefore,
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    pub fn blame(&self) -> Blame {
        Blame::of_caller(matches!(self, Self::Unknown { .. } | Self::NoneBefore))
    }
}

fn known(first: Option<u64>, last: Option<u64>) -> String {
    match (first, last) {
        (Some(first), Some(last)) => format!("{first} to {last} are kept"),
        _ => "none is kept yet".to_owned(),
    }
}

/// The snapshots of an instance.
#[derive(Clone, Debug)]
pub struct History(PathBuf);

impl History {
    /// In this state directory.
    pub fn new(state: &Path) -> Self {
        Self(paths::history(state))
    }

    /// All snapshots, the oldest first. One that cannot be read is logged and left out.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |number| match self.read(number) {
            Ok(snapshot) => Some(snapshot.entry),
            Err(error) => {
                tracing::warn!(%error, "a snapshot of the configuration cannot be read and is left out");
                None
            }
        };
        self.numbers().into_iter().filter_map(entry).collect()
    }

    pub fn read(&self, number: u64) -> Result<Snapshot, Error> {
        read_json(&self.file(number))?.ok_or_else(|| {
            let numbers = self.numbers();
            Error::Unknown {
                number,
                first: numbers.first().copied(),
                last: numbers.last().copied(),
            }
        })
    }

    /// The latest snapshot whose text is another than that with this hash.
    pub fn before(&self, hash: &str) -> Result<Snapshot, Error> {
        let mut entries = self.entries().into_iter().rev();
        let before = entries.find(|entry| entry.hash != hash);
        self.read(before.ok_or(Error::NoneBefore)?.number)
    }

    /// Keeps a configuration that was put in force, and at most `most` snapshots. Returns its number, or that of the latest
    /// snapshot if the text is still the same.
    pub fn keep(
        &self,
        written: &Texts,
        origin: Origin,
        time: u64,
        most: usize,
    ) -> Result<u64, Error> {
        let hash = written.hash();
        let numbers = self.numbers();
        let latest = numbers.last().copied().unwrap_or(0);
        if self
            .read(latest)
            .is_ok_and(|latest| latest.entry.hash == hash)
        {
            return Ok(latest);
        }
        let number = latest + 1;
        let entry = Entry {
            number,
            time,
            origin,
            hash,
        };
        let written = written.clone();
        let snapshot = Snapshot { entry, written };
        Pending::json(Kind::History, &self.file(number), &snapshot)?.commit()?;
        let surplus = (numbers.len() + 1).saturating_sub(most);
        for path in numbers
            .iter()
            .take(surplus)
            .map(|number| self.file(*number))
        {
            fs::remove_file(&path).map_err(|source| store::Error::Write { path, source })?;
        }
        Ok(number)
    }

    fn file(&self, number: u64) -> PathBuf {
        paths::configuration(&self.0, number)
    }

    fn numbers(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut numbers: Vec<u64> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                name.to_str()?.strip_suffix(".json")?.parse().ok()
            })
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::File;

    fn written(text: &str) -> Texts {
        let main = File {
            path: "/etc/ober/ober.toml".into(),
            text: text.to_owned(),
            mode: 0o600,
        };
        let more = Vec::new();
        Texts { main, more }
    }

    fn keep(history: &History, text: &str) -> u64 {
        let origin = Origin::of(Reason::Reload);
        history.keep(&written(text), origin, 7, 3).unwrap()
    }

    #[test]
    fn snapshots_keep_their_numbers_and_the_oldest_beyond_the_limit_are_deleted() {
        let home = tempfile::tempdir().unwrap();
        let history = History::new(home.path());
        assert_eq!(history.entries(), []);
        for (text, number) in [("a", 1), ("b", 2), ("b", 2), ("a", 3), ("c", 4), ("d", 5)] {
            assert_eq!(keep(&history, text), number, "{text}");
        }
        let numbers: Vec<u64> = history.entries().iter().map(|it| it.number).collect();
        assert_eq!(numbers, [3, 4, 5]);
        assert_eq!(history.read(3).unwrap().written, written("a"));
        let words = history.read(2).unwrap_err().to_string();
        assert!(words.contains("3 to 5 are kept"), "{words}");
        let mode = fs::metadata(history.file(5)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_previous_snapshot_is_the_latest_with_a_different_text() {
        let home = tempfile::tempdir().unwrap();
        let history = History::new(home.path());
        let before = |text: &str| {
            let found = history.before(&written(text).hash());
            found.map(|snapshot| snapshot.written.main.text)
        };
        keep(&history, "a");
        assert!(matches!(before("a"), Err(Error::NoneBefore)));
        keep(&history, "b");
        assert_eq!(before("b").unwrap(), "a");
        keep(&history, "a");
        assert_eq!(before("a").unwrap(), "b");
    }

    #[test]
    fn a_damaged_snapshot_does_not_hide_the_others() {
        let home = tempfile::tempdir().unwrap();
        let history = History::new(home.path());
        keep(&history, "a");
        keep(&history, "b");
        fs::write(history.file(2), "{").unwrap();
        assert_eq!(history.entries().len(), 1);
        assert_eq!(keep(&history, "b"), 3);
    }
}
