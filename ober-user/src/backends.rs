//! The S3 servers: from expressions to addresses, kept on disk like the lists.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    access::Change,
    api::{Edit, How, Sync, Synced, Target},
    config::Config,
    haproxy::{Server, Servers},
    hostlist::{self, Cap, Host, disk::Disk, expand_servers, servers::Standing},
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
        source: hostlist::Error,
    },
    #[error(
        "set the servers of backend {backend}: {why}; write `weight=`, `tier=` or `max_connections=`"
    )]
    Standing { backend: String, why: String },
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
}

/// The backends of an instance.
#[derive(Debug)]
pub struct Backends {
    home: PathBuf,
    stored: BTreeMap<String, Stored>,
    servers: Servers,
}

/// A change that is ready to be put in force by a reload of the workers.
#[derive(Debug)]
pub struct Ready {
    pub servers: Servers,
    pub synced: Vec<Synced>,
    stored: BTreeMap<String, Stored>,
}

impl Backends {
    /// Reads what is kept; where the configuration names other servers than last time, those win.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let home = config.node.state.join("backends");
        let mut backends = BTreeMap::new();
        for (name, backend) in &config.backends {
            let kept: Option<Stored> = read_json(&home.join(format!("{name}.json")))?;
            let fresh = || Stored {
                configured: backend.servers.clone(),
                sources: backend.servers.clone(),
                names: Names::new(),
            };
            let kept = kept.filter(|stored| stored.configured == backend.servers);
            backends.insert(name.clone(), kept.unwrap_or_else(fresh));
        }
        Ok(Self {
            home,
            stored: backends,
            servers: Servers::new(),
        })
    }

    /// The servers in force.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Resolves every backend, with the edits of `sync` applied. Nothing is changed yet.
    pub async fn prepare(&self, config: &Config, sync: &Sync) -> Result<Ready, Error> {
        let cap = || Cap::new(config.limits.expansion);
        let slurm = match &config.resolve.slurm_conf {
            Some(path) => {
                slurm::NodeAddrs::read(path, cap()).map_err(|source| Error::Slurm { source })?
            }
            None => slurm::NodeAddrs::default(),
        };
        let mut stored = self.stored.clone();
        for edit in &sync.edits {
            apply(&mut stored, edit)?;
        }
        let mut ready = Ready {
            servers: Servers::new(),
            synced: Vec::new(),
            stored,
        };
        for (name, backend) in &mut ready.stored {
            let Some(port) = config.backends.get(name).map(|backend| backend.port) else {
                continue;
            };
            let mut wanted = Vec::new();
            for source in &backend.sources {
                let error = |source| Error::Sources {
                    backend: name.clone(),
                    source,
                };
                let (expression, standing) =
                    Standing::split(source).map_err(|why| Error::Standing {
                        backend: name.clone(),
                        why,
                    })?;
                let servers = expand_servers(expression, port, cap(), &mut Disk).map_err(error)?;
                wanted.extend(servers.into_iter().map(|server| (server, standing)));
            }
            let names = wanted.iter().filter_map(|(server, _)| match &server.host {
                Host::Name(name) => Some(name.clone()),
                Host::Addr(_) => None,
            });
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
            let servers = place(&wanted, &backend.names);
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

    /// Puts a change in force that the workers have taken.
    pub fn commit(&mut self, ready: Ready) -> Result<(), Error> {
        for (name, stored) in &ready.stored {
            if self.stored.get(name) != Some(stored) {
                Pending::json(&self.home.join(format!("{name}.json")), stored)?.commit()?;
            }
        }
        self.stored = ready.stored;
        self.servers = ready.servers;
        Ok(())
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

/// A server for every address; of a name with both families IPv4 alone, or each machine would count twice.
fn place(wanted: &[(hostlist::Server, Standing)], names: &Names) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for (server, standing) in wanted {
        let (label, addresses) = match &server.host {
            Host::Addr(address) => (address.to_string().replace(':', "-"), vec![*address]),
            Host::Name(name) => (name.clone(), names.get(name).cloned().unwrap_or_default()),
        };
        let v4 = addresses.iter().any(IpAddr::is_ipv4);
        for address in addresses
            .into_iter()
            .filter(|address| address.is_ipv4() == v4)
        {
            let address = SocketAddr::new(address, server.port.get());
            if servers.iter().any(|other| other.addr == address) {
                continue;
            }
            let taken = |name: &String| servers.iter().any(|other| other.name == *name);
            let numbered = (2..).map(|number| format!("{label}_{number}"));
            if let Some(name) = std::iter::once(label.clone())
                .chain(numbered)
                .find(|name| !taken(name))
            {
                let host = match &server.host {
                    Host::Name(host) => Some(host.clone()),
                    Host::Addr(_) => None,
                };
                servers.push(Server {
                    name,
                    addr: address,
                    host,
                    standing: *standing,
                });
            }
        }
    }
    servers
}
