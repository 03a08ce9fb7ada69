//! Compares the node with the configuration at intervals: what was changed by hand is set right and logged.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::bail;

use super::{Daemon, fallback::Choice, kernel, membership};
use crate::{
    announce::addresses,
    api::Text,
    config::Config,
    daemon::reconciled::{Reconciled, What},
    dataplane,
    haproxy::Pool,
    lists::AccessLists,
    machine::drive,
    plan::history::{Origin, Reason},
    system::{clock, fact::Fact, store},
};

/// Servers that have left are taken out of the workers this often.
const SWEEP: Duration = Duration::from_secs(1);

/// Takes servers that have left out of the workers when their last connection is gone.
pub(super) async fn sweep(daemon: Arc<Daemon>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let patience = daemon.config().workers.drain;
        daemon.pool.lock().await.sweep(patience).await;
    }
}

/// How often the daemon tries again to write what it could not write.
const KEEP: Duration = Duration::from_secs(10);

/// Writes what is in force and not on disk, as soon as that is possible.
pub(super) async fn keep(daemon: Arc<Daemon>) {
    loop {
        tokio::time::sleep(KEEP).await;
        if store::disk().unkept.is_empty() {
            continue;
        }
        daemon.announcer.keep();
        let mut backends = daemon.backends.lock().await;
        store::off_the_runtime(|| backends.keep_unkept());
        drop(backends);
        let mut access_lists = daemon.access_lists.lock().await;
        store::off_the_runtime(|| access_lists.keep_unkept());
        drop(access_lists);
        // VIPs are only noted here, not added: a change may be about to take them away.
        if let Err(error) = addresses::keep(&daemon.config()) {
            tracing::debug!(%error, "note the VIPs");
        }
    }
}

/// Puts the whole configuration in force as soon as the files that it lacked at the start are there.
pub(super) async fn complete(daemon: Arc<Daemon>) {
    loop {
        tokio::time::sleep(KEEP).await;
        if !daemon.lacks_files() {
            continue;
        }
        let whole = store::off_the_runtime(|| Choice::own(&daemon.path));
        let same = |choice: &Choice| choice.written.hash() == daemon.in_force().written.hash();
        if !whole.is_ok_and(|choice| same(&choice)) {
            continue;
        }
        let origin = Origin::of(Reason::Start);
        match daemon.change(&Text::Own, None, origin).await {
            Ok(_) => tracing::info!(
                "what was missing at the start is there: nothing goes without it any more"
            ),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "put in force what was missing at the start"
            ),
        }
    }
}

/// A pass every `node.reconcile`.
pub(super) async fn reconcile(daemon: Arc<Daemon>) {
    loop {
        let interval = daemon.config().node.reconcile;
        if interval.is_zero() {
            // A reload may set an interval.
            tokio::time::sleep(SWEEP).await;
            continue;
        }
        tokio::time::sleep(interval).await;
        daemon.reconcile().await;
    }
}

impl Daemon {
    /// Does the configuration on disk, if it is in force, lack files?
    fn lacks_files(&self) -> bool {
        let provenance = &self.in_force().provenance;
        provenance.fallback.is_none() && !provenance.missing.is_empty()
    }

    async fn reconcile(&self) {
        let mut pool = self.pool.lock().await;
        let began = drive::now();
        let config = self.config();
        let (mut reconciled, mut failures) = (Vec::new(), Vec::new());
        for found in pool.reconcile().await {
            match found {
                Ok(server) => reconciled.push(Reconciled {
                    what: What::Server,
                    object: server.server,
                    found: server.found,
                    set: server.set,
                }),
                Err(error) => failures.push(error.into()),
            }
        }
        // Locked only now, so that a change of a list does not wait for HAProxy.
        let mut access_lists = self.access_lists.lock().await;
        reconcile_lists(&mut access_lists, &mut reconciled, &mut failures);
        self.lists_changed(&access_lists);
        if let Err(error) = self.reconcile_plane(&config, &access_lists, &pool, &mut reconciled) {
            failures.push(error);
        }
        drop(access_lists);
        match addresses::add(&config, addresses::Noted::May).await {
            Ok(added) => reconciled.extend(added.into_iter().map(|vip| Reconciled {
                what: What::Address,
                object: vip.to_string(),
                found: "no such address here".to_owned(),
                set: "added".to_owned(),
            })),
            Err(error) => failures.push(error),
        }
        for Reconciled {
            what,
            object,
            found,
            set,
        } in &reconciled
        {
            let what = what.name();
            tracing::warn!(
                what,
                object,
                found,
                set,
                "this was changed by hand; it is set right"
            );
        }
        for error in &failures {
            tracing::error!(
                error = format!("{error:#}"),
                "compare what is there with what was put there, or set it right"
            );
        }
        let took = drive::now().saturating_duration_since(began);
        self.tally()
            .count(&reconciled, failures.len(), clock::seconds(), took);
    }

    fn reconcile_plane(
        &self,
        config: &Config,
        access_lists: &AccessLists,
        pool: &Pool,
        reconciled: &mut Vec<Reconciled>,
    ) -> anyhow::Result<()> {
        let members = membership::members(&self.members);
        let mut plane = self.plane();
        let mut note = |what, object: &str, found: &str, set: &str| {
            reconciled.push(Reconciled {
                what,
                object: object.to_owned(),
                found: found.to_owned(),
                set: set.to_owned(),
            });
        };
        if !plane.has_services(&kernel::wanted(config, access_lists)?)? {
            note(
                What::Services,
                "the table of services",
                "others",
                "as configured",
            );
        }
        for (name, found, set) in plane.others(&kernel::switches(config, access_lists)) {
            note(What::Switch, name, &found, &set);
        }
        kernel::put_services(config, &mut plane, access_lists, &pool.sockets())?;
        for _ in 0..plane.set_ring(&members.ring()) {
            note(
                What::Ring,
                "the ring of a service",
                "other workers",
                "the workers that serve",
            );
        }
        let lost = lost(config, plane.directory())?;
        let unpinned = plane.lacks_pins();
        if unpinned || !lost.is_empty() {
            kernel::attach(config, &mut plane)?;
        }
        if unpinned {
            note(What::Program, "pins", "removed", "made anew");
        }
        for place in lost {
            note(What::Program, &place, "not attached", "attached");
        }
        Ok(())
    }
}

/// The places where a program of ours must be attached and is not. An interface that is not here is none.
fn lost(config: &Config, home: &Path) -> anyhow::Result<Vec<String>> {
    let away = kernel::away(config);
    let interfaces = config.node.interfaces.iter();
    let interfaces = interfaces.filter(|name| !away.contains(name));
    let places = interfaces.map(|name| (name.as_str(), dataplane::holds(home, name)));
    let lookup = ("the socket lookup", dataplane::looks_up(home));
    let mut lost = Vec::new();
    for (place, there) in places.chain([lookup]) {
        match there {
            Fact::Yes => {}
            Fact::No => lost.push(place.to_owned()),
            Fact::Unasked(why) => bail!("ask whether the program is attached ({place}): {why}"),
        }
    }
    Ok(lost)
}

fn reconcile_lists(
    access_lists: &mut AccessLists,
    reconciled: &mut Vec<Reconciled>,
    failures: &mut Vec<anyhow::Error>,
) {
    for (list, change) in access_lists.reconcile() {
        match change {
            Ok(change) => reconciled.push(Reconciled {
                what: What::List,
                object: list,
                found: format!(
                    "{} entries missing, {} too many",
                    change.added, change.removed
                ),
                set: "as it is kept on disk".to_owned(),
            }),
            Err(error) => failures.push(error.into()),
        }
    }
}
