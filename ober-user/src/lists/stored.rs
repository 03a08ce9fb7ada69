//! A list on disk: the edits that made it, and the addresses that its names had when they last resolved.

use std::{collections::BTreeMap, io, path::Path};

use serde::{Deserialize, Serialize};

use super::expand::Expanded;
use crate::{
    lists::edit::{Edit, How, Step},
    names::resolve::{Names, Settled},
    system::{
        clock,
        store::{self, read_json},
    },
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// The list these sources belong to: a file with another name is a copy. `None` in files of earlier versions.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// Its number in the kernel, which it keeps as long as it exists.
    pub(super) number: u32,
    /// The sources in the configuration from which `steps` began; when the configuration names others, those are used.
    pub(super) configured: Vec<String>,
    pub(super) steps: Vec<Step>,
    /// Addresses of every name when it last resolved.
    pub(super) names: Names,
    pub(super) unresolved: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub(super) synced: Option<u64>,
}

impl Stored {
    /// A list with the sources of the configuration.
    pub(super) fn configured(name: &str, number: u32, sources: &[String]) -> Self {
        Self {
            name: Some(name.to_owned()),
            number,
            configured: sources.to_vec(),
            steps: sources.iter().cloned().map(Step::Add).collect(),
            ..Self::default()
        }
    }

    /// The list with other sources of the configuration. The known addresses stay: a name that cannot be resolved now
    /// keeps its addresses.
    pub(super) fn reconfigured(self, name: &str, number: u32, sources: &[String]) -> Self {
        Self {
            names: self.names,
            unresolved: self.unresolved,
            ..Self::configured(name, number, sources)
        }
    }

    /// The expressions that were added to the list.
    pub(super) fn sources(&self) -> Vec<String> {
        self.expressions(true)
    }

    /// The expressions that were removed from it.
    pub(super) fn except(&self) -> Vec<String> {
        self.expressions(false)
    }

    fn expressions(&self, adds: bool) -> Vec<String> {
        let steps = self.steps.iter().filter(|step| step.adds() == adds);
        steps.map(|step| step.source().clone()).collect()
    }

    /// Takes over the results for its names. When `gone` is `None`, all names were resolved, and others are forgotten.
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

    /// Are both the same, except for the time?
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

    /// The file that is the only source, if there is one.
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

    /// Applies the edit to the steps. `-` becomes the file in which standard input is kept.
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

/// The lists on disk, by the names of their files.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    pub(super) kept: BTreeMap<String, Stored>,
    /// The files that cannot be read, and why.
    pub(super) damaged: BTreeMap<String, String>,
}

impl OnDisk {
    /// Reads every list in `home`.
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
