//! Problems with this process's own files, for `status` and the metrics: operators would overlook a single line in the log.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::system::clock;

/// A file that was damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    pub file: PathBuf,
    /// Its path now; `None`: it could not be moved.
    pub aside: Option<PathBuf>,
    /// Seconds since 1970.
    pub at: u64,
    pub why: String,
    /// What happened to its content.
    pub then: String,
}

/// A state in force that a restart would lose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unkept {
    pub file: PathBuf,
    /// Since when, in seconds since 1970.
    pub since: u64,
    pub why: String,
}

/// The problems with this process's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Since this process started.
    pub damaged: Vec<Damaged>,
    /// At present.
    pub unkept: Vec<Unkept>,
}

/// The latest ones are enough for a diagnosis.
const REMEMBERED: usize = 100;

struct Known {
    damaged: Vec<Damaged>,
    unkept: BTreeMap<PathBuf, Unkept>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known {
    damaged: Vec::new(),
    unkept: BTreeMap::new(),
});

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All known problems.
pub fn disk() -> Disk {
    let known = known();
    Disk {
        damaged: known.damaged.clone(),
        unkept: known.unkept.values().cloned().collect(),
    }
}

pub(super) fn damaged(found: Damaged) {
    let mut known = known();
    if known.damaged.len() >= REMEMBERED {
        known.damaged.remove(0);
    }
    known.damaged.push(found);
}

/// Records that the state in force is not in this file.
pub fn unkept(file: &Path, why: &impl ToString) {
    let mut known = known();
    let why = why.to_string();
    if let Some(before) = known.unkept.get_mut(file) {
        before.why = why;
        return;
    }
    tracing::error!(file = %file.display(), why, "in force, but not kept over a restart");
    let unkept = Unkept {
        file: file.into(),
        since: clock::seconds(),
        why,
    };
    known.unkept.insert(file.into(), unkept);
}

/// Records that this file holds the state in force.
pub fn kept(file: &Path) {
    if known().unkept.remove(file).is_some() {
        tracing::info!(file = %file.display(), "kept over a restart again");
    }
}
