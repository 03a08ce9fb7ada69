//! A daemon whose configuration is broken when it starts.

use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving::{self, CONFIGURATION};
use anyhow::{Result, ensure};
use std::time::Duration;

/// What `status` says of a start with a file that could not be used.
const SAID: &str = "was of no use at the start; snapshot ";
const LIMIT: Duration = Duration::from_mins(2);

pub(super) fn broken(node: &mut Node, _: &Packages) -> Result<String> {
    node.put(CONFIGURATION, b"[node]\ninterfaces = front\n")?;
    let took = node.timed("systemctl restart ober", LIMIT)?;
    serving::answered(node)?;
    let state = node.run("systemctl show -p ActiveState,NRestarts ober")?;
    ensure!(
        ["ActiveState=active", "NRestarts=0"]
            .iter()
            .all(|expected| state.lines().any(|line| line == *expected)),
        "the unit is not active, or was only after another start: {state:?}"
    );
    let status = node.ask("ober status 2>&1")?.output;
    ensure!(
        status.contains(SAID),
        "`ober status` does not say that a snapshot is in force: {status}"
    );
    let metrics = node.run("curl -sS http://127.0.0.1:8404/metrics")?;
    ensure!(
        metrics
            .lines()
            .any(|line| line.starts_with("ober_configuration_fallback") && line.ends_with(" 1")),
        "the metrics do not say that a snapshot is in force"
    );
    node.put(CONFIGURATION, serving::TEXT.as_bytes())?;
    node.run("systemctl reload ober")?;
    let status = node.ask("ober status 2>&1")?.output;
    ensure!(
        !status.contains(SAID),
        "`ober status` still says that a snapshot is in force: {status}"
    );
    serving::answered(node)?;
    Ok(format!(
        "started from the snapshot in {:.1} s, served, said so; the mended file is in force",
        took.as_secs_f32()
    ))
}
