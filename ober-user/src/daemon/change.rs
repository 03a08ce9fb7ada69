//! Another configuration while the daemon runs: the plan of it, and how it is put in force as a whole or not at all.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use tokio::task::spawn_blocking;

use super::{
    Daemon, InForce,
    failed_course::{Doubt, FailedCourse},
    fallback,
    files::Files,
    kernel, published,
    steps::{
        Failed, Steps as _, perform,
        running::{self, Commit, Filling},
    },
    sync::Changing,
};
use crate::{
    api::{Reloaded, Restarted, Sync, Text},
    backends::{self, Ask, Backends, Ready, With},
    config::{Config, Texts},
    haproxy::{self, Pool, Report},
    lists::{self, AccessLists},
    names::resolve::Answers,
    plan::{self, Plan, PlanFacts, Side, State, history::Origin},
    system::{clock, file},
};

/// How long reading a configuration and the files it names may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The parts that a change needs, locked in the order of [`Daemon`].
struct Locks<'d> {
    changing: Changing<'d>,
    pool: published::Guard<Pool>,
    backends: published::Guard<Backends>,
    access_lists: published::Guard<AccessLists>,
}

/// The versions that a change was prepared from. It can be put in force while no other change has replaced them.
struct Basis {
    config: Arc<Config>,
    backends: u64,
    lists: BTreeMap<String, u64>,
}

/// The servers that are in force.
struct Was {
    in_force: Arc<backends::InForce>,
    version: u64,
}

/// A change that may still be dropped.
struct Prepared {
    basis: Basis,
    written: Texts,
    config: Arc<Config>,
    backends: Backends,
    ready: Ready,
    lists: AccessLists,
    preview: lists::Preview,
    from: State,
    to: State,
    /// What a failed way back may have left; `None`: the node is as the configuration in force says.
    doubt: Option<Doubt>,
    plan: Plan,
}

/// The lists with the answers for their names, made on a thread of its own.
async fn preview(
    lists: AccessLists,
    answers: &Answers,
) -> anyhow::Result<(AccessLists, lists::Preview)> {
    let heard = lists::hear(lists.drafts(), answers).await;
    let preview = spawn_blocking(move || {
        let preview = lists.preview(heard);
        (lists, preview)
    });
    Ok(preview.await?)
}

impl Daemon {
    /// Replaces the workers by new processes of the configuration in force: HAProxy or a library may have been upgraded.
    pub(super) async fn restart_workers(&self, by: Option<u32>) -> Restarted {
        let _changing = self.changing(None).await;
        let mut pool = self.pool.lock().await;
        let _reload = self.manager.notifier.reload();
        let Report {
            replaced,
            unchanged,
            failed,
            ..
        } = pool.renew().await;
        tracing::info!(by, ?replaced, ?failed, "workers were replaced on request");
        let haproxy = haproxy::version::probe(&self.config().workers.haproxy).await;
        self.in_force().haproxy = haproxy.ok();
        Restarted {
            replaced,
            unchanged,
            failed: failed.into_iter().collect(),
        }
    }

    /// The plan of putting this text in force. Changes nothing.
    pub(super) async fn plan(&self, text: &Text) -> anyhow::Result<Plan> {
        let (written, _) = Box::pin(self.written(text)).await?;
        let prepared = Box::pin(self.prepare(written, &Answers::default())).await?;
        Ok(prepared.plan)
    }

    /// Puts a text in force, or changes nothing and says why. `over`: the fingerprint of the main file that it may replace.
    pub(super) async fn change(
        &self,
        text: &Text,
        over: Option<String>,
        mut origin: Origin,
    ) -> anyhow::Result<Reloaded> {
        let (written, of) = Box::pin(self.written(text)).await?;
        origin.of = of;
        let (prepared, mut held) = Box::pin(self.prepare_and_hold(written)).await?;
        let _reload = self.manager.notifier.reload();
        let files = match text {
            Text::Own => Files::default(),
            Text::File(_) | Text::Snapshot(_) => {
                Files::prepare(&self.path, &prepared.written)?.over(&self.path, over)?
            }
        };
        let (plan, report) = Box::pin(self.perform(prepared, files, &mut held)).await?;
        // While the locks are held, so that no other change comes first.
        let turn = self.turn();
        let mut warnings = Vec::new();
        if let Err(error) = self.ask_drivers_again() {
            let error = error.context("ask the drivers again whether they take the program");
            tracing::error!(
                error = format!("{error:#}"),
                "the programs stay attached as they were"
            );
            warnings.push(format!("{error:#}"));
        }
        drop(held);
        let (reason, by) = (origin.reason.name(), origin.by);
        let config = self.config();
        match self.away(move |path| config.remarks(path)).await {
            Ok(remarks) => remarks.iter().for_each(|remark| tracing::warn!("{remark}")),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "check which accounts may write to the files of the configuration"
            ),
        }
        tracing::info!(
            reason,
            by,
            steps = plan.steps.len(),
            "the configuration is in force"
        );
        let snapshot = match self.remember(turn, origin).await {
            Ok(number) => Some(number),
            Err(error) => {
                let error =
                    error.context("keep a snapshot of the configuration, which is in force");
                tracing::error!(
                    error = format!("{error:#}"),
                    "the configuration is in force and is not in the history"
                );
                warnings.push(format!("{error:#}"));
                None
            }
        };
        Ok(Reloaded {
            replaced: report.replaced,
            changed_live: report.changed_live,
            unchanged: report.unchanged,
            failed: report.failed.into_iter().collect(),
            plan,
            snapshot,
            warnings,
        })
    }

    /// Prepares the slow part first, without a lock. If another change was faster, prepares it again with the answers it has
    /// for names, while other changes wait.
    async fn prepare_and_hold(&self, written: Texts) -> anyhow::Result<(Prepared, Locks<'_>)> {
        let answers = Answers::default();
        let mut late = None;
        loop {
            let prepared = self.prepare(written.clone(), &answers).await?;
            let held = Locks {
                changing: self.changing(late).await,
                pool: self.pool.lock().await,
                backends: self.backends.lock().await,
                access_lists: self.access_lists.lock().await,
            };
            let Basis {
                config,
                backends,
                lists,
            } = &prepared.basis;
            if Arc::ptr_eq(config, &self.config())
                && *backends == held.backends.version()
                && *lists == held.access_lists.versions()
            {
                return Ok((prepared, held));
            }
            late = Some(held.changing);
        }
    }

    /// The files of this text, and the snapshot that they are from.
    async fn written(&self, text: &Text) -> anyhow::Result<(Texts, Option<u64>)> {
        match text {
            Text::Own => Ok((self.away(Texts::read).await??, None)),
            Text::File(file) => {
                let file = file.clone();
                let written = self.away(|path| Texts::replaced(path, file)).await??;
                Ok((written, None))
            }
            Text::Snapshot(number) => {
                let (history, number) = (self.history(), *number);
                let hash = self.in_force().written.hash();
                let read = move |_: &Path| match number {
                    Some(number) => history.read(number),
                    None => history.before(&hash),
                };
                let snapshot = self.away(read).await??;
                Ok((snapshot.written, Some(snapshot.entry.number)))
            }
        }
    }

    /// Reads files of the configuration, or files that those name, on a thread of its own: a file system may not answer.
    async fn away<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let path = self.path.clone();
        let done = file::away(PATIENCE, move || read(&path)).await;
        done.with_context(|| format!("read {} and the files it names", self.path.display()))
    }

    async fn prepare(&self, written: Texts, answers: &Answers) -> anyhow::Result<Prepared> {
        let old = self.config();
        let text = written.clone();
        let config = self
            .away(move |path| fallback::meant(path, &text))
            .await??;
        let config = Arc::new(config);
        unchangeable(&old, &config)?;
        kernel::check_interfaces(&old.node.interfaces, &config)?;
        let in_force = Backends::clone(&*self.backends.lock().await);
        let was = Was {
            in_force: Arc::clone(&in_force.facts().in_force),
            version: in_force.version(),
        };
        let backends = in_force.next(&config)?;
        let with = With {
            config: &config,
            sync: &Sync::default(),
            own: &Arc::new(self.own(&config)),
            ask: Ask::All,
        };
        let ready = backends.draft().ready(with, answers).await?;
        let (lists, kept) = self.open_lists(&config).await?;
        let (lists, preview) = preview(lists, answers).await?;
        let servers = &ready.in_force.servers;
        let facts = PlanFacts {
            lists: preview.synced().to_vec(),
            unfilled: preview.failures(),
            workers: self.pool.lock().await.preview(&config, servers).await?,
            servers: *was.in_force != ready.in_force,
        };
        let (before, keys) = (self.in_force().written.keys(), written.keys());
        let side = Side {
            config: &old,
            keys: &before,
            in_force: &was.in_force,
        };
        let next = Side {
            config: &config,
            keys: &keys,
            in_force: &ready.in_force,
        };
        let mut plan = Plan::of(Some(side), next, &facts);
        let (from, to) = plan::states(Some(&old), &config, &facts);
        let doubt = self.in_force().doubt.clone();
        if let Some(Doubt {
            failures, maybe, ..
        }) = &doubt
        {
            plan.doubt(failures, plan::regain(maybe, &to));
        }
        Ok(Prepared {
            basis: Basis {
                config: old,
                backends: was.version,
                lists: kept,
            },
            written,
            config,
            backends,
            ready,
            lists,
            preview,
            from,
            to,
            doubt,
            plan,
        })
    }

    /// The lists of another configuration, from the files on disk, which no other change can touch meanwhile; and the versions
    /// of the lists in force that those hold.
    async fn open_lists(
        &self,
        config: &Arc<Config>,
    ) -> anyhow::Result<(AccessLists, BTreeMap<String, u64>)> {
        let access_lists = self.access_lists.lock().await;
        let (config, pins) = (Arc::clone(config), self.plane().directory().to_owned());
        let open = move || {
            let versions = access_lists.versions();
            Ok((access_lists.next(&config, &pins)?, versions))
        };
        spawn_blocking(open).await?
    }

    async fn perform(
        &self,
        mut change: Prepared,
        files: Files,
        held: &mut Locks<'_>,
    ) -> anyhow::Result<(Plan, Report)> {
        let old = self.config();
        // If something in force was changed by hand, these steps set it right.
        let steps = if change.plan.is_empty() {
            plan::affirm()
        } else {
            change.plan.steps.clone()
        };
        let servers = change.ready.in_force.servers.clone();
        let pending = change.backends.keep(&change.ready)?;
        let mut direction = running::Direction {
            daemon: self,
            pool: &mut held.pool,
            from: &old,
            to: &change.config,
            was: &held.access_lists,
            lists: &mut change.lists,
            filling: Filling::Preview(change.preview),
            servers: &servers,
            withdrawn: std::collections::BTreeSet::new(),
            commit: Some(Commit {
                files,
                backends: &mut change.backends,
                ready: change.ready,
                pending,
            }),
            report: Report::default(),
        };
        if let Err(failed) = perform(&steps, &mut direction).await {
            let way = FailedCourse {
                steps: &steps,
                from: &change.from,
                to: &change.to,
                doubt: change.doubt.as_ref(),
                filled: matches!(direction.filling, Filling::Done),
            };
            return Err(self
                .go_back(failed, way, &change.config, &change.lists, held)
                .await);
        }
        let report = direction.report;
        let program = &change.config.workers.haproxy;
        let haproxy = haproxy::version::probe(program).await.ok();
        change.lists.sweep();
        *held.access_lists = change.lists;
        *held.backends = change.backends;
        self.engines
            .configure(&change.config, held.backends.servers());
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = change.config;
        *self.in_force() = InForce::new(change.written, haproxy, fallback::Provenance::default());
        self.lists_changed(&held.access_lists);
        Ok((change.plan, report))
    }

    /// Puts back what was in force, as far as possible.
    async fn go_back(
        &self,
        failed: Failed,
        way: FailedCourse<'_>,
        config: &Config,
        lists: &AccessLists,
        held: &mut Locks<'_>,
    ) -> anyhow::Error {
        let Failed { done, error } = failed;
        let old = self.config();
        let servers = held.backends.servers().clone();
        self.announcer.forget().await;
        let mut failures = Vec::new();
        let recalls = way.filled || way.doubt.is_some();
        if recalls && let Err(error) = held.access_lists.distrust() {
            let error = anyhow::Error::from(error);
            failures.push(format!("read the lists in force: {error:#}"));
        }
        let mut direction = running::Direction {
            daemon: self,
            pool: &mut held.pool,
            from: config,
            to: &old,
            was: lists,
            lists: &mut held.access_lists,
            filling: if recalls {
                Filling::Recalled
            } else {
                Filling::Done
            },
            servers: &servers,
            withdrawn: std::collections::BTreeSet::new(),
            commit: None,
            report: Report::default(),
        };
        for step in way.back(done) {
            if let Err(error) = direction.take(&step).await {
                failures.push(format!("{step}: {error:#}"));
            }
        }
        // The sources of a list may differ where its entries are the same, and no step goes back over those.
        direction.fill().await;
        if failures.is_empty() {
            held.access_lists.sweep_after(lists);
        }
        self.announcer.forget().await;
        self.lists_changed(&held.access_lists);
        self.doubt(failures, &way, error)
    }

    /// Records that a way back failed, if it did: the state of the node is not known from then on, and the next change puts
    /// everything in force again.
    fn doubt(
        &self,
        failures: Vec<String>,
        way: &FailedCourse<'_>,
        error: anyhow::Error,
    ) -> anyhow::Error {
        if failures.is_empty() {
            self.in_force().doubt = None;
            return error;
        }
        for failure in &failures {
            tracing::error!(failure, "put back what was in force");
        }
        let reasons = failures.join("; ");
        self.in_force().doubt = Some(Doubt {
            since: clock::seconds(),
            failures,
            maybe: way.maybe(),
        });
        anyhow!(
            "{error:#}; and what was in force could not be put back: {reasons}; `ober-user reload` with the configuration in \
             force puts everything right, once what stood in the way is gone"
        )
    }

    /// Asks again whether a driver takes the program, since the reason for a refusal may be gone. Only a driver that refused,
    /// or whose interface changed, is asked.
    fn ask_drivers_again(&self) -> anyhow::Result<()> {
        let config = self.config();
        let mut plane = self.plane();
        plane.ask_again();
        kernel::attach(&config, &mut plane)
    }
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
