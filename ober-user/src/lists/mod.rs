//! The keeper of the access lists: from sources (expressions as given) over names and addresses to the kernel, and
//! back to what is on disk. Used by the daemon, and by the `acl` commands when no daemon runs.
//!
//! ```text
//! sources -> hostlist -> names -> resolve -+-> Entries -> snapshot on disk -> kernel -> sources on disk
//!                     -> addresses --------+
//! draft.rs, which needs no keeper           | change.rs, which holds it
//! ```
//! Whoever keeps us waiting, a file, a name server, is waited for with a copy of the list ([`Draft`]), while others change it or
//! another. What was found out is put in force if the list is still the one it was found out for.
//!
//! The disk comes before the kernel: a list that cannot be kept is not applied. A small change is kept as a change
//! behind the snapshot.

mod change;
mod draft;
mod expand;
mod facts;
mod retold;
mod snapshot;
mod stored;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use ober_common::abi::LISTS;

pub use change::Foreseen;
pub use draft::{AllHeard, Draft, Heard, hear};
pub use facts::Facts;
use facts::SharedMaps;
use snapshot::Snapshot;
use stored::{Stored, free_number, read_all};

use crate::{
    access::{self, Change, Entries, Others},
    config::Config,
    dataplane::{Error as MapError, Maps},
    hostlist, store,
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
    /// What its sources took of the cap when all were read, and what was added since.
    used: u64,
    error: Option<String>,
    /// `None`: nobody knows whether what is on disk is what the kernel holds.
    snapshot: Option<Snapshot>,
    /// What its only source said, an IPv4 address a line; `None` when it is otherwise or not known.
    text: Option<Arc<Vec<u8>>>,
    /// Every change gives it another: what was found out about one state is nothing to another.
    version: u64,
}

/// A number that no state of a list has yet.
fn version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// All lists of an instance.
pub struct Keeper {
    maps: SharedMaps,
    home: PathBuf,
    how: crate::config::Resolve,
    cap: usize,
    lists: BTreeMap<String, List>,
    /// Numbers of lists the configuration no longer has.
    retired: Vec<(String, u32)>,
}

impl Keeper {
    /// Reads what is kept, for the maps pinned in `pins`. The kernel is not touched yet.
    pub fn open(config: &Config, pins: &Path) -> Result<Self, Error> {
        let home = config.node.state.join("lists");
        let mut kept = read_all(&home)?;
        let mut lists = BTreeMap::new();
        let mut taken: Vec<u32> = kept.values().map(|stored| stored.number).collect();
        for (name, list) in &config.lists {
            let stored = match kept.remove(name) {
                Some(stored) if stored.configured == list.sources => stored,
                kept => {
                    let number =
                        kept.map_or_else(|| free_number(name, &taken), |stored| Ok(stored.number))?;
                    Stored::configured(number, &list.sources)
                }
            };
            taken.push(stored.number);
            lists.insert(
                name.clone(),
                List {
                    stored,
                    version: version(),
                    ..List::default()
                },
            );
        }
        let retired = kept
            .into_iter()
            .map(|(name, stored)| (name, stored.number))
            .collect();
        let (how, cap) = (config.resolve.clone(), config.limits.expansion);
        let mut keeper = Self {
            maps: Arc::new(RwLock::new(Maps::open(pins)?)),
            home,
            how,
            cap,
            lists,
            retired,
        };
        keeper.recount()?;
        Ok(keeper)
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

    /// Fills fresh maps from the snapshots of the last run, so that nobody waits for the name service.
    pub fn restore(&mut self) -> Result<(), Error> {
        for (name, list) in &self.lists {
            let Some(entries) = snapshot::read(&self.snapshot(name))? else {
                continue;
            };
            let restored = access::replace(&mut self.maps_mut(), list.stored.number, &entries);
            restored.map_err(|source| Error::Apply {
                list: name.clone(),
                source,
            })?;
        }
        self.recount()
    }

    /// Empties the lists that the configuration no longer has. Call it once no service names them.
    pub fn sweep(&mut self) -> Result<(), Error> {
        for (name, number) in std::mem::take(&mut self.retired) {
            let emptied = access::replace(&mut self.maps_mut(), number, &Entries::default());
            emptied.map_err(|source| Error::Apply {
                list: name.clone(),
                source,
            })?;
            let texts = self.texts(&name).collect::<Vec<_>>();
            for file in [self.file(&name), self.snapshot(&name)]
                .into_iter()
                .chain(texts)
            {
                if file.exists() {
                    std::fs::remove_file(&file)
                        .map_err(|source| store::Error::Write { path: file, source })?;
                }
            }
        }
        Ok(())
    }

    /// Compares every list with what is kept on disk, and makes the kernel hold that again; says which differed, and by
    /// how much.
    pub fn mend(&mut self) -> Vec<(String, Result<Change, Error>)> {
        let known = self
            .lists
            .iter()
            .filter(|(_, list)| list.snapshot.is_some());
        let known: Vec<(String, u32)> = known
            .map(|(name, list)| (name.clone(), list.stored.number))
            .collect();
        let mended = known.into_iter().map(|(name, number)| {
            let change = self.mend_one(&name, number);
            (name, change)
        });
        let mended = mended
            .filter(|(_, change)| !matches!(change, Ok(change) if *change == Change::default()))
            .collect();
        release_memory();
        mended
    }

    fn mend_one(&mut self, name: &str, number: u32) -> Result<Change, Error> {
        let Some(entries) = snapshot::read(&self.snapshot(name))? else {
            return Ok(Change::default());
        };
        let apply = |source| Error::Apply {
            list: name.to_owned(),
            source,
        };
        let plan = access::Plan::new(&self.maps(), number, &entries, Others::Go).map_err(apply)?;
        let change = plan.change();
        if change != Change::default() {
            plan.apply(&mut self.maps_mut(), &entries, Others::Go)
                .map_err(apply)?;
        }
        Ok(change)
    }

    /// What is told of them while they are changed.
    pub fn facts(&self) -> Facts {
        Facts {
            maps: Arc::clone(&self.maps),
            lists: self.lists.iter().map(facts::describe).collect(),
        }
    }

    /// Which change of the lists this is: another number, another state of a list.
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

    /// Another keeper changed the lists: what is on disk and in the kernel is no longer what this one left there.
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
        release_memory();
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.json"))
    }

    fn snapshot(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.entries"))
    }

    /// A file for standard input that no source of the list is in: what is kept stays until the change is made.
    fn free_text(&self, name: &str, stored: &Stored) -> PathBuf {
        let text = |number: usize| self.home.join(format!("{name}.{number}.stdin"));
        let mut number = 0;
        while stored.reads(&text(number)) {
            number += 1;
        }
        text(number)
    }

    /// The files in which standard input for a list was kept.
    fn texts(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let start = format!("{name}.");
        let entries = std::fs::read_dir(&self.home)
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter(move |entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(&start) && name.ends_with(".stdin")
            })
            .map(|entry| entry.path())
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// Call it once, before threads start. Left alone, the allocator learns from the first million addresses to keep
/// blocks of their size for good, and does so once for every thread that ever had such a list.
pub fn keep_no_large_blocks() {
    const LARGE: libc::c_int = 256 << 10;
    // SAFETY: sets a parameter of the allocator; a refusal leaves its default, which only costs memory.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

/// A million addresses pass through this process now and then; their memory goes back to the machine. Call it when
/// nobody waits for an answer any more.
pub fn release_memory() {
    // SAFETY: only returns free memory of the allocator to the kernel.
    unsafe { libc::malloc_trim(0) };
}
