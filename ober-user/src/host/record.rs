//! What was there before each change, on disk before the change is made. It is one file for the machine and the command that
//! makes the changes, since several instances share the machine, and both commands run before there is a configuration.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::{Deserialize, Serialize};

use super::{
    Error,
    object::{Object, State},
    part::Part,
    plan::Change,
    root::Root,
};
use crate::system::{
    file::directory,
    store::{self, Kind},
};

/// The command that makes changes and undoes them. Each has a record of its own, so that undoing one leaves those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    Bootstrap,
    BackendSetup,
}

impl Author {
    pub const ALL: [Self; 2] = [Self::Bootstrap, Self::BackendSetup];

    /// As an operator types it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::BackendSetup => "backend-setup",
        }
    }

    pub const fn parts(self) -> &'static [Part] {
        match self {
            Self::Bootstrap => &Part::ALL,
            Self::BackendSetup => &[Part::Backend],
        }
    }

    const fn place(self) -> &'static str {
        match self {
            Self::Bootstrap => "/var/lib/ober/bootstrap.json",
            Self::BackendSetup => "/var/lib/ober/backend-setup.json",
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Bootstrap => Kind::Bootstrap,
            Self::BackendSetup => Kind::BackendSetup,
        }
    }
}

/// One object that was changed, or was to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub part: Part,
    pub object: Object,
    /// What was there before the command came.
    pub before: State,
    /// What the command made of it, or was about to: a run that was killed may have left any of them.
    pub ours: Vec<State>,
}

impl Entry {
    /// Is this a state that the command gave the object?
    pub fn is_ours(&self, state: &State) -> bool {
        self.ours.contains(state)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// In the order of the changes.
    entries: Vec<Entry>,
    /// Directories that were made for this file alone, the outermost first.
    made: Vec<PathBuf>,
}

/// A record of a machine. One process at a time holds it for writing.
#[derive(Debug)]
pub struct Record {
    author: Author,
    place: PathBuf,
    kept: Kept,
}

/// Held while the record is changed.
#[derive(Debug)]
pub struct Lock {
    _directory: Flock<File>,
}

impl Record {
    pub fn read(root: &Root, author: Author) -> Result<Self, Error> {
        let place = root.at(author.place());
        match store::read_json(&place) {
            Ok(kept) => Ok(Self {
                author,
                place,
                kept: kept.unwrap_or_default(),
            }),
            Err(store::Error::Damaged { path, why }) => Err(Error::Record {
                author: author.name(),
                path,
                why,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The record for changes, by this process alone.
    pub fn open(root: &Root, author: Author) -> Result<(Self, Lock), Error> {
        let place = root.at(author.place());
        let home = place.parent().unwrap_or(Path::new("/")).to_owned();
        let missing = home.ancestors().take_while(|it| !it.exists());
        let mut made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        made.reverse();
        let lock = prepare(&home).map_err(|source| Error::File {
            attempt: "make",
            path: home.clone(),
            source,
        })?;
        let lock = lock.ok_or(Error::Locked(home))?;
        let mut record = Self::read(root, author)?;
        record.kept.made.extend(made);
        Ok((record, lock))
    }

    pub fn entries(&self) -> &[Entry] {
        &self.kept.entries
    }

    pub fn of(&self, object: &Object) -> Option<&Entry> {
        self.kept.entries.iter().find(|it| it.object == *object)
    }

    /// Puts on disk what is there, before it is changed.
    pub fn note(&mut self, part: Part, change: &Change) -> Result<(), Error> {
        let entries = &mut self.kept.entries;
        match entries.iter_mut().find(|it| it.object == change.object) {
            Some(entry) if entry.before == change.before || entry.is_ours(&change.before) => {
                let new = made(change).filter(|it| !entry.ours.contains(it));
                let new: Vec<State> = new.collect();
                entry.ours.extend(new);
            }
            Some(entry) => {
                // The administrator has changed it since; that is what an undo goes back to.
                entry.before = change.before.clone();
                entry.ours = made(change).collect();
            }
            None => entries.push(Entry {
                part,
                object: change.object.clone(),
                before: change.before.clone(),
                ours: made(change).collect(),
            }),
        }
        self.write()
    }

    pub fn forget(&mut self, object: &Object) -> Result<(), Error> {
        self.kept.entries.retain(|it| it.object != *object);
        self.write()
    }

    fn write(&self) -> Result<(), Error> {
        Ok(store::Pending::json(self.author.kind(), &self.place, &self.kept)?.commit()?)
    }

    /// Removes what a run left that was killed while it wrote its first entry.
    pub fn tidy(root: &Root, author: Author) -> Result<(), Error> {
        if !root.exists(format!("{}.new", author.place())) {
            return Ok(());
        }
        let (record, _lock) = Self::open(root, author)?;
        record.close(root)
    }

    /// Leaves nothing where nothing is recorded: neither the file nor the directories that were made for it.
    pub fn close(self, root: &Root) -> Result<(), Error> {
        if !self.kept.entries.is_empty() {
            return Ok(());
        }
        root.sweep(self.author.place().as_ref())?;
        store::remove(&self.place)?;
        for directory in self.kept.made.iter().rev() {
            // The daemon's state may be in it by now.
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn made(change: &Change) -> impl Iterator<Item = State> {
    let between = change.between.iter();
    between.chain([&change.after]).cloned()
}

fn prepare(home: &Path) -> std::io::Result<Option<Lock>> {
    directory::make(home)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = nix::fcntl::open(home, flags, nix::sys::stat::Mode::empty())?;
    let file: File = opened.into();
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(Lock { _directory: held })),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}
