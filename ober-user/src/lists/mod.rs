//! The keeper of the access lists: from sources (expressions as given) over names and addresses to the kernel, and
//! back to what is on disk. Used by the daemon, and by the `acl` commands when no daemon runs.
//!
//! ```text
//! sources -> hostlist -> names -> resolve -+-> Entries -> snapshot on disk -> kernel -> sources on disk
//!                     -> addresses --------+
//! ```
//! The disk comes before the kernel: a list that cannot be kept is not applied.

mod expand;
mod snapshot;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use ober_common::abi::LISTS;
use serde::{Deserialize, Serialize};

use expand::Expanded;
pub use expand::Names;

use crate::{
    access::{self, Change, Entries},
    api::{Checked, Edit, How, ListEntries, SHOWN, Sync, Synced, Target},
    config::Config,
    dataplane::{Error as MapError, Maps},
    hostlist,
    resolve::Resolution,
    slurm, status,
    store::{self, Pending, read_json},
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("change list {list}: there is no such list; the configuration has {known}")]
    Unknown { list: String, known: String },
    #[error("change list {list}: {source}")]
    Sources {
        list: String,
        source: hostlist::Error,
    },
    #[error("read NodeAddr from Slurm's configuration: {source}")]
    Slurm { source: slurm::Error },
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

/// A list as it is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stored {
    /// Its number in the kernel, kept as long as the list exists.
    number: u32,
    /// The sources the configuration named when these were taken from it; when it names others, those win.
    configured: Vec<String>,
    sources: Vec<String>,
    except: Vec<String>,
    /// Addresses of every name when it last resolved.
    names: Names,
    unresolved: BTreeMap<String, String>,
    /// Seconds since 1970.
    synced: Option<u64>,
}

#[derive(Debug, Default)]
struct List {
    stored: Stored,
    count: u64,
    error: Option<String>,
}

/// All lists of an instance.
pub struct Keeper {
    maps: Maps,
    home: PathBuf,
    how: crate::config::Resolve,
    cap: usize,
    lists: BTreeMap<String, List>,
    /// Numbers of lists the configuration no longer has.
    retired: Vec<(String, u32)>,
}

/// A change that is ready: nothing can fail any more but the kernel having no room.
struct Ready {
    name: String,
    stored: Stored,
    expanded: Expanded,
    files: Option<(Pending, Pending)>,
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
                    let (configured, sources) = (list.sources.clone(), list.sources.clone());
                    Stored {
                        number,
                        configured,
                        sources,
                        ..Stored::default()
                    }
                }
            };
            taken.push(stored.number);
            lists.insert(
                name.clone(),
                List {
                    stored,
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
            maps: Maps::open(pins)?,
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
            access::replace(&mut self.maps, list.stored.number, &entries).map_err(|source| {
                Error::Apply {
                    list: name.clone(),
                    source,
                }
            })?;
        }
        self.recount()
    }

    /// Empties the lists that the configuration no longer has. Call it once no service names them.
    pub fn sweep(&mut self) -> Result<(), Error> {
        for (name, number) in std::mem::take(&mut self.retired) {
            access::replace(&mut self.maps, number, &Entries::default()).map_err(|source| {
                Error::Apply {
                    list: name.clone(),
                    source,
                }
            })?;
            for file in [self.file(&name), self.snapshot(&name)] {
                if file.exists() {
                    std::fs::remove_file(&file)
                        .map_err(|source| store::Error::Write { path: file, source })?;
                }
            }
        }
        Ok(())
    }

    /// Resolves every list again and applies what changed. Lists fail alone; each keeps what it had.
    pub async fn refresh(&mut self) -> Vec<Error> {
        let mut errors = Vec::new();
        for name in self.lists.keys().cloned().collect::<Vec<_>>() {
            let edit = Edit {
                target: Target::List(name.clone()),
                how: How::Refresh,
                sources: Vec::new(),
                stdin: None,
            };
            let sync = Sync {
                edits: vec![edit],
                ..Sync::default()
            };
            let error = self.sync(&sync).await.err();
            if let Some(list) = self.lists.get_mut(&name) {
                list.error = error.as_ref().map(ToString::to_string);
            }
            errors.extend(error);
        }
        errors
    }

    /// Applies the edits of lists, all or none; edits of backends are not ours.
    pub async fn sync(&mut self, sync: &Sync) -> Result<Vec<Synced>, Error> {
        let slurm = self.slurm()?;
        let mut ready = Vec::new();
        for edit in &sync.edits {
            if let Target::List(name) = &edit.target {
                ready.push(self.prepare(name, edit, sync, &slurm).await?);
            }
        }
        if sync.dry_run {
            return ready
                .iter()
                .map(|change| self.show_difference(change))
                .collect();
        }
        let done = tokio::task::block_in_place(|| self.apply(ready));
        // Nobody has to wait for it: it walks all of the heap.
        tokio::task::spawn_blocking(release_memory);
        done
    }

    /// The lists as the kernel holds them.
    pub fn show(&self, only: Option<&str>) -> Result<Vec<ListEntries>, Error> {
        if let Some(name) = only {
            self.known(name)?;
        }
        let chosen = self
            .lists
            .iter()
            .filter(|(name, _)| only.is_none_or(|only| only == *name));
        chosen
            .map(|(name, list)| {
                let entries = self.read(name, list.stored.number)?;
                Ok(ListEntries {
                    name: name.clone(),
                    sources: list.stored.sources.clone(),
                    except: list.stored.except.clone(),
                    count: entries.count(),
                    entries: entries.lines().collect(),
                })
            })
            .collect()
    }

    /// Which lists hold the address.
    pub fn check(&self, address: std::net::IpAddr) -> Result<Vec<Checked>, Error> {
        let check = |(name, list): (&String, &List)| {
            let listed = access::listed(&self.maps, list.stored.number, address.to_canonical())
                .map_err(|source| Error::Apply {
                    list: name.clone(),
                    source,
                })?;
            Ok(Checked {
                list: name.clone(),
                listed,
            })
        };
        self.lists.iter().map(check).collect()
    }

    pub fn status(&self) -> Vec<status::List> {
        let describe = |(name, list): (&String, &List)| status::List {
            name: name.clone(),
            number: list.stored.number,
            count: list.count,
            sources: list.stored.sources.clone(),
            except: list.stored.except.clone(),
            unresolved: list.stored.unresolved.clone(),
            synced: list.stored.synced,
            error: list.error.clone(),
        };
        self.lists.iter().map(describe).collect()
    }

    fn known(&self, name: &str) -> Result<&List, Error> {
        let known = || self.lists.keys().cloned().collect::<Vec<_>>().join(", ");
        self.lists.get(name).ok_or_else(|| Error::Unknown {
            list: name.into(),
            known: known(),
        })
    }

    fn slurm(&self) -> Result<slurm::NodeAddrs, Error> {
        let Some(path) = &self.how.slurm_conf else {
            return Ok(slurm::NodeAddrs::default());
        };
        slurm::NodeAddrs::read(path, hostlist::Cap::new(self.cap))
            .map_err(|source| Error::Slurm { source })
    }

    async fn prepare(
        &self,
        name: &str,
        edit: &Edit,
        sync: &Sync,
        slurm: &slurm::NodeAddrs,
    ) -> Result<Ready, Error> {
        let mut stored = self.known(name)?.stored.clone();
        let stdin = self.home.join(format!("{name}.stdin"));
        if let (Some(text), false) = (&edit.stdin, sync.dry_run) {
            let keep = |source| Error::Keep {
                list: name.into(),
                source,
            };
            Pending::write(&stdin, text.as_bytes())
                .and_then(Pending::commit)
                .map_err(keep)?;
        }
        stored.edit(edit, &stdin);
        let expanded = self.expand(name, &stored, edit, sync, slurm).await?;
        stored.names.clone_from(&expanded.names);
        stored.unresolved = expanded
            .resolution
            .failed
            .iter()
            .map(|(name, why)| (name.clone(), why.to_string()))
            .collect();
        stored.synced = Some(now());
        let files = if sync.dry_run {
            None
        } else {
            Some(self.write(name, &stored, &expanded.entries)?)
        };
        Ok(Ready {
            name: name.into(),
            stored,
            expanded,
            files,
        })
    }

    async fn expand(
        &self,
        name: &str,
        stored: &Stored,
        edit: &Edit,
        sync: &Sync,
        slurm: &slurm::NodeAddrs,
    ) -> Result<Expanded, Error> {
        // A dry run has not kept its standard input: it is read from the request.
        let stdin = edit.stdin.as_ref().filter(|_| sync.dry_run);
        let sources = |source| Error::Sources {
            list: name.into(),
            source,
        };
        let mut wanted = expand::read(&stored.sources, self.cap, stdin).map_err(sources)?;
        let except = expand::read(&stored.except, self.cap, stdin).map_err(sources)?;
        let old = if sync.prune {
            Names::new()
        } else {
            stored.names.clone()
        };
        let gone = except.resolve(&old, &self.how, slurm).await;
        wanted.names.retain(|name| !gone.names.contains_key(name));
        let mut expanded = wanted.resolve(&old, &self.how, slurm).await;
        let mixed = |source: access::Mixed| Error::Apply {
            list: name.into(),
            source: source.into(),
        };
        if !gone.entries.is_empty() {
            expanded.entries.remove(&gone.entries).map_err(mixed)?;
        }
        Ok(expanded)
    }

    fn write(
        &self,
        name: &str,
        stored: &Stored,
        entries: &Entries,
    ) -> Result<(Pending, Pending), Error> {
        let keep = |source| Error::Keep {
            list: name.into(),
            source,
        };
        let snapshot = snapshot::write(&self.snapshot(name), entries).map_err(keep)?;
        Ok((
            snapshot,
            Pending::json(&self.file(name), stored).map_err(keep)?,
        ))
    }

    fn apply(&mut self, ready: Vec<Ready>) -> Result<Vec<Synced>, Error> {
        let several = ready.len() > 1;
        let mut before = Vec::new();
        let mut done = Vec::new();
        for change in ready {
            let (list, number) = (change.name.clone(), change.stored.number);
            if several {
                before.push((number, self.read(&list, number)?));
            }
            match access::replace(&mut self.maps, number, &change.expanded.entries) {
                Ok(applied) => done.push((change, applied)),
                Err(source) => {
                    self.put_back(&before);
                    return Err(Error::Apply { list, source });
                }
            }
        }
        done.into_iter()
            .map(|(change, applied)| self.finish(change, applied))
            .collect()
    }

    /// What was in force fitted, so it fits again.
    fn put_back(&mut self, before: &[(u32, Entries)]) {
        for (number, entries) in before {
            if let Err(error) = access::replace(&mut self.maps, *number, entries) {
                tracing::error!(%error, number, "put a list back after a failed change");
            }
        }
    }

    fn finish(&mut self, change: Ready, applied: Change) -> Result<Synced, Error> {
        let synced = synced(&change, applied);
        let Ready {
            name,
            stored,
            expanded,
            files,
        } = change;
        if let Some((snapshot, file)) = files {
            snapshot.commit()?;
            file.commit()?;
        }
        let count = expanded.entries.count();
        self.lists.insert(
            name,
            List {
                stored,
                count,
                error: None,
            },
        );
        Ok(synced)
    }

    fn show_difference(&self, change: &Ready) -> Result<Synced, Error> {
        let apply = |source| Error::Apply {
            list: change.name.clone(),
            source,
        };
        let (added, removed) =
            access::difference(&self.maps, change.stored.number, &change.expanded.entries)
                .map_err(apply)?;
        let counts = Change {
            added: added.count(),
            removed: removed.count(),
        };
        let lines = |entries: &Entries| entries.lines().take(SHOWN).collect();
        Ok(Synced {
            added: lines(&added),
            removed: lines(&removed),
            ..synced(change, counts)
        })
    }

    fn read(&self, name: &str, number: u32) -> Result<Entries, Error> {
        access::read(&self.maps, number).map_err(|source| Error::Apply {
            list: name.into(),
            source,
        })
    }

    fn recount(&mut self) -> Result<(), Error> {
        for (name, list) in &mut self.lists {
            let held = access::read(&self.maps, list.stored.number);
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
}

impl Stored {
    /// What the edit makes of sources and exceptions. `-` becomes the file it was kept in.
    fn edit(&mut self, edit: &Edit, stdin: &Path) {
        let given = |source: &String| {
            if source == "-" {
                format!("@{}", stdin.display())
            } else {
                source.clone()
            }
        };
        let given: Vec<String> = edit.sources.iter().map(given).collect();
        match edit.how {
            How::Refresh => {}
            How::Replace => {
                self.sources = given;
                self.except.clear();
            }
            How::Add => {
                self.except.retain(|source| !given.contains(source));
                self.sources.retain(|source| !given.contains(source));
                self.sources.extend(given);
            }
            How::Remove => {
                self.except.retain(|source| !given.contains(source));
                let (named, other) = given
                    .into_iter()
                    .partition::<Vec<_>, _>(|source| self.sources.contains(source));
                self.sources.retain(|source| !named.contains(source));
                self.except.extend(other);
            }
        }
    }
}

fn synced(change: &Ready, counts: Change) -> Synced {
    Synced {
        target: Target::List(change.name.clone()),
        change: counts,
        count: change.expanded.entries.count(),
        added: Vec::new(),
        removed: Vec::new(),
        unresolved: change.stored.unresolved.clone(),
        kept: change.expanded.kept.clone(),
    }
}

fn read_all(home: &Path) -> Result<BTreeMap<String, Stored>, Error> {
    let mut all = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(home) else {
        return Ok(all);
    };
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some("json".as_ref()))
    {
        if let (Some(name), Some(stored)) = (path.file_stem(), read_json(&path)?) {
            all.insert(name.to_string_lossy().into_owned(), stored);
        }
    }
    Ok(all)
}

fn free_number(list: &str, taken: &[u32]) -> Result<u32, Error> {
    (0..LISTS)
        .find(|number| !taken.contains(number))
        .ok_or_else(|| Error::TooMany { list: list.into() })
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
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

/// A million addresses pass through this process now and then; their memory goes back to the machine.
fn release_memory() {
    // SAFETY: only returns free memory of the allocator to the kernel.
    unsafe { libc::malloc_trim(0) };
}

impl Expanded {
    /// Nothing resolved, nothing failed.
    fn resolved(entries: Entries) -> Self {
        Self {
            entries,
            names: Names::new(),
            resolution: Resolution::default(),
            kept: Vec::new(),
        }
    }
}
