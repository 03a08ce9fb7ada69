//! Lists and servers alone are changed while running.

use anyhow::{Context as _, ensure};

use super::Daemon;
use crate::{
    api::{Sync, Synced, Target},
    backends::Ready,
    config::Config,
    haproxy::Pool,
};

impl Daemon {
    /// Changes lists and backends, all or none.
    pub async fn sync(&self, sync: &Sync) -> anyhow::Result<Vec<Synced>> {
        let servers = sync
            .edits
            .iter()
            .any(|edit| matches!(edit.target, Target::Backend(_)));
        if !servers {
            let mut keeper = self.keeper.lock().await;
            let done = keeper.sync(sync).await;
            self.routers_changed(&keeper);
            return Ok(done?);
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
            Ok(lists) => {
                self.routers_changed(&keeper);
                done.extend(lists);
            }
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
