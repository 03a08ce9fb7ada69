//! The S3 servers: from expressions to addresses, kept on disk like the lists.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    access::Change,
    api::{Edit, How, Sync, Synced, Target},
    config::{self, Config},
    discover::{
        self, Found,
        ask::expand,
        engine::Learned,
        merge::{Merged, merge},
        source::Source,
    },
    haproxy::{Server, Servers},
    hostlist,
    lists::Names,
    resolve::resolve,
    slurm,
    store::{self, Pending, read_json},
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
        source: discover::Error,
    },
    #[error(
        "set the servers of backend {backend}: only a whole new set can be given; use `acl sync --backend-http`"
    )]
    How { backend: String },
    #[error("read NodeAddr from Slurm's configuration: {source}")]
    Slurm { source: slurm::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stored {
    configured: Vec<String>,
    sources: Vec<String>,
    names: Names,
    /// What each source of `discover` stood for last, by its name.
    #[serde(default)]
    discovered: BTreeMap<String, Vec<Found>>,
}

/// What the servers under `servers` are called as a source.
pub const WRITTEN: &str = "servers";

/// The backends of an instance.
#[derive(Debug)]
pub struct Backends {
    home: PathBuf,
    stored: BTreeMap<String, Stored>,
    /// By backend and name of the source.
    sources: BTreeMap<String, BTreeMap<String, Source>>,
    servers: Servers,
    origins: Origins,
}

/// Which sources named a server.
pub type Origins = BTreeMap<(String, SocketAddr), Vec<String>>;

/// A change that is ready to be put in force by a reload of the workers.
#[derive(Debug)]
pub struct Ready {
    pub servers: Servers,
    pub synced: Vec<Synced>,
    origins: Origins,
    stored: BTreeMap<String, Stored>,
}

impl Backends {
    /// Reads what is kept; where the configuration names other servers than last time, those win.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let home = config.node.state.join("backends");
        let (mut backends, mut sources) = (BTreeMap::new(), BTreeMap::new());
        for (name, backend) in &config.backends {
            let kept: Option<Stored> = read_json(&home.join(format!("{name}.json")))?;
            let fresh = || Stored {
                configured: backend.servers.clone(),
                sources: backend.servers.clone(),
                names: Names::new(),
                discovered: BTreeMap::new(),
            };
            let mut known = kept
                .as_ref()
                .map(|stored| stored.discovered.clone())
                .unwrap_or_default();
            let discover = backend.discover.iter().map(|source| {
                let name = source.name();
                let kept = Source::kept(known.remove(&name));
                (name, kept)
            });
            sources.insert(name.clone(), discover.collect());
            let kept = kept.filter(|stored| stored.configured == backend.servers);
            backends.insert(name.clone(), kept.unwrap_or_else(fresh));
        }
        Ok(Self {
            home,
            stored: backends,
            sources,
            servers: Servers::new(),
            origins: Origins::new(),
        })
    }

    /// The servers in force.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Who named each of them.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// The sources of `discover` as they stand, by backend and name.
    pub fn sources(&self) -> &BTreeMap<String, BTreeMap<String, Source>> {
        &self.sources
    }

    /// Is there a source that never answered, in this life or an earlier one?
    pub fn incomplete(&self) -> bool {
        let mut sources = self.sources.values().flat_map(BTreeMap::values);
        sources.any(|source| source.servers.is_none())
    }

    /// Goes on with what the sources of an earlier configuration said, where this one has them still.
    pub fn inherit(&mut self, earlier: &Self) {
        for (backend, sources) in &mut self.sources {
            for (name, source) in sources {
                if let Some(known) = earlier
                    .sources
                    .get(backend)
                    .and_then(|known| known.get(name))
                {
                    source.clone_from(known);
                }
            }
        }
        self.servers.clone_from(&earlier.servers);
    }

    /// Takes in what a source said. Do the servers change with it? They do so with the next [`Backends::prepare`].
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
        // An answer may come in when its source is gone already.
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
        known.learn(answer, written.failure, now)
    }

    /// Resolves every backend, with the edits of `sync` applied. Nothing is changed yet.
    pub async fn prepare(&self, config: &Config, sync: &Sync) -> Result<Ready, Error> {
        let slurm = match &config.resolve.slurm_conf {
            Some(path) => slurm::NodeAddrs::read(path, hostlist::Cap::new(config.limits.expansion))
                .map_err(|source| Error::Slurm { source })?,
            None => slurm::NodeAddrs::default(),
        };
        let mut stored = self.stored.clone();
        for edit in &sync.edits {
            apply(&mut stored, edit)?;
        }
        let mut ready = Ready {
            servers: Servers::new(),
            synced: Vec::new(),
            origins: Origins::new(),
            stored,
        };
        for (name, backend) in &mut ready.stored {
            let Some(written) = config.backends.get(name) else {
                continue;
            };
            let sources = self.found(name, backend, written, config.limits.expansion)?;
            let hosts = sources.iter().flat_map(|(_, found)| found);
            let names = hosts
                .filter(|found| found.host.parse::<std::net::IpAddr>().is_err())
                .map(|found| found.host.clone());
            let found = resolve(names.collect::<Vec<_>>(), &config.resolve, &slurm).await;
            let old = if sync.prune {
                Names::new()
            } else {
                std::mem::take(&mut backend.names)
            };
            backend.names.clone_from(&found.found);
            let mut kept = Vec::new();
            for (name, _) in &found.failed {
                if let Some(addresses) = old.get(name) {
                    backend.names.insert(name.clone(), addresses.clone());
                    kept.push(name.clone());
                }
            }
            let before = self.servers.get(name).map_or(&[][..], Vec::as_slice);
            let mut servers = Vec::new();
            for Merged { server, sources } in merge(&sources, &backend.names, before) {
                ready.origins.insert((name.clone(), server.addr), sources);
                servers.push(server);
            }
            let unresolved = found
                .failed
                .iter()
                .map(|(name, why)| (name.clone(), why.to_string()))
                .collect();
            ready.synced.push(Synced {
                unresolved,
                kept,
                ..self.difference(name, &servers)
            });
            ready.servers.insert(name.clone(), servers);
        }
        Ok(ready)
    }

    /// Does the change make other servers, or have others named them?
    pub fn differ(&self, ready: &Ready) -> bool {
        (&self.servers, &self.origins) != (&ready.servers, &ready.origins)
    }

    /// Writes a change beside what is kept: a disk that is full refuses it here.
    pub fn keep(&self, ready: &Ready) -> Result<Vec<Pending>, Error> {
        let mut pending = Vec::new();
        for (name, stored) in &ready.stored {
            if self.stored.get(name) != Some(stored) {
                pending.push(Pending::json(
                    &self.home.join(format!("{name}.json")),
                    stored,
                )?);
            }
        }
        Ok(pending)
    }

    /// Puts a change in force that the workers have taken.
    pub fn commit(&mut self, ready: Ready) -> Result<(), Error> {
        let pending = self.keep(&ready)?;
        self.commit_kept(ready, pending)
    }

    /// The same with what [`Backends::keep`] wrote.
    pub fn commit_kept(&mut self, ready: Ready, pending: Vec<Pending>) -> Result<(), Error> {
        pending.into_iter().try_for_each(Pending::commit)?;
        self.stored = ready.stored;
        self.servers = ready.servers;
        self.origins = ready.origins;
        Ok(())
    }

    /// What each source of a backend stands for; kept in `stored` for the next life.
    fn found(
        &self,
        name: &str,
        stored: &mut Stored,
        written: &config::Backend,
        most: usize,
    ) -> Result<Vec<(String, Vec<Found>)>, Error> {
        let own = expand(&stored.sources, written.port, most).map_err(|source| Error::Sources {
            backend: name.to_owned(),
            source,
        })?;
        let known = self.sources.get(name);
        let answered = written.discover.iter().filter_map(|source| {
            let name = source.name();
            let servers = known?.get(&name)?.servers.clone()?;
            Some((name, servers))
        });
        let answered: Vec<_> = answered.collect();
        stored.discovered = answered.iter().cloned().collect();
        Ok(std::iter::once((WRITTEN.to_owned(), own))
            .chain(answered)
            .collect())
    }

    fn difference(&self, backend: &str, servers: &[Server]) -> Synced {
        let old = self.servers.get(backend).map_or(&[][..], Vec::as_slice);
        let missing = |from: &[Server], to: &[Server]| -> Vec<String> {
            from.iter()
                .filter(|server| !to.contains(server))
                .map(|server| server.addr.to_string())
                .collect()
        };
        let (added, removed) = (missing(servers, old), missing(old, servers));
        Synced {
            target: Target::Backend(backend.into()),
            change: Change {
                added: added.len() as u64,
                removed: removed.len() as u64,
            },
            count: servers.len() as u64,
            added,
            removed,
            unresolved: BTreeMap::new(),
            kept: Vec::new(),
        }
    }
}

fn apply(stored: &mut BTreeMap<String, Stored>, edit: &Edit) -> Result<(), Error> {
    let Target::Backend(name) = &edit.target else {
        return Ok(());
    };
    let known = stored.keys().cloned().collect::<Vec<_>>().join(", ");
    let backend = stored.get_mut(name).ok_or_else(|| Error::Unknown {
        backend: name.clone(),
        known,
    })?;
    match edit.how {
        How::Refresh => {}
        How::Replace => {
            let mut sources = edit.sources.clone();
            sources.retain(|source| source != "-");
            sources.extend(
                edit.stdin
                    .iter()
                    .flat_map(|text| text.lines().map(ToOwned::to_owned)),
            );
            backend.sources = sources;
        }
        How::Add | How::Remove => {
            return Err(Error::How {
                backend: name.clone(),
            });
        }
    }
    Ok(())
}
