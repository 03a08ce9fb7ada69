//! Makes files for the workers from a configuration. No file that a running worker uses is changed before HAProxy has
//! accepted the new ones.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Error,
    render::{Rendered, WorkerContext, render},
    sockets::{Key, Set, keys},
    version,
    worker::{Generation, adopt, process::Launch, world::LaunchOrder},
    write,
};
use crate::{
    backends::server::Servers,
    certificates::{acme, copies},
    config::{
        Config,
        paths::{self, Files},
    },
    system::{
        child::{self, Child, output::Ended},
        clock, file, hash,
    },
};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The most output of HAProxy that is read, in bytes. It writes one line for each fault it finds.
const MOST: usize = 1 << 20;

/// One order for each worker, with its file in place and accepted by HAProxy.
pub(super) async fn prepare(
    config: &Config,
    servers: &Servers,
    sets: &[Set],
) -> Result<Vec<LaunchOrder>, Error> {
    let drafts = draft(config, servers, sets).await?;
    // A worker reads the certificates when it starts; later changes are delivered by its command socket.
    away(config, |config| copies::fill(config, clock::seconds())).await?;
    let run = &config.node.run;
    adopt::make_root(run).map_err(|source| Error::Write {
        path: run.clone(),
        source,
    })?;
    for (text, order) in &drafts {
        write(&order.launch.file, text)?;
    }
    Ok(drafts.into_iter().map(|(_, order)| order).collect())
}

/// One order for each worker with its text, accepted by HAProxy. It leaves no files except copies of new certificates,
/// which are removed a minute later when they are not in use.
pub(super) async fn draft(
    config: &Config,
    servers: &Servers,
    sets: &[Set],
) -> Result<Vec<(String, LaunchOrder)>, Error> {
    version::suits(config).await?;
    away(config, |config| copies::dry_run(config, clock::seconds())).await?;
    let thumbprint = match away(config, acme::thumbprint).await {
        // No certificate can be issued, which is reported with the certificate.
        Err(_) if config.forgiving => None,
        thumbprint => thumbprint?,
    };
    let confines = child::may_confine();
    let drafts = {
        let (config, servers, sets) = (config.clone(), servers.clone(), sets.to_vec());
        let written = move || written(&config, &servers, &sets, thumbprint.as_deref(), confines);
        let written = tokio::task::spawn_blocking(written).await;
        written.map_err(|source| Error::Ended { source })??
    };
    // The texts differ only in numbers; the last one has the longest paths.
    if let Some((text, order)) = drafts.last() {
        let candidate = paths::candidate(&config.node.run);
        let haproxy = &config.workers.haproxy;
        accepted(haproxy, &candidate, text, &order.launch).await?;
    }
    Ok(drafts)
}

/// The order and text of each worker. Slow with thousands of servers.
fn written(
    config: &Config,
    servers: &Servers,
    sets: &[Set],
    thumbprint: Option<&str>,
    confines: bool,
) -> Result<Vec<(String, LaunchOrder)>, Error> {
    let (keys, haproxy) = (keys(config), &config.workers.haproxy);
    let mut drafts = Vec::new();
    for (worker, (cpu, set)) in config.workers.cpus.iter().zip(sets).enumerate() {
        let files = Files::new(&config.node.run, worker);
        let root = files.root();
        let place = WorkerContext {
            worker,
            cpu: *cpu,
            cli: &files.cli(),
            stats: &files.stats(),
            root: confines.then_some(root.as_path()),
            thumbprint,
        };
        let Rendered { text, left_out } = render(config, servers, place)?;
        // The same servers are left out in every worker.
        for error in left_out.iter().filter(|_| worker == 0) {
            tracing::warn!(%error, "a server is left out");
        }
        // The path of the program is part of the text, because the generation is a hash of the text alone.
        let text = format!("# For {}.\n{text}", haproxy.display());
        let generation = Generation(hash::fnv1a(text.bytes()));
        let launch = Launch {
            generation,
            haproxy: haproxy.clone(),
            file: files.config(generation.0),
            cpu: *cpu,
            sockets: in_order(&keys, set),
        };
        let keys = keys.clone();
        drafts.push((text, LaunchOrder { launch, keys }));
    }
    Ok(drafts)
}

/// Reads certificates and keys on another thread, so that a slow file system does not block the daemon.
pub(super) async fn away<T: Send + 'static, E: Send + 'static>(
    config: &Config,
    read: impl FnOnce(&Config) -> Result<T, E> + Send + 'static,
) -> Result<T, Error>
where
    Error: From<E>,
{
    let config = config.clone();
    let done = file::away(PATIENCE, move || read(&config)).await;
    Ok(done.map_err(Error::Unread)??)
}

fn in_order(keys: &[Key], set: &Set) -> Vec<Arc<OwnedFd>> {
    keys.iter()
        .filter_map(|key| set.get(key).cloned())
        .collect()
}

async fn accepted(haproxy: &Path, file: &Path, text: &str, launch: &Launch) -> Result<(), Error> {
    write(file, text)?;
    let child = launch.child(&["-c", "-f"]).arguments([file]);
    let ended = said(haproxy, &child, PATIENCE).await?;
    if ended.exit.success() {
        let path = file.to_owned();
        return std::fs::remove_file(file).map_err(|source| Error::Write { path, source });
    }
    let words = [ended.out, ended.errors].concat();
    Err(Error::Refused {
        file: PathBuf::from(file),
        words: String::from_utf8_lossy(&words).trim().to_owned(),
    })
}

/// Runs HAProxy and returns its output.
pub(super) async fn said(
    haproxy: &Path,
    child: &Child,
    patience: Duration,
) -> Result<Ended, Error> {
    let ended = timeout(patience, child.output(MOST)).await;
    let ended = ended.map_err(io::Error::from).and_then(|ended| Ok(ended?));
    ended.map_err(|source| Error::not_run(haproxy, source))
}
