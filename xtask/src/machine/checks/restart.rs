//! What happens to the daemon while clients download and ask.

use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving::{self, Load};
use anyhow::{Result, ensure};
use std::time::Duration;

/// How long the download takes, in seconds: the change and all that follows fit into it.
pub(super) const LOAD: u32 = 40;
const LIMIT: Duration = Duration::from_mins(5);

pub(super) fn restart(node: &mut Node, _: &Packages) -> Result<String> {
    under_load(node, "systemctl restart ober", LOAD)
}

pub(super) fn kill(node: &mut Node, _: &Packages) -> Result<String> {
    under_load(
        node,
        "systemctl kill --kill-who=main --signal=KILL ober",
        LOAD,
    )
}

pub(super) fn upgrade(node: &mut Node, packages: &Packages) -> Result<String> {
    node.bring(&packages.next()?, "/root/next.deb")?;
    let before = node.run("dpkg-query -W -f '${Version}' ober")?;
    let said = under_load(node, "dpkg -i /root/next.deb", LOAD)?;
    let after = node.run("dpkg-query -W -f '${Version}' ober")?;
    ensure!(before != after, "the version is still {before}");
    Ok(format!("{before} to {after}: {said}"))
}

/// Has clients download for so many seconds and ask, changes something, and counts what failed. The daemon is another process
/// afterwards, its workers are the same.
pub(super) fn under_load(node: &mut Node, change: &str, seconds: u32) -> Result<String> {
    let workers = serving::workers(node)?;
    let daemon = serving::daemon(node)?;
    let load = Load::start(node, seconds)?;
    node.run("sleep 3")?;
    let took = node.timed(change, LIMIT)?;
    let anew = format!(
        "test \"$({})\" != {daemon} && systemctl is-active ober",
        serving::DAEMON
    );
    let back = took + node.wait("another daemon serves", &anew, LIMIT)?;
    let result = load.finish(node)?;
    ensure!(
        result.is_clean(),
        "`{change}` took {:.1} s; clients: {result}",
        back.as_secs_f32()
    );
    let after = serving::workers(node)?;
    ensure!(
        workers == after,
        "the workers were {workers:?} and are {after:?}"
    );
    serving::answered(node)?;
    Ok(format!(
        "{:.1} s, the same {} workers; {result}",
        back.as_secs_f32(),
        workers.len()
    ))
}
