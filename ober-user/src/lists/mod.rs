//! The access lists: from sources (expressions as given) through names and addresses to the kernel's maps
//! and the disk. The daemon uses it, and so do the `acl` commands when no daemon runs.
//!
//! ```text
//! sources -> hostlist -> names -> resolve -+-> Entries -> sources and snapshot on disk -> kernel
//!                     -> addresses --------+
//! draft, expand, text_diff: without `AccessLists` | change: with it
//! edit       a change and its result       stored, numbers   a list on disk, and its number in the kernel
//! restore    the lists at a start          snapshot, facts   entries on disk; the state for readers during a change
//! ```
//! Files and name servers, which may be slow, are read with a copy of the list ([`Draft`]), while other changes go on.
//! The result is put in force if the list has not changed meanwhile.
//!
//! The disk is written before the kernel's maps: a change that cannot be written is not applied, unless it is an
//! operator's order that only takes clients off a list. A small change is appended to the snapshot.
//!
//! A file that cannot be read or a name that cannot be resolved never empties a list: the list keeps its entries, and a
//! name keeps its addresses until it is pruned.

mod change;
mod draft;
pub mod edit;
mod expand;
mod facts;
mod numbers;
mod restore;
mod snapshot;
mod stored;
mod text_diff;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use ober_common::abi::LISTS;

pub use change::Preview;
pub use draft::{AllHeard, Draft, Heard, hear};
use facts::SharedMaps;
pub use facts::{ListFacts, Summary};
use numbers::InForce;
use snapshot::Snapshot;
use stored::{OnDisk, Stored};

use crate::{
    config::{Config, paths},
    dataplane::{
        Error as MapError, Maps,
        access::{self, Diff, Others},
    },
    names::{entries::Entries, hostlist, resolve::Resolve},
    system::{
        blame::Blame,
        memory,
        store::{self, Kind},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("change list {list}: there is no such list; the configuration has {known}")]
    Unknown { list: String, known: String },
    #[error("change list {list}: it is named twice; make it one change")]
    Twice { list: String },
    #[error("change list {list}: {source}")]
    Sources {
        list: String,
        source: hostlist::Error,
    },
    #[error("read the sources of list {list}: {source}")]
    Unread {
        list: String,
        source: std::io::Error,
    },
    #[error("change list {list}: {source}")]
    Apply { list: String, source: access::Error },
    #[error("keep list {list}: {source}; the list before it stays in force")]
    Keep { list: String, source: store::Error },
    #[error(
        "number list {list}: the kernel holds {LISTS} lists; remove one from the configuration"
    )]
    TooMany { list: String },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Maps(#[from] MapError),
}

impl Error {
    pub fn blame(&self) -> Blame {
        Blame::of_caller(matches!(
            self,
            Self::Unknown { .. } | Self::Twice { .. } | Self::Sources { .. }
        ))
    }
}

impl Error {
    fn unknown<'n>(list: &str, known: impl Iterator<Item = &'n str>) -> Self {
        Self::Unknown {
            list: list.to_owned(),
            known: known.collect::<Vec<_>>().join(", "),
        }
    }
}

#[derive(Debug, Default)]
struct List {
    stored: Stored,
    count: u64,
    /// How many entries its sources counted against the cap when all were read, and were added since.
    used: u64,
    error: Option<String>,
    /// `None`: it is not known whether the entries on disk are those in the kernel's maps.
    snapshot: Option<Snapshot>,
    /// The text of its only source, with one IPv4 address on each line; `None` when the sources are of another kind or
    /// not known.
    text: Option<Arc<Vec<u8>>>,
    /// Every change gives it another number: a result computed for one state is not valid for another.
    version: u64,
    /// Why its file cannot be read, until it is made anew.
    damaged: Option<String>,
    /// It is not known whether the kernel's maps hold the list under this number.
    anew: bool,
    /// The state in force is not on disk.
    unkept: bool,
}

/// A number that no state of a list has yet.
fn version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// All lists of an instance.
pub struct AccessLists {
    maps: SharedMaps,
    home: PathBuf,
    how: Resolve,
    cap: usize,
    lists: BTreeMap<String, List>,
    /// Numbers of lists the configuration no longer has.
    retired: Vec<(String, u32)>,
}

impl AccessLists {
    /// Reads the lists on disk, for the maps pinned in `pins`. Changes neither the maps nor the disk yet.
    pub fn open(config: &Config, pins: &Path) -> Result<Self, Error> {
        let disk = OnDisk::read(&home(config))?;
        Self::of(config, pins, disk)
    }

    /// The lists of another configuration. The lists in force are taken over, on disk or not.
    pub fn next(&self, config: &Config, pins: &Path) -> Result<Self, Error> {
        let mut disk = OnDisk::read(&self.home)?;
        for (name, list) in &self.lists {
            disk.damaged.remove(name);
            disk.kept.insert(name.clone(), list.stored.clone());
        }
        let mut next = Self::of(config, pins, disk)?;
        for (name, list) in &mut next.lists {
            let before = self.lists.get(name);
            list.unkept = before.is_some_and(|before| before.unkept);
        }
        Ok(next)
    }

    fn of(config: &Config, pins: &Path, mut disk: OnDisk) -> Result<Self, Error> {
        let maps = Maps::open(pins)?;
        let configured = config.lists.keys().map(String::as_str).collect();
        let in_force = InForce::read(config, &maps);
        let mut numbers = numbers::assign(&configured, &disk.kept, &in_force)?;
        let mut lists = BTreeMap::new();
        for (name, list) in &config.lists {
            let copied = numbers.copies.remove(name);
            let damaged = disk
                .damaged
                .remove(name)
                .or(copied.map(|of| format!("it is that of list {of}")));
            let number = numbers.of.get(name).copied().unwrap_or_default();
            let kept = disk.kept.remove(name).filter(|_| damaged.is_none());
            let stored = match kept {
                Some(stored) if stored.configured == list.sources => Stored {
                    name: Some(name.clone()),
                    number,
                    ..stored
                },
                Some(stored) => stored.reconfigured(name, number, &list.sources),
                None => Stored::configured(name, number, &list.sources),
            };
            let list = List {
                stored,
                damaged,
                anew: numbers.anew.contains(name),
                version: version(),
                ..List::default()
            };
            lists.insert(name.clone(), list);
        }
        for (copy, of) in &numbers.copies {
            tracing::warn!(
                copy,
                of,
                "a file in the directory of the lists is a copy of another list's, and is left alone"
            );
        }
        for (name, why) in &disk.damaged {
            tracing::warn!(
                name,
                why,
                "a file in the directory of the lists is damaged, and belongs to no list of the configuration"
            );
        }
        let mut access_lists = Self {
            maps: Arc::new(RwLock::new(maps)),
            home: home(config),
            how: config.resolve.clone(),
            cap: config.limits.expansion,
            lists,
            retired: numbers.retired,
        };
        access_lists.recount()?;
        Ok(access_lists)
    }

    /// The number a list has in the kernel.
    pub fn number(&self, list: &str) -> Option<u32> {
        self.lists.get(list).map(|list| list.stored.number)
    }

    /// The list with this number in the kernel.
    pub fn name(&self, number: u32) -> Option<&str> {
        let mut lists = self.lists.iter();
        lists
            .find(|(_, list)| list.stored.number == number)
            .map(|(name, _)| name.as_str())
    }

    /// Empties the lists that the configuration no longer has, and removes their files and the texts of standard input
    /// that no list reads any more. To be called when the change is complete: undoing it needs all of them. The next
    /// change or start tries failures again.
    pub fn sweep(&mut self) {
        for (name, number) in std::mem::take(&mut self.retired) {
            let emptied = access::replace(&mut self.maps_mut(), number, &Entries::default());
            if let Err(error) = emptied {
                tracing::warn!(list = name, %error, "empty a list that the configuration no longer has");
                self.retired.push((name, number));
                continue;
            }
            let texts = self.texts(&name).collect::<Vec<_>>();
            let files = [self.file(&name), self.snapshot(&name)];
            for file in files.into_iter().chain(texts) {
                if let Err(error) = store::remove(&file) {
                    tracing::warn!(list = name, %error, "remove a file of a list that the configuration no longer has");
                }
            }
        }
        let names: Vec<String> = self.lists.keys().cloned().collect();
        for name in &names {
            self.drop_texts(name);
        }
    }

    /// The same for the lists that only `given_up` has, those of a change that was undone.
    pub fn sweep_after(&mut self, given_up: &Self) {
        for (name, list) in &given_up.lists {
            let number = list.stored.number;
            if !self.lists.contains_key(name) && self.name(number).is_none() {
                self.retired.push((name.clone(), number));
            }
        }
        self.sweep();
    }

    /// Removes the texts of standard input that the list no longer reads, if its state in force is on disk.
    fn drop_texts(&self, name: &str) {
        let kept = |list: &&List| list.snapshot.is_some() && !list.unkept;
        let Some(list) = self.lists.get(name).filter(kept) else {
            return;
        };
        for text in self.texts(name).filter(|text| !list.stored.reads(text)) {
            if let Err(error) = store::remove(&text) {
                tracing::warn!(list = name, %error, "remove a text that the list no longer reads");
            }
        }
    }

    /// Compares every list in the kernel's maps with the disk, and corrects the maps. Returns the lists that differed,
    /// and by how much.
    pub fn reconcile(&mut self) -> Vec<(String, Result<Diff<u64>, Error>)> {
        let known: Vec<(String, u32)> = self
            .lists
            .iter()
            .filter(|(_, list)| list.snapshot.is_some())
            .map(|(name, list)| (name.clone(), list.stored.number))
            .collect();
        let reconciled = known
            .into_iter()
            .map(|(name, number)| {
                let change = self.reconcile_one(&name, number);
                (name, change)
            })
            .filter(|(_, change)| !matches!(change, Ok(change) if *change == Diff::default()))
            .collect();
        memory::release();
        reconciled
    }

    fn reconcile_one(&mut self, name: &str, number: u32) -> Result<Diff<u64>, Error> {
        let path = self.snapshot(name);
        let entries = match snapshot::read(&path) {
            Ok(Some(entries)) => entries,
            // This `AccessLists` put the entries in force, so they can be written to disk again.
            Ok(None) => return self.keep_again(name).map(|()| Diff::default()),
            Err(store::Error::Damaged { why, .. }) => {
                store::set_aside(Kind::Entries, &path, &why);
                return self.keep_again(name).map(|()| Diff::default());
            }
            Err(error) => return Err(error.into()),
        };
        let apply = |source| Error::Apply {
            list: name.to_owned(),
            source,
        };
        let plan = access::Plan::new(&self.maps(), number, &entries, Others::Go).map_err(apply)?;
        let change = plan.change();
        if change != Diff::default() {
            plan.apply(&mut self.maps_mut(), &entries, Others::Go)
                .map_err(apply)?;
        }
        Ok(change)
    }

    /// A copy of the state, for readers while a change goes on.
    pub fn facts(&self) -> ListFacts {
        ListFacts {
            maps: Arc::clone(&self.maps),
            lists: self.lists.iter().map(facts::describe).collect(),
        }
    }

    /// A number for the state of each list, which every change of the list replaces.
    pub fn versions(&self) -> BTreeMap<String, u64> {
        let lists = self.lists.iter();
        lists
            .map(|(name, list)| (name.clone(), list.version))
            .collect()
    }

    fn maps(&self) -> RwLockReadGuard<'_, Maps> {
        facts::reading(&self.maps)
    }

    fn maps_mut(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, name: &str) -> Result<&List, Error> {
        let known = self.lists.get(name);
        known.ok_or_else(|| Error::unknown(name, self.lists.keys().map(String::as_str)))
    }

    fn read(&self, name: &str, number: u32) -> Result<Entries, Error> {
        access::read(&self.maps(), number).map_err(|source| Error::Apply {
            list: name.into(),
            source,
        })
    }

    /// To be called when another `AccessLists` has changed the lists: disk and kernel may no longer hold what this one left there.
    pub fn distrust(&mut self) -> Result<(), Error> {
        for list in self.lists.values_mut() {
            list.snapshot = None;
            list.version = version();
        }
        self.recount()
    }

    fn recount(&mut self) -> Result<(), Error> {
        let maps = Arc::clone(&self.maps);
        for (name, list) in &mut self.lists {
            let held = access::read(&facts::reading(&maps), list.stored.number);
            list.count = held
                .map_err(|source| Error::Apply {
                    list: name.clone(),
                    source,
                })?
                .count();
        }
        memory::release();
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        paths::list(&self.home, name)
    }

    fn snapshot(&self, name: &str) -> PathBuf {
        paths::list_entries(&self.home, name)
    }

    /// A path for standard input that no source of the list names, so that the text in use stays until the change is made.
    fn free_text(&self, name: &str, stored: &Stored) -> PathBuf {
        let text = |number: usize| paths::list_text(&self.home, name, number);
        let mut number = 0;
        while stored.reads(&text(number)) {
            number += 1;
        }
        text(number)
    }

    /// The files with kept standard input of a list.
    fn texts(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let start = format!("{name}.");
        let entries = std::fs::read_dir(&self.home)
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter(move |entry| {
                let file_name = entry.file_name();
                let name = file_name.to_string_lossy();
                name.starts_with(&start) && name.ends_with(".stdin")
            })
            .map(|entry| entry.path())
    }
}

fn home(config: &Config) -> PathBuf {
    paths::lists(&config.node.state)
}
