//! One change of lists, from what was heard to the kernel: everything that can fail comes before the first thing that is
//! seen, and the disk comes before the kernel.

use std::{path::PathBuf, sync::Arc};

use super::{
    Draft, Error, Heard, Keeper, List,
    draft::{AllHeard, hear},
    expand::Expanded,
    snapshot,
    stored::Stored,
    version,
};
use crate::{
    access::{self, Entries, Plan},
    api::{SHOWN, Sync, Synced, Target},
    resolve::Answers,
    store::{self, Pending},
};

/// A change that is ready: nothing can fail any more but the kernel having no room.
struct Ready {
    name: String,
    stored: Stored,
    expanded: Expanded,
    /// What the only source says, when it may be worth to remember.
    text: Option<Arc<Vec<u8>>>,
    plan: Plan,
    /// The file for standard input, and what came by it.
    stdin: Option<(PathBuf, String)>,
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
    /// What putting this in force would do. Lists fail alone.
    pub fn foresee(&self, heard: AllHeard) -> Foreseen {
        let mut foreseen = Foreseen {
            ready: Vec::new(),
            errors: Vec::new(),
            synced: Vec::new(),
        };
        for (name, heard) in heard {
            let ready = heard.and_then(|heard| {
                let ready = heard.into_iter().map(|heard| self.ready(heard, true));
                ready.collect::<Result<Vec<_>, _>>()
            });
            match ready {
                Ok(ready) => {
                    let shown = ready.iter().map(|ready| self.shown(ready));
                    foreseen.synced.extend(shown);
                    foreseen.ready.extend(ready);
                }
                Err(error) => foreseen.errors.push((name, error)),
            }
        }
        foreseen
    }

    /// Makes the kernel hold what the sources say, each name with the addresses it had: nobody is asked.
    pub async fn recall(&mut self) -> Vec<Error> {
        let drafts = self.drafts().into_iter();
        let drafts = drafts.map(|(name, draft)| (name, draft.map(Draft::without_asking)));
        let heard = hear(drafts.collect(), &Answers::default()).await;
        let foreseen = self.foresee(heard);
        self.put(foreseen)
    }

    /// Puts in force what was foreseen. What fails keeps what it had.
    pub fn put(&mut self, foreseen: Foreseen) -> Vec<Error> {
        let mut errors = foreseen.errors;
        for mut ready in foreseen.ready {
            let name = ready.name.clone();
            let done = self.keep(&mut ready).and_then(|kept| {
                ready.kept = Some(kept);
                self.apply(vec![ready])
            });
            match done {
                Ok(_) => self.failed(&name, None),
                Err(error) => errors.push((name, error)),
            }
        }
        for (name, error) in &errors {
            self.failed(name, Some(error));
        }
        errors.into_iter().map(|(_, error)| error).collect()
    }

    /// Notes why a list could not be brought up to date, or that it is.
    pub fn failed(&mut self, name: &str, why: Option<&Error>) {
        if let Some(list) = self.lists.get_mut(name) {
            list.error = why.map(ToString::to_string);
        }
    }

    /// Puts in force what was heard, all or none; `None`: a list is not any more what it was heard of.
    pub fn settle(
        &mut self,
        heard: Vec<Heard>,
        dry_run: bool,
    ) -> Result<Option<Vec<Synced>>, Error> {
        for heard in &heard {
            if self.known(&heard.name)?.version != heard.version {
                return Ok(None);
            }
        }
        let ready = heard.into_iter().map(|heard| self.ready(heard, dry_run));
        let ready = ready.collect::<Result<Vec<_>, _>>()?;
        if dry_run {
            return Ok(Some(ready.iter().map(|it| self.shown(it)).collect()));
        }
        self.apply(ready).map(Some)
    }

    /// Applies the edits of lists, all or none, where nobody else changes them: when no daemon runs.
    pub async fn sync(&mut self, sync: &Sync) -> Result<Vec<Synced>, Error> {
        let answers = Answers::default();
        loop {
            let heard = self.draft(sync)?.read(&answers).await?;
            if let Some(synced) = self.settle(heard, sync.dry_run)? {
                return Ok(synced);
            }
        }
    }

    /// Compares what was heard with the kernel, and keeps it beside what is on disk unless it is only to be shown.
    fn ready(&self, heard: Heard, dry_run: bool) -> Result<Ready, Error> {
        let Heard {
            name,
            version: _,
            stored,
            expanded,
            text,
            stdin,
        } = heard;
        let plan = Plan::new(
            &self.maps(),
            stored.number,
            &expanded.entries,
            expanded.others(),
        );
        let plan = plan.map_err(|source| Error::Apply {
            list: name.clone(),
            source,
        })?;
        let mut ready = Ready {
            name,
            text: text.map(Arc::new),
            stored,
            expanded,
            plan,
            stdin,
            kept: None,
        };
        if !dry_run {
            ready.kept = Some(self.keep(&mut ready)?);
        }
        Ok(ready)
    }

    fn keep(&self, ready: &mut Ready) -> Result<Kept, Error> {
        let Ready {
            name,
            stored,
            stdin,
            ..
        } = &*ready;
        let list = name.clone();
        let keep = |source| Error::Keep {
            list: list.clone(),
            source,
        };
        let mut files = Vec::new();
        if let Some((file, text)) = stdin {
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
            let applied = change.plan.apply(&mut self.maps_mut(), entries, others);
            match applied {
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
            let restored = access::replace(&mut self.maps_mut(), *number, entries);
            if let Err(error) = restored {
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
            version: version(),
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
            unresolved: ready.expanded.names.unresolved.clone(),
            kept: ready.expanded.names.kept.clone(),
        }
    }
}
