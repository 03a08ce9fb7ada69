//! Changes of lists and servers alone, while the daemon runs. A change is prepared without any lock and put in force unless
//! another change was faster: then it is prepared again with the answers it has, while other changes wait.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use tokio::task::spawn_blocking;

use super::{Daemon, published::Guard, unlisted};
use crate::{
    api::{Sync, Synced, Target},
    backends::{Ask, Ready, With, discover::own::Own, server::Servers},
    config::Config,
    dataplane::access::Diff,
    haproxy::{Pool, Report},
    lists::{self, AccessLists, Heard},
    names::resolve::Answers,
    system::memory,
};

/// See [`Daemon::changing`].
pub(super) type Changing<'d> = tokio::sync::MutexGuard<'d, ()>;

impl Daemon {
    /// The right to put a change in force. `late`: the right that this change kept when another one overtook it.
    pub(super) async fn changing<'d>(&'d self, late: Option<Changing<'d>>) -> Changing<'d> {
        match late {
            Some(changing) => changing,
            None => self.changing.lock().await,
        }
    }

    /// Changes lists and backends, all or none.
    pub async fn sync(&self, sync: &Sync) -> anyhow::Result<Vec<Synced>> {
        let servers = sync
            .edits
            .iter()
            .any(|edit| matches!(edit.target, Target::Backend(_)));
        let answers = Answers::default();
        if !servers {
            return self.sync_lists(sync, &answers).await;
        }
        if sync.dry_run {
            let ready = self.prepare_servers(sync, Ask::All, &answers).await?;
            let mut shown = edited(sync, &ready);
            shown.extend(self.sync_lists(sync, &answers).await?);
            return Ok(shown);
        }
        let mut late = None;
        loop {
            // The slow part comes before the first lock. If another change was faster it is done again with the answers it has.
            let ready = self.prepare_servers(sync, Ask::All, &answers).await?;
            let draft = self.access_lists.lock().await.draft(sync)?;
            let heard = draft.read(&answers).await?;
            let changing = self.changing(late).await;
            if let Some(done) = self.sync_both(sync, ready, heard).await? {
                return Ok(done);
            }
            late = Some(changing);
        }
    }

    /// Servers, then lists; the servers go back if the lists are refused. `None`: another change was faster.
    async fn sync_both(
        &self,
        sync: &Sync,
        ready: Ready,
        heard: Vec<Heard>,
    ) -> anyhow::Result<Option<Vec<Synced>>> {
        let mut pool = self.pool.lock().await;
        let mut backends = self.backends.lock().await;
        let access_lists = self.access_lists.lock().await;
        if !backends.suits(&ready) || !access_lists.suits(&heard) {
            return Ok(None);
        }
        let config = self.config();
        // On disk before it is in force, and put back if anything refuses.
        let placed = backends.keep(&ready)?.place()?;
        let lists = match put_servers(&mut pool, &config, &ready).await {
            Ok(()) => self.settle_all(access_lists, heard).await,
            Err(error) => Err(error),
        };
        match lists {
            Ok(lists) => {
                let mut done = edited(sync, &ready);
                done.extend(lists);
                backends.commit(ready, placed);
                self.engines.configure(&config, backends.servers());
                Ok(Some(done))
            }
            Err(error) => Err(put_back(&mut pool, &config, backends.servers(), error).await),
        }
    }

    /// Puts lists in force, and fails if one has changed since it was read.
    async fn settle_all(
        &self,
        access_lists: Guard<AccessLists>,
        heard: Vec<Heard>,
    ) -> anyhow::Result<Vec<Synced>> {
        let (access_lists, settled) = settle(access_lists, heard, false).await?;
        self.after_change(&access_lists, &settled);
        settled?.context("change lists: another change came in between; try again")
    }

    async fn sync_lists(&self, sync: &Sync, answers: &Answers) -> anyhow::Result<Vec<Synced>> {
        let mut late = None;
        loop {
            let draft = self.access_lists.lock().await.draft(sync)?;
            let heard = draft.read(answers).await?;
            let changing = self.changing(late).await;
            let (access_lists, settled) =
                settle(self.access_lists.lock().await, heard, sync.dry_run).await?;
            if !sync.dry_run {
                self.after_change(&access_lists, &settled);
            }
            if let Some(synced) = settled? {
                return Ok(synced);
            }
            late = Some(changing);
        }
    }

    /// Has everything that depends on the lists follow, if one changed.
    fn after_change(
        &self,
        access_lists: &AccessLists,
        settled: &Result<Option<Vec<Synced>>, lists::Error>,
    ) {
        let Ok(Some(synced)) = settled else {
            return;
        };
        if synced.iter().any(|it| it.change != Diff::default()) {
            self.routers_changed(access_lists);
        }
        // The kernel looks through all of its connections for this, so an addition, after which no client is unlisted, does
        // without.
        if synced.iter().any(|it| it.change.removed > 0) {
            unlisted::end_connections(access_lists);
        }
    }

    /// Resolves every list again. One that fails keeps what it had, and the failure is logged.
    pub(super) async fn refresh_lists(&self) {
        let names: Vec<String> = {
            let access_lists = self.access_lists.lock().await;
            access_lists.versions().into_keys().collect()
        };
        let each = names.iter().map(|name| self.refresh_list(name));
        for error in futures_util::future::join_all(each).await {
            if let Err(error) = error {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "resolve an access list again; it keeps its entries"
                );
            }
        }
        memory::release();
    }

    async fn refresh_list(&self, name: &str) -> anyhow::Result<()> {
        let answers = Answers::default();
        let mut late = None;
        loop {
            let Ok(draft) = self.access_lists.lock().await.again(name) else {
                // A reload took it away.
                return Ok(());
            };
            let heard = draft.read(&answers).await;
            let changing = self.changing(late).await;
            let mut access_lists = self.access_lists.lock().await;
            let settled = match heard {
                Ok(heard) => {
                    let settled;
                    (access_lists, settled) = settle(access_lists, heard, false).await?;
                    self.after_change(&access_lists, &settled);
                    settled
                }
                Err(error) => Err(error),
            };
            match settled {
                Ok(None) => late = Some(changing),
                Ok(Some(synced)) => {
                    log_changes(&synced, None);
                    access_lists.failed(name, None);
                    return Ok(());
                }
                Err(error) => {
                    access_lists.failed(name, Some(&error));
                    return Err(error.into());
                }
            }
        }
    }

    /// The servers after this change.
    pub(super) async fn prepare_servers(
        &self,
        sync: &Sync,
        ask: Ask,
        answers: &Answers,
    ) -> anyhow::Result<Ready> {
        let draft = self.backends.lock().await.draft();
        let config = self.config();
        let own = Arc::new(self.own(&config));
        let with = With {
            config: &config,
            sync,
            own: &own,
            ask,
        };
        Ok(draft.ready(with, answers).await?)
    }

    pub(super) fn own(&self, config: &Config) -> Own {
        Own::of(config, self.pool.facts().sockets())
    }

    /// Resolves the servers; the workers change only when an address did.
    pub(super) async fn refresh_servers(&self, ask: Ask) -> anyhow::Result<()> {
        let answers = Answers::default();
        let mut late = None;
        loop {
            let ready = self
                .prepare_servers(&Sync::default(), ask, &answers)
                .await?;
            let changing = self.changing(late).await;
            let mut pool = self.pool.lock().await;
            let mut backends = self.backends.lock().await;
            if !backends.suits(&ready) {
                late = Some(changing);
                continue;
            }
            let config = self.config();
            if ready.in_force.servers != *backends.servers() {
                put_servers(&mut pool, &config, &ready).await?;
            }
            backends.put_in_force(ready);
            self.engines.configure(&config, backends.servers());
            return Ok(());
        }
    }

    /// Begins to ask the sources and to check the servers in force.
    pub(super) fn watch_servers(&self) {
        let in_force = Arc::clone(&self.backends.facts().in_force);
        self.engines.configure(&self.config(), &in_force.servers);
    }
}

/// One line for each list whose entries changed. `uid`: the account of the caller; `None`: no caller, names resolve otherwise
/// than before.
pub(super) fn log_changes(done: &[Synced], uid: Option<u32>) {
    for synced in done.iter().filter(|it| it.change != Diff::default()) {
        if let Target::List(list) = &synced.target {
            let Diff { added, removed } = synced.change;
            let count = synced.count;
            tracing::info!(%list, uid, added, removed, count, "access list changed");
        }
    }
}

/// Puts the lists in force with the answers for their names, on a blocking thread, since that may take long.
async fn settle(
    mut access_lists: Guard<AccessLists>,
    heard: Vec<Heard>,
    dry_run: bool,
) -> anyhow::Result<(
    Guard<AccessLists>,
    Result<Option<Vec<Synced>>, lists::Error>,
)> {
    let settled = spawn_blocking(move || {
        let settled = access_lists.settle(heard, dry_run);
        (access_lists, settled)
    });
    settled.await.context("put lists in force")
}

/// The servers of the backends that are changed.
fn edited(sync: &Sync, ready: &Ready) -> Vec<Synced> {
    let edited = |synced: &&Synced| sync.edits.iter().any(|edit| edit.target == synced.target);
    ready.synced.iter().filter(edited).cloned().collect()
}

async fn put_servers(pool: &mut Pool, config: &Config, ready: &Ready) -> anyhow::Result<()> {
    taken(&pool.reload(config, &ready.in_force.servers).await?)
}

/// Did every worker take its servers?
fn taken(report: &Report) -> anyhow::Result<()> {
    let failed: Vec<String> = report
        .failed
        .iter()
        .map(|(worker, why)| format!("worker {worker}: {why}"))
        .collect();
    ensure!(
        failed.is_empty(),
        "give the workers their servers: some keep those they had ({})",
        failed.join("; ")
    );
    Ok(())
}

/// Gives the workers the servers in force again, after `error`. If a worker does not take them, the error says that too.
async fn put_back(
    pool: &mut Pool,
    config: &Config,
    servers: &Servers,
    error: anyhow::Error,
) -> anyhow::Error {
    let back = pool
        .reload(config, servers)
        .await
        .map_err(anyhow::Error::from);
    match back.and_then(|report| taken(&report)) {
        Ok(()) => error,
        Err(back) => anyhow!(
            "{error:#}; and the servers in force could not be put back: {back:#}; `ober-user reload` puts them right, once \
             what stood in the way is gone"
        ),
    }
}
