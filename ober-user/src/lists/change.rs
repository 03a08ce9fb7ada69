//! One change of lists, from the request to the kernel: everything that can fail comes before the first thing that is
//! seen, and the disk comes before the kernel.

use std::io::Read as _;

use super::{
    Error, Keeper, List,
    expand::{self, Expanded, Names, Text},
    retold, snapshot,
    stored::Stored,
};
use crate::{
    access::{self, Entries, Plan},
    api::{Edit, How, SHOWN, Sync, Synced, Target},
    file,
    hostlist::{self, Cap},
    slurm,
    store::{self, Pending},
};

/// A change that is ready: nothing can fail any more but the kernel having no room.
struct Ready {
    name: String,
    stored: Stored,
    expanded: Expanded,
    /// What the only source says, when it may be worth to remember.
    text: Option<Vec<u8>>,
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

/// What resolving every list again would make of it. Nothing is changed yet.
pub struct Foreseen {
    ready: Vec<Ready>,
    errors: Vec<(String, Error)>,
    synced: Vec<Synced>,
}

impl Foreseen {
    /// Every list that can be changed, with the difference.
    pub fn synced(&self) -> &[Synced] {
        &self.synced
    }

    /// The lists that keep what they have, and why.
    pub fn failures(&self) -> std::collections::BTreeMap<String, String> {
        let failures = self.errors.iter();
        failures
            .map(|(name, error)| (name.clone(), error.to_string()))
            .collect()
    }
}

impl Keeper {
    /// Resolves every list again. Lists fail alone.
    pub async fn foresee(&self) -> Foreseen {
        let mut foreseen = Foreseen {
            ready: Vec::new(),
            errors: Vec::new(),
            synced: Vec::new(),
        };
        let sync = Sync {
            dry_run: true,
            ..Sync::default()
        };
        for name in self.lists.keys() {
            let edit = Edit {
                target: Target::List(name.clone()),
                how: How::Refresh,
                sources: Vec::new(),
                stdin: None,
            };
            let ready = match self.slurm() {
                Ok(slurm) => self.prepare(name, &edit, &sync, &slurm).await,
                Err(error) => Err(error),
            };
            match ready {
                Ok(ready) => {
                    foreseen.synced.push(self.shown(&ready));
                    foreseen.ready.push(ready);
                }
                Err(error) => foreseen.errors.push((name.clone(), error)),
            }
        }
        foreseen
    }

    /// Puts in force what was foreseen. What fails keeps what it had.
    pub fn put(&mut self, foreseen: Foreseen) -> Vec<Error> {
        let mut errors = foreseen.errors;
        for mut ready in foreseen.ready {
            let name = ready.name.clone();
            let done = self.keep(&mut ready, None).and_then(|kept| {
                ready.kept = Some(kept);
                self.apply(vec![ready])
            });
            match done {
                Ok(_) => drop(self.lists.get_mut(&name).map(|list| list.error = None)),
                Err(error) => errors.push((name, error)),
            }
        }
        for (name, error) in &errors {
            if let Some(list) = self.lists.get_mut(name) {
                list.error = Some(error.to_string());
            }
        }
        errors.into_iter().map(|(_, error)| error).collect()
    }

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
        let stdin = edit.stdin.as_deref().map(|text| Text {
            file: &file,
            bytes: text.as_bytes(),
        });
        stored.edit(edit, &file);
        let text = only_text(&stored, stdin);
        let retold = text
            .as_deref()
            .and_then(|text| self.retold(name, edit, text));
        let expanded = if let Some(retold) = retold {
            retold
        } else {
            let only = stored.only_file().zip(text.as_deref());
            let only = only.map(|(file, bytes)| Text { file, bytes });
            let change = (edit, sync, only.or(stdin));
            self.expand(name, &stored, change, slurm).await?
        };
        stored.learn(&expanded);
        let plan = Plan::new(
            &self.maps,
            stored.number,
            &expanded.entries,
            expanded.others(),
        );
        let plan = plan.map_err(|source| Error::Apply {
            list: name.into(),
            source,
        })?;
        let mut ready = Ready {
            name: name.into(),
            text: text.filter(|text| expanded.is_plain() && retold::plain(text)),
            stored,
            expanded,
            plan,
            kept: None,
        };
        if !sync.dry_run {
            ready.kept = Some(self.keep(&mut ready, stdin)?);
        }
        Ok(ready)
    }

    /// The list after its only source says something else, when only a little differs from what it said.
    fn retold(&self, name: &str, edit: &Edit, text: &[u8]) -> Option<Expanded> {
        let known = self
            .lists
            .get(name)
            .filter(|list| list.snapshot.is_some())?;
        let before = known.text.as_deref().filter(|_| edit.how == How::Replace)?;
        let retold = retold::retold(before, text)?;
        let [went, came] = retold.lines;
        let used = known.used.checked_sub(went)? + came;
        (used <= self.cap as u64).then(|| Expanded {
            entries: retold.added,
            gone: Some(retold.removed),
            used,
            ..Expanded::default()
        })
    }

    /// What the sources say. What is added is the last word on its addresses and touches no others: when it is known
    /// that the list is what its sources said, those are not read.
    async fn expand(
        &self,
        name: &str,
        stored: &Stored,
        (edit, sync, text): (&Edit, &Sync, Option<Text<'_>>),
        slurm: &slurm::NodeAddrs,
    ) -> Result<Expanded, Error> {
        let known = self.known(name)?;
        let more = edit.how == How::Add && !sync.prune && known.snapshot.is_some();
        let (count, used) = if more {
            (edit.sources.len(), known.used)
        } else {
            (stored.steps.len(), 0)
        };
        let steps = &stored.steps[stored.steps.len().saturating_sub(count)..];
        let mut cap = Cap::after(self.cap, used);
        let runs = expand::read(steps, &mut cap, text).map_err(|source| Error::Sources {
            list: name.into(),
            source,
        })?;
        let none = Names::new();
        let old = if sync.prune { &none } else { &stored.names };
        let expanded = expand::resolve(runs, old, &self.how, slurm).await;
        let expanded = expanded.map_err(|source| Error::Apply {
            list: name.into(),
            source: source.into(),
        })?;
        Ok(Expanded {
            gone: more.then(Vec::new),
            used: cap.used(),
            ..expanded
        })
    }

    fn keep(&self, ready: &mut Ready, stdin: Option<Text<'_>>) -> Result<Kept, Error> {
        let Ready { name, stored, .. } = &*ready;
        let list = name.clone();
        let keep = |source| Error::Keep {
            list: list.clone(),
            source,
        };
        let mut files = Vec::new();
        if let Some(Text { file, bytes }) = stdin {
            files.push(Pending::write(file, bytes).map_err(keep)?);
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
        let whole = |all: &mut Entries| snapshot::Update::whole(&path, all).map_err(keep);
        let snapshot = match (appended, &ready.expanded.gone) {
            (Some(appended), _) => appended,
            (None, None) => whole(&mut ready.expanded.entries)?,
            (None, Some(gone)) => {
                let gone = Entries {
                    v4: gone.clone(),
                    ..Entries::default()
                };
                let mut all = self.read(name, stored.number)?.without(&gone);
                all.extend(ready.expanded.entries.clone());
                whole(&mut all)?
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
            let Expanded { entries, .. } = &change.expanded;
            let others = change.expanded.others();
            match change.plan.apply(&mut self.maps, entries, others) {
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
            expanded,
            text,
            kept,
            ..
        } = change;
        let mut list = List {
            count: synced.count,
            used: expanded.used,
            text,
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

/// What the only source says when it is one file, and not too long to be remembered. What cannot be read is left to who
/// reads all sources.
fn only_text(stored: &Stored, stdin: Option<Text<'_>>) -> Option<Vec<u8>> {
    let path = stored.only_file()?;
    let mut bytes = Vec::new();
    if let Some(Text { bytes: given, .. }) = stdin.filter(|text| text.file == path) {
        bytes.extend_from_slice(given);
    } else {
        let file = file::open(path, file::Kind::List).ok()?;
        let most = retold::LONGEST as u64 + 1;
        // In one piece: a text that grows while it is read is copied again and again.
        let length = file.metadata().ok()?.len().min(most);
        bytes.reserve_exact(usize::try_from(length).ok()? + 1);
        file.take(most).read_to_end(&mut bytes).ok()?;
    }
    (bytes.len() <= retold::LONGEST).then_some(bytes)
}
