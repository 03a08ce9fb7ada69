//! Changes while running: the configuration as a whole, or lists and servers alone.

use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, ensure};

use super::{Daemon, start, steering};
use crate::{
    announce::addresses,
    api::{Reloaded, Sync, Synced, Target},
    backends::{Backends, Ready},
    config::Config,
    haproxy::{Pool, Report},
    lists::Keeper,
};

impl Daemon {
    /// Reads the configuration again and puts it in force, or changes nothing and says why.
    pub async fn reload(&self) -> anyhow::Result<Reloaded> {
        let old = self.config();
        let config = start::load(&self.path)?;
        unchangeable(&old, &config)?;
        start::check_interfaces(&config)?;
        let mut pool = self.pool.lock().await;
        let mut backends = self.backends.lock().await;
        let mut keeper = self.keeper.lock().await;
        let mut fresh = Backends::open(&config)?;
        fresh.inherit(&backends);
        let ready = fresh.prepare(&config, &Sync::default()).await?;
        let mut lists = Keeper::open(&config, self.plane().directory())?;
        // A port may be taken, a driver may refuse the programs: better now, when nothing has changed.
        let mut possible = self.announcer.speak(&config).await;
        if possible.is_ok() {
            possible = start::attach(&reaching(&config, &old), &mut self.plane()).map(drop);
        }
        if let Err(error) = possible {
            self.announcer.speak(&old).await?;
            return Err(error);
        }
        // A service that goes is withdrawn, then it leaves the kernel, then its sockets go; a new one comes after its
        // sockets are there. Those that stay keep the lists they had until then: the old keeper alone knows all of them.
        let staying = staying(&old, &config);
        self.announcer.withdraw(&staying, &pool.sockets()).await?;
        self.put(&staying, &keeper, &pool)?;
        let report = match pool.reload(&config, &ready.servers).await {
            Ok(report) => report,
            Err(error) => {
                self.put_back(&old, &keeper, &pool).await?;
                return Err(error.into());
            }
        };
        for error in lists.refresh().await {
            tracing::warn!(%error, "refresh");
        }
        self.put(&config, &lists, &pool)?;
        lists.sweep()?;
        fresh.commit(ready)?;
        *backends = fresh;
        self.watch.follow(&config, backends.servers());
        *keeper = lists;
        let attached = start::attach(&config, &mut self.plane())?;
        *self
            .attached
            .write()
            .unwrap_or_else(PoisonError::into_inner) = attached;
        addresses::add(&config).await?;
        self.announcer.guard(&config, &pool.sockets()).await?;
        addresses::remove(&config, &config.vips().collect::<Vec<_>>()).await?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(reloaded(report))
    }

    /// The services, programs and neighbours of a configuration that was in force.
    async fn put_back(&self, old: &Config, keeper: &Keeper, pool: &Pool) -> anyhow::Result<()> {
        self.put(old, keeper, pool)?;
        start::attach(old, &mut self.plane())?;
        self.announcer.speak(old).await?;
        self.announcer.guard(old, &pool.sockets()).await
    }

    /// Changes lists and backends, all or none.
    pub async fn sync(&self, sync: &Sync) -> anyhow::Result<Vec<Synced>> {
        let servers = sync
            .edits
            .iter()
            .any(|edit| matches!(edit.target, Target::Backend(_)));
        if !servers {
            return Ok(self.keeper.lock().await.sync(sync).await?);
        }
        let mut pool = self.pool.lock().await;
        let mut backends = self.backends.lock().await;
        let mut keeper = self.keeper.lock().await;
        let config = self.config();
        let ready = backends.prepare(&config, sync).await?;
        let edited = |synced: &Synced| sync.edits.iter().any(|edit| edit.target == synced.target);
        let mut done: Vec<Synced> = ready
            .synced
            .iter()
            .filter(|synced| edited(synced))
            .cloned()
            .collect();
        if sync.dry_run {
            done.extend(keeper.sync(sync).await?);
            return Ok(done);
        }
        put_servers(&mut pool, &config, &ready).await?;
        match keeper.sync(sync).await {
            Ok(lists) => done.extend(lists),
            Err(error) => {
                pool.reload(&config, backends.servers())
                    .await
                    .context("put the old servers back")?;
                return Err(error.into());
            }
        }
        backends.commit(ready)?;
        self.watch.follow(&config, backends.servers());
        Ok(done)
    }

    /// Resolves the servers again; the workers are replaced only when an address changed.
    pub(super) async fn refresh_servers(&self) -> anyhow::Result<()> {
        let mut pool = self.pool.lock().await;
        let mut backends = self.backends.lock().await;
        let config = self.config();
        let ready = backends.prepare(&config, &Sync::default()).await?;
        if ready.servers != *backends.servers() {
            put_servers(&mut pool, &config, &ready).await?;
        }
        backends.commit(ready)?;
        self.watch.follow(&config, backends.servers());
        Ok(())
    }

    /// Begins to ask and to check.
    pub(super) async fn watch_servers(&self) {
        let backends = self.backends.lock().await;
        self.watch.follow(&self.config(), backends.servers());
    }

    fn put(&self, config: &Config, keeper: &Keeper, pool: &Pool) -> anyhow::Result<()> {
        let members = steering::members(&self.members);
        let mut plane = self.plane();
        start::put_services(config, &mut plane, keeper, &pool.sockets())?;
        // A new service starts with an empty ring.
        plane.set_ring(&members.ring());
        Ok(())
    }
}

async fn put_servers(pool: &mut Pool, config: &Config, ready: &Ready) -> anyhow::Result<()> {
    let report = pool.reload(config, &ready.servers).await?;
    ensure!(
        report.failed.is_empty(),
        "some workers keep the servers they had: {:?}",
        report.failed
    );
    Ok(())
}

/// The new configuration on the interfaces of both, but for those that are gone.
fn reaching(new: &Config, old: &Config) -> Config {
    let mut both = new.clone();
    let more = old.node.interfaces.iter();
    let more = more.filter(|name| !new.node.interfaces.contains(name));
    let more = more.filter(|name| nix::net::if_::if_nametoindex(name.as_str()).is_ok());
    both.node.interfaces.extend(more.cloned());
    both
}

/// The old configuration without the services that go.
fn staying(old: &Config, new: &Config) -> Config {
    let mut staying = old.clone();
    for service in &mut staying.services {
        let Some(next) = new.services.iter().find(|next| next.name == service.name) else {
            service.vips.clear();
            continue;
        };
        service.vips.retain(|vip| next.vips.contains(vip));
        service.listeners.retain(|listener| {
            next.listeners
                .iter()
                .any(|other| other.port == listener.port)
        });
    }
    staying
}

fn unchangeable(old: &Config, new: &Config) -> anyhow::Result<()> {
    let (a, b) = (&old.node, &new.node);
    let same = a.instance == b.instance
        && a.state == b.state
        && a.run == b.run
        && a.bpffs == b.bpffs
        && a.metrics == b.metrics
        && a.cluster_key == b.cluster_key
        && a.packet_log == b.packet_log
        && a.xdp == b.xdp
        && old.limits == new.limits;
    ensure!(
        same,
        "node.instance, state, run, bpffs, metrics, cluster_key, packet_log, xdp and limits are fixed at the start: \
         restart the daemon to change them; traffic goes on meanwhile"
    );
    Ok(())
}

fn reloaded(report: Report) -> Reloaded {
    Reloaded {
        replaced: report.replaced,
        told: report.told,
        unchanged: report.unchanged,
        failed: report.failed.into_iter().collect(),
    }
}
