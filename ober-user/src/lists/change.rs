//! Puts one change of lists in force. All that can fail is done before the first visible effect, and the disk is
//! written before the kernel's maps.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{
    AccessLists, Draft, Error, Heard, List,
    draft::{AllHeard, hear},
    expand::Expanded,
    snapshot::{self, Snapshot},
    stored::Stored,
    version,
};
use crate::{
    dataplane::access::{self, Diff, Plan},
    lists::edit::{How, SHOWN, Sync, Synced, Target},
    names::{entries::Entries, resolve::Answers},
    system::store::{self, Appended, Batch, Kind, Pending, Placed},
};

/// A change that is ready. It can fail only on disk or for lack of room in the kernel's maps.
struct Ready {
    name: String,
    stored: Stored,
    expanded: Expanded,
    /// The text of the only source, if it may be kept for comparison.
    text: Option<Arc<Vec<u8>>>,
    plan: Plan,
    /// The file in which standard input is kept, and its text.
    stdin: Option<(PathBuf, String)>,
    /// `None` in a dry run, and when it cannot be written to disk.
    kept: Option<Kept>,
    /// It only takes clients off the list, by an operator's order: it is applied even when it cannot be written to disk.
    urgent: bool,
    /// Why it is not on disk.
    unkept: Option<String>,
}

/// The files to be on disk before the kernel's maps change.
struct Kept {
    snapshot: snapshot::Update,
    /// In the order in which they are put in place: a file comes before those that refer to it.
    files: Batch,
}

/// Changes that are on disk and not yet in the kernel's maps. When it is dropped, the disk is put back as it was.
struct OnDisk {
    placed: Placed,
    appended: Vec<Appended>,
    snapshots: BTreeMap<String, Snapshot>,
}

impl OnDisk {
    /// Puts all files of all lists in place, or none.
    fn put(ready: &mut [Ready]) -> Result<Self, store::Error> {
        let (mut batch, mut appended) = (Batch::default(), Vec::new());
        let mut snapshots = BTreeMap::new();
        for change in ready {
            let Some(Kept { snapshot, files }) = change.kept.take() else {
                continue;
            };
            let (snapshot, behind) = snapshot.join(&mut batch);
            batch.extend(files);
            appended.extend(behind);
            snapshots.insert(change.name.clone(), snapshot);
        }
        Ok(Self {
            placed: batch.place()?,
            appended,
            snapshots,
        })
    }

    fn keep(self) -> BTreeMap<String, Snapshot> {
        self.placed.keep();
        self.appended.into_iter().for_each(Appended::commit);
        self.snapshots
    }
}

/// The changes that resolving every list again would make. Nothing is changed yet.
pub struct Preview {
    ready: Vec<Ready>,
    errors: Vec<(String, Error)>,
    synced: Vec<Synced>,
}

impl Preview {
    /// Every list that can be changed, with the difference.
    pub fn synced(&self) -> &[Synced] {
        &self.synced
    }

    /// The lists that cannot be changed, and why.
    pub fn failures(&self) -> std::collections::BTreeMap<String, String> {
        let failures = self.errors.iter();
        failures
            .map(|(name, error)| (name.clone(), error.to_string()))
            .collect()
    }
}

impl AccessLists {
    /// The changes that these results would make. A list that fails does not affect the others.
    pub fn preview(&self, heard: AllHeard) -> Preview {
        let mut preview = Preview {
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
                    preview.synced.extend(shown);
                    preview.ready.extend(ready);
                }
                Err(error) => preview.errors.push((name, error)),
            }
        }
        preview
    }

    /// Reads the sources again, gives each name the addresses it had without asking a name server, and changes the
    /// kernel's maps.
    pub async fn recall(&mut self) -> Vec<Error> {
        let drafts = self
            .drafts()
            .into_iter()
            .map(|(name, draft)| (name, draft.map(Draft::without_asking)));
        let heard = hear(drafts.collect(), &Answers::default()).await;
        let preview = self.preview(heard);
        self.put(preview)
    }

    /// Puts the changes of a preview in force. A list that fails keeps its entries. Texts of standard input that lists no
    /// longer read stay until [`AccessLists::sweep`].
    pub fn put(&mut self, preview: Preview) -> Vec<Error> {
        let mut errors = preview.errors;
        for mut ready in preview.ready {
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

    /// Notes why a list could not be brought up to date, or `None` when it is.
    pub fn failed(&mut self, name: &str, why: Option<&Error>) {
        if let Some(list) = self.lists.get_mut(name) {
            list.error = why.map(ToString::to_string);
        }
    }

    /// Are all of these lists unchanged since the results were computed?
    pub fn suits(&self, heard: &[Heard]) -> bool {
        heard.iter().all(|heard| {
            let list = self.lists.get(&heard.name);
            list.is_some_and(|list| list.version == heard.version)
        })
    }

    /// Puts the results in force, all or none. `None`: a list has changed since they were computed.
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
        let ready = heard
            .into_iter()
            .map(|heard| self.ready(heard, dry_run))
            .collect::<Result<Vec<_>, _>>()?;
        if dry_run {
            return Ok(Some(ready.iter().map(|it| self.shown(it)).collect()));
        }
        let synced = self.apply(ready)?;
        for Synced { target, .. } in &synced {
            if let Target::List(name) = target {
                self.drop_texts(name);
            }
        }
        Ok(Some(synced))
    }

    /// Applies the edits of lists, all or none. For commands that run without a daemon.
    pub async fn sync(&mut self, sync: &Sync) -> Result<Vec<Synced>, Error> {
        let answers = Answers::default();
        loop {
            let heard = self.draft(sync)?.read(&answers).await?;
            if let Some(synced) = self.settle(heard, sync.dry_run)? {
                return Ok(synced);
            }
        }
    }

    /// Compares a result with the kernel's maps, and writes its files beside those in use, except in a dry run.
    fn ready(&self, heard: Heard, dry_run: bool) -> Result<Ready, Error> {
        let Heard {
            name,
            version: _,
            how,
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
            urgent: stdin.is_none() && is_urgent(how, &plan),
            plan,
            stdin,
            kept: None,
            unkept: None,
        };
        if !dry_run {
            match self.keep(&mut ready) {
                Ok(kept) => ready.kept = Some(kept),
                Err(Error::Keep { source, .. }) if ready.urgent => {
                    ready.unkept = Some(source.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ready)
    }

    /// Writes a change beside the files in use, unless the disk holds it already: then it does not matter whether the
    /// disk can be written to.
    fn keep(&self, ready: &mut Ready) -> Result<Kept, Error> {
        let known = self.known(&ready.name)?.snapshot.is_some();
        if !known && let Some(kept) = self.there(ready) {
            return Ok(kept);
        }
        self.write(ready)
            .or_else(|error| self.there(ready).ok_or(error))
    }

    /// The files on disk, if they hold the change already. After a start or a reload this `AccessLists` does not know that yet.
    fn there(&self, ready: &Ready) -> Option<Kept> {
        let Ready {
            name,
            stored,
            expanded,
            stdin,
            ..
        } = ready;
        let kept: Stored = store::read_json(&self.file(name)).ok().flatten()?;
        if stdin.is_some() || expanded.gone.is_some() || !kept.says_the_same(stored) {
            return None;
        }
        let mut entries = expanded.entries.clone();
        entries.settle();
        let snapshot = snapshot::Update::there(&self.snapshot(name), &entries);
        Some(Kept {
            snapshot: snapshot.ok().flatten()?,
            files: Batch::default(),
        })
    }

    fn write(&self, ready: &mut Ready) -> Result<Kept, Error> {
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
        let mut files = Batch::default();
        if let Some((file, text)) = stdin {
            files.push(Pending::write(Kind::ListText, file, text.as_bytes()).map_err(keep)?);
        }
        let before = self.known(name)?;
        if before.snapshot.is_none() || !before.stored.says_the_same(stored) {
            files.push(Pending::json(Kind::List, &self.file(name), stored).map_err(keep)?);
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

    /// Changes the disk, then the kernel's maps. A failure in either leaves both as they were, for all lists.
    fn apply(&mut self, mut ready: Vec<Ready>) -> Result<Vec<Synced>, Error> {
        let on_disk = match OnDisk::put(&mut ready) {
            Ok(on_disk) => Some(on_disk),
            Err(source) if ready.iter().all(|change| change.urgent) => {
                for change in &mut ready {
                    change.unkept = Some(source.to_string());
                }
                None
            }
            Err(source) => {
                let names: Vec<&str> = ready.iter().map(|change| &*change.name).collect();
                let list = names.join(", ");
                return Err(Error::Keep { list, source });
            }
        };
        self.put_in_kernel(&ready)?;
        let mut snapshots = on_disk.map(OnDisk::keep).unwrap_or_default();
        let done = ready.into_iter().map(|change| {
            let snapshot = snapshots.remove(&change.name);
            self.finish(change, snapshot)
        });
        Ok(done.collect())
    }

    fn put_in_kernel(&mut self, ready: &[Ready]) -> Result<(), Error> {
        let mut before = Vec::new();
        for change in ready {
            let (list, number) = (change.name.clone(), change.stored.number);
            if ready.len() > 1 {
                before.push((number, self.read(&list, number)?));
            }
            let Expanded { entries, .. } = &change.expanded;
            let others = change.expanded.others();
            let applied = change.plan.apply(&mut self.maps_mut(), entries, others);
            if let Err(source) = applied {
                self.put_back(&before);
                return Err(Error::Apply { list, source });
            }
        }
        Ok(())
    }

    /// Puts entries back after a failure. There was room for them before, so there is again.
    fn put_back(&mut self, before: &[(u32, Entries)]) {
        for (number, entries) in before {
            let restored = access::replace(&mut self.maps_mut(), *number, entries);
            if let Err(error) = restored {
                tracing::error!(%error, number, "put a list back after a failed change");
            }
        }
    }

    fn finish(&mut self, change: Ready, snapshot: Option<Snapshot>) -> Synced {
        let synced = self.synced(&change);
        let Ready {
            name,
            stored,
            expanded,
            text,
            unkept,
            ..
        } = change;
        match &unkept {
            Some(why) => store::unkept(&self.file(&name), why),
            // Also when the file had this content already and was not written.
            None => store::kept(&self.file(&name)),
        }
        let same = |before: &&List| {
            synced.change == Diff::default()
                && before.stored == stored
                && before.used == expanded.used
                && before.text == text
        };
        let before = self.lists.get(&name).filter(same);
        let version = before.map_or_else(version, |list| list.version);
        let list = List {
            count: synced.count,
            used: expanded.used,
            text,
            snapshot,
            unkept: unkept.is_some(),
            stored,
            version,
            ..List::default()
        };
        self.lists.insert(name, list);
        synced
    }

    /// Writes the entries and sources in force of a list to disk again.
    pub(super) fn keep_again(&mut self, name: &str) -> Result<(), Error> {
        let stored = &self.known(name)?.stored;
        let mut entries = self.read(name, stored.number)?;
        let keep = |source| Error::Keep {
            list: name.to_owned(),
            source,
        };
        let mut write = || {
            let snapshot = snapshot::Update::whole(&self.snapshot(name), &mut entries)?;
            let file = Pending::json(Kind::List, &self.file(name), stored)?;
            let mut batch = Batch::default();
            let (snapshot, _) = snapshot.join(&mut batch);
            batch.push(file);
            batch.place()?.keep();
            Ok(snapshot)
        };
        let snapshot = write().map_err(keep)?;
        if let Some(list) = self.lists.get_mut(name) {
            list.snapshot = Some(snapshot);
            list.unkept = false;
        }
        Ok(())
    }

    /// Tries again to write the lists that could not be written.
    pub fn keep_unkept(&mut self) {
        let unkept = self.lists.iter().filter(|(_, list)| list.unkept);
        let names: Vec<String> = unkept.map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Err(error) = self.keep_again(&name) {
                tracing::debug!(%error, "keep a list");
            }
        }
    }

    fn shown(&self, change: &Ready) -> Synced {
        let lines = |entries: &Entries| entries.lines().take(SHOWN).collect();
        let Diff { added, removed } = change.plan.difference();
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
            unkept: ready.unkept.clone(),
        }
    }
}

/// Does the change only take clients off the list? Such clients must not stay on it because the disk is full. (The
/// caller excepts a change with standard input, whose text would be lost.)
fn is_urgent(how: How, plan: &Plan) -> bool {
    match how {
        How::Remove => true,
        How::Replace => plan.change().added == 0,
        How::Add | How::Refresh => false,
    }
}
