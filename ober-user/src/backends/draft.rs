//! The part of a change of the backends that needs no lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{Backends, Error, InForce, Kept, Ready, Stored, WRITTEN};
use crate::{
    backends::{
        discover::{
            self,
            ask::expand_apart,
            merge::{Bounds, List, Merged, Named, Said, merge},
            own::Own,
        },
        server::Server,
    },
    config::{
        Config,
        sections::discover::{Discover, Kind},
    },
    dataplane::access::Diff,
    lists::edit::{Edit, How, Sync, Synced, Target},
    names::{
        hostlist,
        notation::Host,
        resolve::{Answers, Names, resolve},
        server_line::Found,
        slurm::NodeAddrs,
    },
    system::{file, url::Endpoint},
};

/// Which names are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    All,
    /// Only those that have no address yet.
    New,
}

/// The time limit for reading the files of expressions, and for merging the servers.
const PATIENCE: Duration = Duration::from_mins(1);

/// A copy of the backends, from which a change is made.
pub struct Draft(Backends);

/// The inputs of a change.
#[derive(Clone, Copy)]
pub struct With<'a> {
    pub config: &'a Arc<Config>,
    pub sync: &'a Sync,
    pub own: &'a Arc<Own>,
    pub ask: Ask,
}

impl Draft {
    pub(super) fn of(backends: Backends) -> Self {
        Self(backends)
    }

    /// Resolves every backend, with the edits of `sync` applied. Changes nothing yet.
    pub async fn ready(self, with: With<'_>, answers: &Answers) -> Result<Ready, Error> {
        let With {
            config,
            sync,
            own,
            ask,
        } = with;
        let edited = self.edited(config, sync)?;
        let written = written(edited, config).await?;
        let most = config.limits.servers;
        let read = {
            let config = Arc::clone(config);
            apart(move || self.0.read(&config, written)).await?
        };
        let names = read.names(ask);
        if !names.is_empty() {
            let cap = hostlist::Cap::new(config.limits.expansion);
            let slurm = NodeAddrs::load(&config.resolve, cap).await;
            resolve(names, &config.resolve, &slurm, answers).await;
        }
        let (own, answers) = (Arc::clone(own), answers.clone());
        apart(move || read.merge(&own, most, &answers)).await
    }

    /// The backends of the configuration, with the edits applied. `prune` forgets the names only of backends that an
    /// edit names.
    fn edited(&self, config: &Config, sync: &Sync) -> Result<BTreeMap<String, Edited>, Error> {
        let mut stored = self.0.stored.clone();
        let mut orders = BTreeSet::new();
        for edit in &sync.edits {
            orders.extend(apply(&mut stored, edit)?);
        }
        stored.retain(|name, _| config.backends.contains_key(name));
        let edited = stored.into_iter().map(|(name, mut stored)| {
            let ordered = orders.contains(&name);
            let names = std::mem::take(&mut stored.names);
            let old = if ordered && sync.prune {
                Names::new()
            } else {
                names
            };
            let edited = Edited {
                stored,
                old,
                ordered,
            };
            (name, edited)
        });
        Ok(edited.collect())
    }
}

/// A backend with the operator's edits applied.
struct Edited {
    stored: Stored,
    /// The addresses of its names until now.
    old: Names,
    /// An operator's edit names it, so a failure is returned to the operator.
    ordered: bool,
}

/// A backend, and the servers of its key `servers`, or why they are not known.
struct Written {
    edited: Edited,
    found: Result<Vec<Found>, discover::Error>,
}

/// Reads the `servers` of all backends, each on its own thread: a file that cannot be read, or not in time, affects
/// only the backend that names it. If an operator's edit names that backend, the edit is refused.
async fn written(
    edited: BTreeMap<String, Edited>,
    config: &Config,
) -> Result<BTreeMap<String, Written>, Error> {
    let most = config.limits.servers;
    let each = edited.into_iter().filter_map(|(name, edited)| {
        let port = config.backends.get(&name)?.port;
        let sources = edited.stored.sources.clone();
        Some(async move {
            match (expand_apart(sources, port, most).await, edited.ordered) {
                (Err(source), true) => Err(Error::Sources {
                    backend: name,
                    source: Box::new(source),
                }),
                (found, _) => Ok((name, Written { edited, found })),
            }
        })
    });
    let each = futures_util::future::join_all(each).await;
    each.into_iter().collect()
}

/// Runs `work` on another thread, so that it does not block the daemon.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let done = file::away(PATIENCE, work).await;
    done.map_err(|source| Error::Unread { source })
}

/// The backends once their sources were read.
struct Read {
    before: Backends,
    backends: BTreeMap<String, One>,
}

/// One backend.
struct One {
    /// What is kept of it on disk.
    stored: Stored,
    /// The answers of its sources.
    said: Vec<Said>,
    /// The addresses of its names until now.
    old: Names,
    /// Why the servers of its key `servers` are not known.
    unread: Option<String>,
}

impl Backends {
    fn read(self, config: &Config, written: BTreeMap<String, Written>) -> Read {
        let backends = written
            .into_iter()
            .filter_map(|(name, written)| {
                let discover = &config.backends.get(&name)?.discover;
                let one = self.one(&name, written, discover);
                Some((name, one))
            })
            .collect();
        Read {
            before: self,
            backends,
        }
    }

    /// The servers that each source of a backend stands for; also put into `stored`, for the next start.
    fn one(&self, name: &str, written: Written, discover: &[Discover]) -> One {
        let Written { edited, found } = written;
        let Edited {
            mut stored, old, ..
        } = edited;
        let unread = match found {
            Ok(found) => {
                stored.written = Some(Kept(found));
                None
            }
            Err(error) => Some(stored.unread(&error)),
        };
        let known = self.sources.get(name);
        let answered: Vec<_> = discover
            .iter()
            .filter_map(|source| {
                let name = source.name();
                Some(Said {
                    near: is_near(source),
                    found: known?.get(&name)?.servers.clone()?,
                    source: name,
                })
            })
            .collect();
        let kept = answered.iter();
        stored.discovered = kept
            .map(|said| (said.source.clone(), Kept(said.found.clone())))
            .collect();
        let own = stored.written.clone().unwrap_or_default();
        let own = Said {
            source: WRITTEN.to_owned(),
            near: true,
            found: own.0,
        };
        One {
            stored,
            said: std::iter::once(own).chain(answered).collect(),
            old,
            unread,
        }
    }

    fn difference(&self, backend: &str, servers: &[Server]) -> Synced {
        let old = self.servers().get(backend).map_or(&[][..], Vec::as_slice);
        let missing = |from: &[Server], to: &[Server]| -> Vec<String> {
            let to: HashSet<&Server> = to.iter().collect();
            from.iter()
                .filter(|server| !to.contains(server))
                .map(|server| server.addr.to_string())
                .collect()
        };
        let (added, removed) = (missing(servers, old), missing(old, servers));
        Synced {
            target: Target::Backend(backend.into()),
            change: Diff {
                added: added.len() as u64,
                removed: removed.len() as u64,
            },
            count: servers.len() as u64,
            added,
            removed,
            unresolved: BTreeMap::new(),
            kept: Vec::new(),
            unkept: None,
        }
    }
}

/// May the source name this machine? Yes if its servers are written down or a Docker engine on this machine publishes them.
fn is_near(source: &Discover) -> bool {
    match &source.kind {
        Kind::Static(_) | Kind::Hostlist(_) => true,
        Kind::Docker(docker) => matches!(docker.at.at, Endpoint::Unix(_)),
        Kind::Dns { .. }
        | Kind::Srv { .. }
        | Kind::Json(_)
        | Kind::Exec { .. }
        | Kind::Plaintext { .. }
        | Kind::Consul(_) => false,
    }
}

fn names_of(said: &[Said]) -> BTreeSet<String> {
    let found = said.iter().flat_map(|said| &said.found);
    let names = found.filter_map(|found| match found.host() {
        Host::Name(name) => Some(name.clone()),
        Host::Addr(_) => None,
    });
    names.collect()
}

impl Read {
    fn names(&self, ask: Ask) -> BTreeSet<String> {
        let names = self.backends.values().flat_map(|one| {
            let (names, old) = (names_of(&one.said), &one.old);
            let names = names.into_iter();
            names.filter(move |name| ask == Ask::All || !old.contains_key(name))
        });
        names.collect()
    }

    fn merge(self, own: &Own, most: usize, answers: &Answers) -> Ready {
        let mut ready = Ready {
            in_force: InForce::default(),
            synced: Vec::new(),
            stored: BTreeMap::new(),
            version: self.before.version,
        };
        for (name, one) in self.backends {
            let One {
                mut stored,
                said,
                old,
                unread,
            } = one;
            let settled = answers.settle(&names_of(&said), &old);
            stored.names = settled.names;
            let bounds = Bounds { own, most };
            let List {
                servers,
                mut left_out,
            } = merge(&said, &stored.names, &stored.named, bounds);
            left_out.extend(unread);
            let in_force = &mut ready.in_force;
            let servers: Vec<Server> = servers
                .into_iter()
                .map(|Merged { server, sources }| {
                    in_force
                        .origins
                        .insert((name.clone(), server.addr), sources);
                    server
                })
                .collect();
            stored.named = Named::all(&servers);
            if !left_out.is_empty() {
                in_force.left_out.insert(name.clone(), left_out);
            }
            ready.synced.push(Synced {
                unresolved: settled.unresolved,
                kept: settled.kept,
                ..self.before.difference(&name, &servers)
            });
            ready.in_force.servers.insert(name.clone(), servers);
            ready.stored.insert(name, stored);
        }
        ready
    }
}

/// Which backend was edited, if it was one.
fn apply(stored: &mut BTreeMap<String, Stored>, edit: &Edit) -> Result<Option<String>, Error> {
    let Target::Backend(name) = &edit.target else {
        return Ok(None);
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
    Ok(Some(name.clone()))
}
