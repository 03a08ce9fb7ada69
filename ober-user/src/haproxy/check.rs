//! From a configuration to files HAProxy has agreed to. Nothing a running worker uses is touched before it has.

use std::{
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Error,
    adopt::Files,
    process::{Launch, hand_over},
    render::{Place, Servers, render},
    slot::Order,
    sockets::{Key, Set, keys},
    version,
    worker::Generation,
    write,
};
use crate::{
    certificates::{acme, shelf},
    config::Config,
    lists,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// One order a worker, each with its file in place and accepted by HAProxy.
pub(super) async fn prepare(
    config: &Config,
    servers: &Servers,
    sets: &[Set],
) -> Result<Vec<Order>, Error> {
    version::suits(config).await?;
    // A worker reads them when it starts; what changes later it is told.
    shelf::fill(config, lists::now())?;
    let thumbprint = acme::thumbprint(config)?;
    let (keys, haproxy) = (keys(config), &config.workers.haproxy);
    let mut orders = Vec::new();
    for (worker, (cpu, set)) in config.workers.cpus.iter().zip(sets).enumerate() {
        let files = Files::new(&config.node.run, worker);
        let place = Place {
            worker,
            cpu: *cpu,
            cli: &files.cli(),
            stats: &files.stats(),
            thumbprint: thumbprint.as_deref(),
        };
        let text = render(config, servers, place)?;
        let generation = fingerprint(&[haproxy.as_os_str().as_bytes(), text.as_bytes()]);
        let launch = Launch {
            generation,
            haproxy: haproxy.clone(),
            file: files.config(generation),
            cpu: *cpu,
            sockets: in_order(&keys, set),
        };
        orders.push((
            text,
            Order {
                launch,
                keys: keys.clone(),
            },
        ));
    }
    // They differ in numbers only; the last one has the longest paths.
    if let Some((text, order)) = orders.last() {
        accepted(
            &config.workers.haproxy,
            &config.node.run.join("candidate.cfg"),
            text,
            &order.launch,
        )
        .await?;
    }
    for (text, order) in &orders {
        write(&order.launch.file, text)?;
    }
    Ok(orders.into_iter().map(|(_, order)| order).collect())
}

fn in_order(keys: &[Key], set: &Set) -> Vec<Arc<OwnedFd>> {
    keys.iter()
        .filter_map(|key| set.get(key).cloned())
        .collect()
}

/// FNV-1a: the same in every build, since the next daemon compares it.
fn fingerprint(parts: &[&[u8]]) -> Generation {
    let bytes = parts.iter().flat_map(|part| part.iter());
    Generation(bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

async fn accepted(haproxy: &Path, file: &Path, text: &str, launch: &Launch) -> Result<(), Error> {
    write(file, text)?;
    let mut command = Command::new(haproxy);
    command.arg("-c").arg("-f").arg(file).stdin(Stdio::null());
    hand_over(&mut command, &launch.sockets);
    let mut command = tokio::process::Command::from(command);
    let output = timeout(PATIENCE, command.kill_on_drop(true).output())
        .await
        .map_err(io::Error::from);
    let output = output
        .flatten()
        .map_err(|source| Error::not_run(haproxy, source))?;
    if output.status.success() {
        let path = file.to_owned();
        return std::fs::remove_file(file).map_err(|source| Error::Write { path, source });
    }
    let words = [output.stdout, output.stderr].concat();
    Err(Error::Refused {
        file: PathBuf::from(file),
        words: String::from_utf8_lossy(&words).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_fnv_1a_and_covers_every_part() {
        assert_eq!(fingerprint(&[]), Generation(0xcbf2_9ce4_8422_2325));
        assert_eq!(fingerprint(&[b"foobar"]), Generation(0x8594_4171_f739_67e8));
        assert_eq!(fingerprint(&[b"foo", b"bar"]), fingerprint(&[b"foobar"]));
        assert_ne!(
            fingerprint(&[b"haproxy", b"old text"]),
            fingerprint(&[b"haproxy", b"new text"])
        );
    }
}
