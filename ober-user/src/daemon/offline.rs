//! Answers of the commands from the pinned maps alone, when no daemon runs.

use std::collections::BTreeMap;

use crate::{
    api::{Answer, Question, Reply, Target, failure, status},
    config::{Config, paths},
    daemon::{Lock, report},
    dataplane::{
        self, Maps, counters, facts, holds,
        interface::{Features, gather::Snapshot},
    },
    lists::AccessLists,
    system::netlink,
};

/// Answers a request without a daemon. Refuses what only a daemon can do, and says how to start one.
pub async fn answer(config: &Config, request: Question) -> Answer {
    reply(config, request)
        .await
        .map_err(|error| failure(&error))
}

async fn reply(config: &Config, request: Question) -> anyhow::Result<Reply> {
    let pins = paths::pins(&config.node.bpffs, &config.node.instance);
    match request {
        Question::Status => Ok(Reply::Status(Box::new(status(config).await?))),
        Question::Counters => {
            let maps = Maps::open(&pins)?;
            Ok(Reply::Counters(counters::read(
                &maps,
                &report::names(config, &maps),
            )?))
        }
        Question::Show { list } => Ok(Reply::Lists(
            AccessLists::open(config, &pins)?
                .facts()
                .show(list.as_deref())?,
        )),
        Question::Check { address } => {
            let lists = AccessLists::open(config, &pins)?.facts();
            Ok(Reply::Checked(lists.check(address)))
        }
        Question::Sync(sync) => {
            let only_lists = sync
                .edits
                .iter()
                .all(|edit| matches!(edit.target, Target::List(_)));
            anyhow::ensure!(
                only_lists,
                "set the servers of a backend: no daemon runs; start it with `ober-user run`"
            );
            let _lock = Lock::wait(&config.node.run).await?;
            let mut access_lists = AccessLists::open(config, &pins)?;
            if !sync.dry_run {
                access_lists.restore(false)?;
            }
            Ok(Reply::Synced(access_lists.sync(&sync).await?))
        }
        Question::Reload
        | Question::RestartWorkers
        | Question::Plan { .. }
        | Question::Apply { .. }
        | Question::Backends
        | Question::Gate { .. } => {
            anyhow::bail!(
                "no daemon runs on instance {}; start it with `ober-user run`",
                config.node.instance
            )
        }
    }
}

/// The status of the node by its pins: programs, maps, services and lists. Only a daemon knows the workers.
async fn status(config: &Config) -> anyhow::Result<status::Status> {
    let pins = paths::pins(&config.node.bpffs, &config.node.instance);
    let maps = Maps::open(&pins)?;
    let now = Snapshot::take().ok();
    let interface = |name: &String| {
        let features = now
            .as_ref()
            .and_then(|now| now.features(name))
            .unwrap_or_else(|| Features {
                name: name.clone(),
                ..Features::default()
            });
        let why = dataplane::note(&pins, name).and_then(|note| note.why_generic);
        let native = dataplane::native(&pins, name);
        status::Interface {
            attached: holds(&pins, name).known(),
            ..status::Interface::of(&features, native, why.as_ref())
        }
    };
    Ok(status::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        instance: config.node.instance.clone(),
        pid: None,
        started: None,
        outdated: std::collections::BTreeSet::new(),
        healthy: false,
        configuration: None,
        disk: crate::system::store::disk(),
        reconcile: status::Reconcile::default(),
        data_plane: status::DataPlane {
            interfaces: config.node.interfaces.iter().map(interface).collect(),
            adopted: false,
            steering: maps.node.read(0).steer == 1,
            steer_dropped: counters::lost(&maps, &pins),
            unreadable: counters::unreadable(&maps),
            steering_reason: None,
            unexplained_drops: 0,
            programs: facts::programs(&pins),
            maps: facts::maps(&pins),
        },
        services: report::services(config, &maps, &netlink::addresses().await?),
        workers: Vec::new(),
        lists: AccessLists::open(config, &pins)?.facts().status(),
        backends: BTreeMap::new(),
        certificates: status::certificates::Certificates::default(),
        gate: Vec::new(),
        bgp: Vec::new(),
        bfd: status::bfd::Bfd::default(),
        vrrp: status::vrrp::Vrrp::default(),
    })
}
