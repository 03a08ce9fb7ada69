//! One change of lists, from the request to the kernel: everything that can fail comes before the first thing that is
//! seen, and the disk comes before the kernel.

use super::{
    Error, Keeper, List,
    expand::{self, Expanded, Names, Stdin},
    now, release_memory, snapshot,
    stored::Stored,
};
use crate::{
    access::{self, Change, Entries},
    api::{Edit, SHOWN, Sync, Synced, Target},
    hostlist, slurm,
    store::{self, Pending},
};

/// A change that is ready: nothing can fail any more but the kernel having no room.
struct Ready {
    name: String,
    stored: Stored,
    expanded: Expanded,
    /// In the order in which they are put in place: what is referred to comes before what refers to it.
    files: Vec<Pending>,
}

impl Keeper {
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
        release_memory();
        done
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
        let file = self.free_text(name, &stored);
        let stdin = edit.stdin.as_deref();
        let stdin = stdin.map(|text| Stdin { file: &file, text });
        stored.edit(edit, &file);
        let expanded = self.expand(name, &stored, stdin, sync, slurm).await?;
        stored.names.clone_from(&expanded.names);
        stored.unresolved = expanded
            .resolution
            .failed
            .iter()
            .map(|(name, why)| (name.clone(), why.to_string()))
            .collect();
        stored.synced = Some(now());
        let files = if sync.dry_run {
            Vec::new()
        } else {
            self.write(name, &stored, &expanded.entries, stdin)?
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
        stdin: Option<Stdin<'_>>,
        sync: &Sync,
        slurm: &slurm::NodeAddrs,
    ) -> Result<Expanded, Error> {
        let sources = |source| Error::Sources {
            list: name.into(),
            source,
        };
        let runs = expand::read(&stored.steps, self.cap, stdin).map_err(sources)?;
        let none = Names::new();
        let old = if sync.prune { &none } else { &stored.names };
        let expanded = expand::resolve(runs, old, &self.how, slurm).await;
        expanded.map_err(|source| Error::Apply {
            list: name.into(),
            source: source.into(),
        })
    }

    fn write(
        &self,
        name: &str,
        stored: &Stored,
        entries: &Entries,
        stdin: Option<Stdin<'_>>,
    ) -> Result<Vec<Pending>, Error> {
        let keep = |source| Error::Keep {
            list: name.into(),
            source,
        };
        let mut files = Vec::new();
        if let Some(Stdin { file, text }) = stdin {
            files.push(Pending::write(file, text.as_bytes()).map_err(keep)?);
        }
        files.push(snapshot::write(&self.snapshot(name), entries).map_err(keep)?);
        files.push(Pending::json(&self.file(name), stored).map_err(keep)?);
        Ok(files)
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
        files.into_iter().try_for_each(Pending::commit)?;
        for text in self.texts(&name).filter(|text| !stored.reads(text)) {
            std::fs::remove_file(&text)
                .map_err(|source| store::Error::Write { path: text, source })?;
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
