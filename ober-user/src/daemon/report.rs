//! The status of the daemon, and the drops and logs that it passes on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    net::IpAddr,
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::io::unix::AsyncFd;

use super::{Daemon, kernel, servers};
use crate::{
    api::{self, status},
    config::Config,
    dataplane::{
        self, Attached, Maps,
        counters::{self, NamedService},
        events::Drops,
        facts,
        interface::gather::Snapshot,
    },
    haproxy::{self, Exit},
    machine::drive,
    system::{fact::Fact, netlink},
};

/// How old an answer of `outdated` may be.
const OUTDATED: Duration = Duration::from_secs(10);

/// Passes sampled drops on to the callers that watch.
pub(super) async fn drops(daemon: Arc<Daemon>, drops: Drops) {
    let Err(error) = follow_drops(&daemon, drops).await;
    tracing::error!(%error, "drop events end here");
    std::future::pending::<()>().await;
}

async fn follow_drops(daemon: &Daemon, mut drops: Drops) -> anyhow::Result<Infallible> {
    let directory = daemon.plane().directory().to_owned();
    // Maps of its own: drops may come fast, and changes of the rings wait for the plane's lock.
    let mut names = Names::new(Maps::open(&directory)?);
    loop {
        let event = drops.next(names.of(&daemon.config())).await?;
        // Fails when no caller watches.
        drop(daemon.drops.send(event));
        tokio::task::yield_now().await;
    }
}

/// The names of the services in the kernel, looked for again only when the services or their names have changed.
struct Names {
    maps: Maps,
    of: Option<(u64, Arc<Config>)>,
    services: Vec<NamedService>,
}

impl Names {
    fn new(maps: Maps) -> Self {
        Self {
            maps,
            of: None,
            services: Vec::new(),
        }
    }

    fn of(&mut self, config: &Arc<Config>) -> &[NamedService] {
        // Every change of the services has a seed of its own.
        let seed = self.maps.node.read(0).seed;
        let same = |(of, named): &(u64, Arc<Config>)| *of == seed && Arc::ptr_eq(named, config);
        if !self.of.as_ref().is_some_and(same) {
            self.services = names(config, &self.maps);
            self.of = Some((seed, Arc::clone(config)));
        }
        &self.services
    }
}

/// Writes what the kernel programs log, when they were loaded to log, to the log of this process.
pub(super) async fn packet_log(daemon: Arc<Daemon>) {
    if !daemon.config().node.packet_log {
        return std::future::pending().await;
    }
    if let Err(error) = follow_log(&daemon).await {
        tracing::error!(error = format!("{error:#}"), "the packet log ends here");
    }
    std::future::pending::<()>().await;
}

async fn follow_log(daemon: &Daemon) -> anyhow::Result<()> {
    let programs = facts::programs(daemon.plane().directory());
    let xdp = programs.first().context("find the pinned XDP program")?;
    let log = aya_log::EbpfLogger::init_from_id(xdp.id)?;
    // SAFETY: the logger owns its descriptor and keeps it open as long as it is registered.
    let mut log = unsafe { AsyncFd::register(log) }.map_err(std::io::Error::from)?;
    loop {
        let mut ready = log.readable_mut().await?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

/// The configured services with the counter index each has in the kernel.
pub(crate) fn names(config: &Config, maps: &Maps) -> Vec<NamedService> {
    let placed: HashMap<_, _> = maps
        .services()
        .iter()
        .map(|service| ((service.vip, service.port), service.index))
        .collect();
    let named = config.vip_listeners().filter_map(|kernel| {
        let vip = crate::dataplane::ip(kernel.vip).bytes();
        let index = placed.get(&(vip, kernel.listener.port.get()))?;
        Some(NamedService {
            index: *index,
            name: kernel.service.name.clone(),
            vip: kernel.vip,
            port: kernel.listener.port.get(),
        })
    });
    named.collect()
}

/// The services with the facts that need no daemon.
pub(crate) fn services(config: &Config, maps: &Maps, addresses: &[IpAddr]) -> Vec<status::Service> {
    let named = names(config, maps);
    let named: HashMap<_, _> = named
        .iter()
        .map(|named| ((named.vip, named.port), named.index))
        .collect();
    let described = config.vip_listeners().filter_map(|kernel| {
        let port = kernel.listener.port.get();
        let index = named.get(&(kernel.vip, port))?;
        Some(status::Service {
            index: *index,
            name: kernel.service.name.clone(),
            vip: kernel.vip,
            port,
            list: match &kernel.listener.access {
                crate::config::Access::Open => None,
                crate::config::Access::List(list) => Some(list.clone()),
            },
            vip_present: addresses.contains(&kernel.vip),
        })
    });
    described.collect()
}

impl Daemon {
    /// The status of the servers and their sources.
    pub(super) fn describe_backends(&self) -> BTreeMap<String, status::backends::Backend> {
        servers::describe(&self.backends.facts(), &self.engines.check_states())
    }

    /// Looked up now and then, since it reads the process's memory map.
    fn outdated(&self, pid: Option<i32>, haproxy: Option<&Path>) -> BTreeSet<String> {
        let Some(pid) = pid else {
            return BTreeSet::new();
        };
        let mut known = self.outdated.lock().unwrap_or_else(PoisonError::into_inner);
        let now = drive::now();
        known.retain(|_, (at, _)| now.saturating_duration_since(*at) < OUTDATED);
        let look = || (now, crate::haproxy::outdated(pid, haproxy));
        known.entry(pid).or_insert_with(look).1.clone()
    }

    /// The processes of a worker that a restart of the service would end.
    fn in_service(&self, worker: &haproxy::Snapshot) -> Vec<i32> {
        let processes = worker.pid.into_iter().chain(worker.draining());
        processes
            .filter(|pid| self.manager.scopes.ends_with_service(*pid))
            .collect()
    }

    fn names(&self) -> Vec<NamedService> {
        names(&self.config(), &self.plane().maps)
    }

    fn data_plane(&self) -> status::DataPlane {
        let (home, attached) = {
            let plane = self.plane();
            (plane.directory().to_owned(), plane.attached().to_vec())
        };
        let config = self.config();
        let wanted = |name: &&String| config.node.interfaces.contains(*name);
        let away: BTreeSet<&String> = kernel::away(&config).into_iter().filter(wanted).collect();
        // The kernel is asked before the lock is taken.
        let unknown = self.conditions().lacks(&attached);
        let now = unknown.then(Snapshot::take).and_then(Result::ok);
        let held = |it: &Attached| dataplane::holds(&home, &it.interface);
        let held: Vec<Fact> = attached.iter().map(held).collect();
        let mut conditions = self.conditions();
        let mut interfaces = Vec::new();
        for (it, held) in attached.iter().zip(&held) {
            if !away.contains(&it.interface) {
                interfaces.push(conditions.describe(it, now.as_ref(), held));
            }
        }
        interfaces.extend(away.into_iter().map(|name| status::Interface::away(name)));
        let unexplained_drops = conditions.unexplained_drops();
        drop(conditions);
        let plane = self.plane();
        let node = plane.maps.node.read(0);
        status::DataPlane {
            interfaces,
            adopted: plane.adopted,
            steering: node.steer == 1,
            steer_dropped: counters::lost(&plane.maps, plane.directory()),
            unreadable: counters::unreadable(&plane.maps),
            steering_reason: plane.steering().map(|decision| decision.why.clone()),
            unexplained_drops,
            programs: facts::programs(plane.directory()),
            maps: facts::maps(plane.directory()),
        }
    }
}

impl api::http::Source for Daemon {
    async fn counters(&self) -> status::Counters {
        let names = self.names();
        counters::read(&self.plane().maps, &names).unwrap_or_else(|error| {
            tracing::error!(%error, "read the counters of the packet path for an answer");
            status::Counters::default()
        })
    }

    async fn status(&self) -> status::Status {
        let config = self.config();
        let addresses = netlink::addresses().await.unwrap_or_else(|error| {
            tracing::error!(%error, "ask the kernel for the node's addresses for the status");
            Vec::new()
        });
        let snapshots = self.pool.facts().snapshot();
        let finishing = snapshots.iter().flat_map(|it| it.finishing.iter().cloned());
        let remaining = self.remaining.of(finishing.collect()).await;
        let workers: Vec<status::Worker> = snapshots
            .iter()
            .map(|snapshot| status::Worker {
                outdated: self.outdated(snapshot.pid, Some(&config.workers.haproxy)),
                ends_with_service: self.in_service(snapshot),
                ..worker(snapshot, &remaining)
            })
            .collect();
        let backends = self.describe_backends();
        let lists = self.access_lists.facts().status();
        let data_plane = self.data_plane();
        let healthy = data_plane.interfaces.iter().all(status::Interface::is_well)
            && workers.iter().any(|worker| worker.in_ring);
        let speaking = self.announcer.speaking();
        status::Status {
            version: env!("CARGO_PKG_VERSION").into(),
            instance: config.node.instance.clone(),
            pid: Some(std::process::id()),
            started: Some(self.started),
            outdated: self.outdated(i32::try_from(std::process::id()).ok(), None),
            healthy,
            configuration: Some(self.in_force().describe()),
            disk: crate::system::store::disk(),
            reconcile: self.tally().status(),
            services: services(&config, &self.plane().maps, &addresses),
            data_plane,
            workers,
            lists,
            backends,
            certificates: self.certificates(),
            gate: self.announcer.gates().iter().map(Into::into).collect(),
            bgp: speaking
                .bgp
                .iter()
                .flat_map(status::bgp::neighbours)
                .collect(),
            bfd: (&speaking.bfd).into(),
            vrrp: speaking.vrrp.as_ref().map(Into::into).unwrap_or_default(),
        }
    }

    fn run(&self) -> &Path {
        &self.run
    }
}

/// `remaining`: the connections of finishing processes.
fn worker(snapshot: &haproxy::Snapshot, remaining: &BTreeMap<i32, usize>) -> status::Worker {
    let exit = snapshot.last_exit.map(|exit| match exit {
        Exit::Code(code) => format!("exit status {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Unknown => "ended while no daemon watched".into(),
    });
    status::Worker {
        number: snapshot.worker,
        cpu: snapshot.cpu,
        pid: snapshot.pid,
        state: snapshot.stage,
        seconds: drive::now()
            .saturating_duration_since(snapshot.since)
            .as_secs(),
        in_ring: snapshot.in_ring,
        restarts: snapshot.restarts,
        last_exit: exit,
        draining: snapshot.draining(),
        finishing: snapshot
            .finishing
            .iter()
            .map(|it| status::Finishing {
                pid: it.pid,
                since: it.since,
                connections: remaining.get(&it.pid).copied(),
            })
            .collect(),
        as_root: snapshot.as_root(),
        outdated: BTreeSet::new(),
        ends_with_service: Vec::new(),
    }
}
