//! One change of lists, from the request to the kernel: everything that can fail comes before the first thing that is
//! seen, and the disk comes before the kernel.

use super::{
    Error, Keeper, List,
    expand::{self, Expanded, Names, Stdin},
    snapshot,
    stored::Stored,
};
use crate::{
    access::{self, Entries, Others, Plan},
    api::{Edit, How, SHOWN, Sync, Synced, Target},
    hostlist::{self, Cap},
    slurm,
    store::{self, Pending},
};

/// A change that is ready: nothing can fail any more but the kernel having no room.
struct Ready {
    name: String,
    stored: Stored,
    expanded: Expanded,
    /// Whether the expanded entries are all of the list, or more of it.
    others: Others,
    /// What the list's sources took of the cap.
    used: u64,
    plan: Plan,
    /// `None` in a dry run.
    kept: Option<Kept>,
}

/// What is on disk before the kernel changes.
struct Kept {
    snapshot: snapshot::Update,
    /// In the order in which they are put in place: what is referred to comes before what refers to it.
    files: Vec<Pending>,
}

impl Keeper {
    /// Applies the edits of lists, all or none; edits of backends are not ours.
    pub async fn sync(&mut self, sync: &Sync) -> Result<Vec<Synced>, Error> {
        let slurm = self.slurm()?;
        let mut ready: Vec<Ready> = Vec::new();
        for edit in &sync.edits {
            if let Target::List(name) = &edit.target {
                if ready.iter().any(|change| change.name == *name) {
                    return Err(Error::Twice { list: name.clone() });
                }
                ready.push(self.prepare(name, edit, sync, &slurm).await?);
            }
        }
        if sync.dry_run {
            return Ok(ready.iter().map(|change| self.shown(change)).collect());
        }
        self.apply(ready)
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
        let others = self.others(name, edit, sync);
        let (given, used) = match others {
            Others::Stay => (edit.sources.len(), self.known(name)?.used),
            Others::Go => (stored.steps.len(), 0),
        };
        let steps = &stored.steps[stored.steps.len().saturating_sub(given)..];
        let mut cap = Cap::after(self.cap, used);
        let sources = |source| Error::Sources {
            list: name.into(),
            source,
        };
        let runs = expand::read(steps, &mut cap, stdin).map_err(sources)?;
        let apply = |source| Error::Apply {
            list: name.into(),
            source,
        };
        let none = Names::new();
        let old = if sync.prune { &none } else { &stored.names };
        let expanded = expand::resolve(runs, old, &self.how, slurm).await;
        let expanded = expanded.map_err(|source| apply(source.into()))?;
        stored.learn(&expanded, others);
        let plan =
            Plan::new(&self.maps, stored.number, &expanded.entries, others).map_err(apply)?;
        let mut ready = Ready {
            name: name.into(),
            stored,
            expanded,
            others,
            used: cap.used(),
            plan,
            kept: None,
        };
        if !sync.dry_run {
            ready.kept = Some(self.keep(&mut ready, stdin)?);
        }
        Ok(ready)
    }

    /// What is added is the last word on its addresses and touches no others: those stay, and the sources they came
    /// from, which are read at the interval, are not read. Only when it is known what they came from.
    fn others(&self, name: &str, edit: &Edit, sync: &Sync) -> Others {
        let known = self.lists.get(name).and_then(|list| list.snapshot);
        if edit.how == How::Add && !sync.prune && known.is_some() {
            Others::Stay
        } else {
            Others::Go
        }
    }

    fn keep(&self, ready: &mut Ready, stdin: Option<Stdin<'_>>) -> Result<Kept, Error> {
        let Ready { name, stored, .. } = &*ready;
        let list = name.clone();
        let keep = |source| Error::Keep {
            list: list.clone(),
            source,
        };
        let mut files = Vec::new();
        if let Some(Stdin { file, text }) = stdin {
            files.push(Pending::write(file, text.as_bytes()).map_err(keep)?);
        }
        let before = self.known(name)?;
        if before.snapshot.is_none() || !before.stored.says_the_same(stored) {
            files.push(Pending::json(&self.file(name), stored).map_err(keep)?);
        }
        let path = self.snapshot(name);
        let appended = match before.snapshot {
            Some(last) => snapshot::Update::append(&path, last, &ready.plan).map_err(keep)?,
            None => None,
        };
        let snapshot = match (appended, ready.others) {
            (Some(appended), _) => appended,
            (None, Others::Go) => {
                snapshot::Update::whole(&path, &mut ready.expanded.entries).map_err(keep)?
            }
            (None, Others::Stay) => {
                let mut all = self.read(name, stored.number)?;
                all.extend(ready.expanded.entries.clone());
                snapshot::Update::whole(&path, &mut all).map_err(keep)?
            }
        };
        Ok(Kept { snapshot, files })
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
            match change.plan.apply(&mut self.maps, &change.expanded.entries) {
                Ok(()) => done.push(change),
                Err(source) => {
                    self.put_back(&before);
                    return Err(Error::Apply { list, source });
                }
            }
        }
        done.into_iter().map(|change| self.finish(change)).collect()
    }

    /// What was in force fitted, so it fits again.
    fn put_back(&mut self, before: &[(u32, Entries)]) {
        for (number, entries) in before {
            if let Err(error) = access::replace(&mut self.maps, *number, entries) {
                tracing::error!(%error, number, "put a list back after a failed change");
            }
        }
    }

    fn finish(&mut self, change: Ready) -> Result<Synced, Error> {
        let synced = self.synced(&change);
        let Ready {
            name,
            stored,
            used,
            kept,
            ..
        } = change;
        let mut list = List {
            count: synced.count,
            used,
            ..List::default()
        };
        if let Some(Kept { snapshot, files }) = kept {
            list.snapshot = Some(snapshot.commit()?);
            files.into_iter().try_for_each(Pending::commit)?;
        }
        for text in self.texts(&name).filter(|text| !stored.reads(text)) {
            std::fs::remove_file(&text)
                .map_err(|source| store::Error::Write { path: text, source })?;
        }
        list.stored = stored;
        self.lists.insert(name, list);
        Ok(synced)
    }

    fn shown(&self, change: &Ready) -> Synced {
        let lines = |entries: &Entries| entries.lines().take(SHOWN).collect();
        let [added, removed] = change.plan.difference();
        Synced {
            added: lines(&added),
            removed: lines(&removed),
            ..self.synced(change)
        }
    }

    fn synced(&self, ready: &Ready) -> Synced {
        let change = ready.plan.change();
        let before = self.lists.get(&ready.name).map_or(0, |list| list.count);
        Synced {
            target: Target::List(ready.name.clone()),
            change,
            count: (before + change.added).saturating_sub(change.removed),
            added: Vec::new(),
            removed: Vec::new(),
            unresolved: ready.expanded.unresolved().collect(),
            kept: ready.expanded.kept.clone(),
        }
    }
}
