//! The S3 servers: expressions and sources are resolved to addresses, which are kept on disk like the lists.
//! `discover/` asks sources, `check/` checks the servers, `draft` prepares a change, `server` has the resolved server.
//!
//! A change begins with a copy ([`Backends::draft`]), so that no lock is held while it reads files, asks name servers
//! and merges many servers. The result ([`Ready`]) is put in force if the backends have not changed meanwhile.
//!
//! It never connects to a worker: the daemon gives servers and verdicts to `haproxy`. A source that fails is never
//! taken for one without servers, unless its `failpolicy` says so.

pub mod check;
pub mod discover;
mod draft;
pub mod server;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

pub use self::draft::{Ask, Draft, With};
use crate::{
    backends::{
        discover::{engine::Learned, merge::Named, source::Source},
        server::Servers,
    },
    config::{Config, paths},
    lists::edit::Synced,
    names::{resolve::Names, server_line::Found},
    system::{
        blame::Blame,
        store::{self, Batch, Kind, Pending, Placed},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "set the servers of backend {backend}: there is no such backend; the configuration has {known}"
    )]
    Unknown { backend: String, known: String },
    #[error("set the servers of backend {backend}: {source}")]
    Sources {
        backend: String,
        source: Box<discover::Error>,
    },
    #[error(
        "set the servers of backend {backend}: only a whole new set can be given; use `acl sync --backend-http`"
    )]
    How { backend: String },
    #[error("read the servers of the backends: {source}")]
    Unread { source: std::io::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    pub fn blame(&self) -> Blame {
        Blame::of_caller(matches!(
            self,
            Self::Unknown { .. } | Self::Sources { .. } | Self::How { .. }
        ))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stored {
    configured: Vec<String>,
    sources: Vec<String>,
    names: Names,
    /// The servers of `sources` when all of them could last be read; `None`: they never could.
    #[serde(default)]
    written: Option<Kept>,
    /// The servers that each source of `discover` stood for last, by its name.
    #[serde(default)]
    discovered: BTreeMap<String, Kept>,
    /// The names of its servers. The workers outlive the daemon, and identify the servers by these names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    named: BTreeMap<SocketAddr, Named>,
}

impl Stored {
    /// With the servers of a configuration, which replace the sources when they differ from those of the last
    /// configuration. The known addresses stay: a name that cannot be resolved now keeps its addresses.
    fn configured(mut self, servers: &[String]) -> Self {
        if self.configured != servers {
            servers.clone_into(&mut self.configured);
            servers.clone_into(&mut self.sources);
        }
        self
    }

    /// The message for the operator when the daemon cannot read `servers` now.
    fn unread(&self, error: &discover::Error) -> String {
        let known = self.written.as_ref();
        let goes_on = match known.map_or(0, |Kept(found)| found.len()) {
            0 => "no server is known of them".to_owned(),
            1 => "the last known server stays in use".to_owned(),
            many => format!("the {many} last known servers stay in use"),
        };
        format!("{WRITTEN}: {error}; {goes_on}")
    }
}

/// Servers read from disk. Invalid ones are left out without affecting the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<serde_json::Value>")]
struct Kept(Vec<Found>);

impl From<Vec<serde_json::Value>> for Kept {
    fn from(written: Vec<serde_json::Value>) -> Self {
        let judged = written.into_iter().filter_map(|value| {
            let shown = value.to_string();
            let judged: Result<Found, _> = serde_json::from_value(value);
            judged
                .inspect_err(|error| {
                    tracing::warn!(server = shown, %error, "a server that was kept on disk is left out");
                })
                .ok()
        });
        Self(judged.collect())
    }
}

/// The name of the key `servers` as a source.
pub const WRITTEN: &str = "servers";

/// The backends of an instance.
#[derive(Clone, Debug)]
pub struct Backends {
    home: PathBuf,
    stored: BTreeMap<String, Stored>,
    /// The backends whose files on disk differ from what is in force.
    unkept: BTreeSet<String>,
    /// The sources, by backend and name.
    sources: BTreeMap<String, BTreeMap<String, Source>>,
    in_force: Arc<InForce>,
    /// Every change gives another number.
    version: u64,
}

/// The servers that the workers have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    pub servers: Servers,
    pub origins: Origins,
    /// By backend, the servers left out with their reasons, and why its `servers` could not be read.
    pub left_out: BTreeMap<String, Vec<String>>,
}

/// Which sources named a server.
pub type Origins = BTreeMap<(String, SocketAddr), Vec<String>>;

/// A copy of the state, for readers while a change goes on.
#[derive(Clone, Debug)]
pub struct BackendFacts {
    pub in_force: Arc<InForce>,
    /// The state of each source of `discover`, by backend and name.
    pub sources: BTreeMap<String, BTreeMap<String, SourceState>>,
}

/// The state of a source.
#[derive(Clone, Debug)]
pub struct SourceState {
    /// How many servers it stands for; `None`: it has never answered.
    pub servers: Option<usize>,
    pub failures: u64,
    pub error: Option<String>,
    pub asked: Option<u64>,
}

/// A change that is ready to be put in force, by a reload of the workers.
#[derive(Debug)]
pub struct Ready {
    pub in_force: InForce,
    pub synced: Vec<Synced>,
    stored: BTreeMap<String, Stored>,
    version: u64,
}

fn version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl Backends {
    /// Reads the files on disk. Where the configuration names other servers than last time, those are used.
    pub fn open(config: &Config) -> Result<Self, Error> {
        Self::of(config, None)
    }

    /// The backends of another configuration. The servers in force and the answers of sources are taken over, on disk
    /// or not.
    pub fn next(&self, config: &Config) -> Result<Self, Error> {
        let mut next = Self::of(config, Some(self))?;
        for (backend, sources) in &mut next.sources {
            for (name, source) in sources {
                let known = self.sources.get(backend);
                if let Some(known) = known.and_then(|known| known.get(name)) {
                    source.clone_from(known);
                }
            }
        }
        next.in_force = Arc::clone(&self.in_force);
        next.unkept.extend(self.unkept.iter().cloned());
        Ok(next)
    }

    fn of(config: &Config, earlier: Option<&Self>) -> Result<Self, Error> {
        let home = paths::backends(&config.node.state);
        let (mut backends, mut sources) = (BTreeMap::new(), BTreeMap::new());
        let mut unkept = BTreeSet::new();
        for (name, backend) in &config.backends {
            let known = earlier.and_then(|earlier| earlier.stored.get(name));
            let kept = match known {
                Some(known) => Some(known.clone()),
                None => match store::read_json::<Stored>(&paths::backend(&home, name)) {
                    Err(store::Error::Damaged { path, why }) => {
                        store::set_aside(Kind::Backend, &path, &why);
                        unkept.insert(name.clone());
                        None
                    }
                    read => read?,
                },
            };
            let stored = kept.unwrap_or_default().configured(&backend.servers);
            let mut known = stored.discovered.clone();
            let discover = backend.discover.iter().map(|source| {
                let name = source.name();
                let kept = Source::kept(known.remove(&name).map(|Kept(found)| found));
                (name, kept)
            });
            sources.insert(name.clone(), discover.collect());
            backends.insert(name.clone(), stored);
        }
        Ok(Self {
            home,
            stored: backends,
            unkept,
            sources,
            in_force: Arc::default(),
            version: version(),
        })
    }

    /// The servers in force.
    pub fn servers(&self) -> &Servers {
        &self.in_force.servers
    }

    /// A copy of the state, for readers while a change goes on.
    pub fn facts(&self) -> BackendFacts {
        let source_state = |source: &Source| SourceState {
            servers: source.servers.as_ref().map(Vec::len),
            failures: source.failures,
            error: source.error.clone(),
            asked: source.asked,
        };
        let sources = self.sources.iter().map(|(backend, sources)| {
            let sources = sources
                .iter()
                .map(|(name, source)| (name.clone(), source_state(source)));
            (backend.clone(), sources.collect())
        });
        BackendFacts {
            in_force: Arc::clone(&self.in_force),
            sources: sources.collect(),
        }
    }

    /// Is there a source that has never answered, not even before the last start?
    pub fn incomplete(&self) -> bool {
        let mut sources = self.sources.values().flat_map(BTreeMap::values);
        sources.any(|source| source.servers.is_none())
    }

    /// Learns the answer of a source. Returns whether its servers change, which the next [`Draft::ready`] then takes up.
    pub fn learn(&mut self, config: &Config, learned: Learned, now: u64) -> bool {
        let Learned {
            backend,
            source: name,
            answer,
        } = learned;
        let written = config.backends.get(&backend);
        let written =
            written.and_then(|it| it.discover.iter().find(|source| source.name() == name));
        let known = self
            .sources
            .get_mut(&backend)
            .and_then(|sources| sources.get_mut(&name));
        // An answer may arrive after its source was removed.
        let (Some(written), Some(known)) = (written, known) else {
            return false;
        };
        let failed = known.error.is_some();
        match &answer {
            Err(why) if !failed => tracing::warn!(backend, source = name, why, "discovery fails"),
            Ok(found) if failed => {
                tracing::info!(
                    backend,
                    source = name,
                    servers = found.len(),
                    "discovery works again"
                );
            }
            Ok(_) | Err(_) => {}
        }
        let changed = known.learn(answer, written.failure, now);
        if changed {
            self.version = version();
        }
        changed
    }

    /// A copy from which a change is made.
    pub fn draft(&self) -> Draft {
        Draft::of(self.clone())
    }

    /// Are the backends still those from which the change was made?
    pub fn suits(&self, ready: &Ready) -> bool {
        self.version == ready.version
    }

    /// The number of the present state.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Writes a change beside the files in use: a full disk makes it fail here.
    pub fn keep(&self, ready: &Ready) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        for (name, stored) in &ready.stored {
            if self.unkept.contains(name) || self.stored.get(name) != Some(stored) {
                batch.push(Pending::json(
                    Kind::Backend,
                    &paths::backend(&self.home, name),
                    stored,
                )?);
            }
        }
        Ok(batch)
    }

    /// Takes over a change that the workers have and that is on disk.
    pub fn commit(&mut self, ready: Ready, placed: Placed) {
        self.kept(placed);
        self.take(ready);
    }

    /// Takes over a change that no operator ordered, such as the answer of a source; it is written to disk if possible.
    pub fn put_in_force(&mut self, ready: Ready) {
        match self.keep(&ready).and_then(|batch| Ok(batch.place()?)) {
            Ok(placed) => self.commit(ready, placed),
            Err(error) => {
                self.note_unkept(&ready, &error);
                self.take(ready);
            }
        }
    }

    /// Tries again to write the files that could not be written.
    pub fn keep_unkept(&mut self) {
        let mut batch = Batch::default();
        for name in &self.unkept {
            if let Some(stored) = self.stored.get(name) {
                match Pending::json(Kind::Backend, &paths::backend(&self.home, name), stored) {
                    Ok(file) => batch.push(file),
                    Err(error) => return tracing::debug!(%error, "keep the servers of a backend"),
                }
            }
        }
        match batch.place() {
            Ok(placed) => self.kept(placed),
            Err(error) => tracing::debug!(%error, "keep the servers of a backend"),
        }
    }

    /// Notes that the state in force is on disk. A backend that the configuration no longer has needs no file.
    fn kept(&mut self, placed: Placed) {
        placed.keep();
        for name in std::mem::take(&mut self.unkept) {
            store::kept(&paths::backend(&self.home, &name));
        }
    }

    fn note_unkept(&mut self, ready: &Ready, error: &Error) {
        let Error::Store(error) = error else {
            return;
        };
        for (name, stored) in &ready.stored {
            if self.unkept.contains(name) || self.stored.get(name) != Some(stored) {
                store::unkept(&paths::backend(&self.home, name), error);
                self.unkept.insert(name.clone());
            }
        }
    }

    fn take(&mut self, ready: Ready) {
        if self.stored == ready.stored && *self.in_force == ready.in_force {
            return;
        }
        self.complain(&ready.in_force);
        self.stored = ready.stored;
        self.in_force = Arc::new(ready.in_force);
        self.version = version();
    }

    /// Logs each server that is newly left out.
    fn complain(&self, new: &InForce) {
        for (backend, left_out) in &new.left_out {
            let known = self.in_force.left_out.get(backend);
            // Collected with a known size: a table that grows step by step takes more than linear work.
            let known: HashSet<&String> = known.map_or(&[][..], Vec::as_slice).iter().collect();
            for why in left_out.iter().filter(|why| !known.contains(why)) {
                tracing::warn!(backend, why, "left out of the servers");
            }
        }
    }
}
