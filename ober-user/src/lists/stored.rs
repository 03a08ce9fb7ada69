//! A list as it is kept on disk: the edits that made it, and what its names were when they last resolved.

use std::{collections::BTreeMap, io, path::Path};

use serde::{Deserialize, Serialize};

use super::expand::Expanded;
use crate::{
    lists::edit::{Edit, How},
    names::resolve::{Names, Settled},
    system::{
        clock,
        store::{self, read_json},
    },
};

/// One expression, put on the list or taken off. The order counts: the last word on an address holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    Add(String),
    Remove(String),
}

impl Step {
    pub(super) fn source(&self) -> &String {
        match self {
            Self::Add(source) | Self::Remove(source) => source,
        }
    }

    pub(super) fn adds(&self) -> bool {
        matches!(self, Self::Add(_))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Whose sources these are: in a file of another name they are a copy. Versions before this one did not say.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// Its number in the kernel, kept as long as the list exists.
    pub(super) number: u32,
    /// The sources the configuration named when these were taken from it; when it names others, those win.
    pub(super) configured: Vec<String>,
    pub(super) steps: Vec<Step>,
    /// Addresses of every name when it last resolved.
    pub(super) names: Names,
    pub(super) unresolved: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub(super) synced: Option<u64>,
}

impl Stored {
    /// A list as the configuration writes it.
    pub(super) fn configured(name: &str, number: u32, sources: &[String]) -> Self {
        Self {
            name: Some(name.to_owned()),
            number,
            configured: sources.to_vec(),
            steps: sources.iter().cloned().map(Step::Add).collect(),
            ..Self::default()
        }
    }

    /// The list once the configuration names other sources. What is known of names stays: one that cannot be asked for now
    /// means what it meant.
    pub(super) fn reconfigured(self, name: &str, number: u32, sources: &[String]) -> Self {
        Self {
            names: self.names,
            unresolved: self.unresolved,
            ..Self::configured(name, number, sources)
        }
    }

    /// What was put on the list.
    pub(super) fn sources(&self) -> Vec<String> {
        self.expressions(true)
    }

    /// What was taken off it.
    pub(super) fn except(&self) -> Vec<String> {
        self.expressions(false)
    }

    fn expressions(&self, adds: bool) -> Vec<String> {
        let steps = self.steps.iter().filter(|step| step.adds() == adds);
        steps.map(|step| step.source().clone()).collect()
    }

    /// Takes over what became of its names; all of them were asked when everything else goes.
    pub(super) fn learn(&mut self, expanded: &Expanded) {
        if expanded.gone.is_none() {
            self.names.clear();
            self.unresolved.clear();
        }
        self.synced = Some(clock::seconds());
        let Settled {
            names, unresolved, ..
        } = &expanded.names;
        self.unresolved.retain(|name, _| !names.contains_key(name));
        self.unresolved.extend(unresolved.clone());
        self.names.extend(names.clone());
    }

    /// Does only the time differ?
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let Self {
            name,
            number,
            configured,
            steps,
            names,
            unresolved,
            synced: _,
        } = self;
        *name == other.name
            && *number == other.number
            && *configured == other.configured
            && *steps == other.steps
            && *names == other.names
            && *unresolved == other.unresolved
    }

    /// The file that is the only source.
    pub(super) fn only_file(&self) -> Option<&Path> {
        let [Step::Add(source)] = &self.steps[..] else {
            return None;
        };
        let path = source.strip_prefix('@')?;
        let simple = path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        simple.then(|| Path::new(path))
    }

    /// Is the file one of the expressions?
    pub(super) fn reads(&self, file: &Path) -> bool {
        let source = format!("@{}", file.display());
        self.steps.iter().any(|step| *step.source() == source)
    }

    /// What the edit makes of the steps. `-` becomes the file it was kept in.
    pub(super) fn edit(&mut self, edit: &Edit, stdin: &Path) {
        let given = |source: &String| match source.as_str() {
            "-" => format!("@{}", stdin.display()),
            _ => source.clone(),
        };
        let given: Vec<String> = edit.sources.iter().map(given).collect();
        if edit.how == How::Refresh {
            return;
        }
        if edit.how == How::Replace {
            self.steps.clear();
        }
        self.steps.retain(|step| !given.contains(step.source()));
        match edit.how {
            How::Remove if self.sources().is_empty() => {}
            How::Remove => self.steps.extend(given.into_iter().map(Step::Remove)),
            _ => self.steps.extend(given.into_iter().map(Step::Add)),
        }
    }
}

/// What is on disk, by the names of the files.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    pub(super) kept: BTreeMap<String, Stored>,
    /// Why a file cannot be read.
    pub(super) damaged: BTreeMap<String, String>,
}

impl OnDisk {
    /// Every list that is kept in `home`.
    pub(super) fn read(home: &Path) -> Result<Self, store::Error> {
        let mut all = Self::default();
        let error = |source| store::Error::Read {
            path: home.into(),
            source,
        };
        let entries = match std::fs::read_dir(home) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            entries => entries.map_err(error)?,
        };
        for entry in entries {
            let path = entry.map_err(error)?.path();
            let json = path.extension() == Some("json".as_ref());
            let Some(name) = path.file_stem().filter(|_| json) else {
                continue;
            };
            let name = name.to_string_lossy().into_owned();
            match read_json(&path) {
                Ok(Some(stored)) => drop(all.kept.insert(name, stored)),
                Ok(None) => {}
                Err(store::Error::Damaged { why, .. }) => drop(all.damaged.insert(name, why)),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}
