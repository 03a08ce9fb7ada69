//! A daemon that sees a disk of its own: a private mount namespace that ends with it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    lab::{program, until},
    stage::Stage,
};

/// Start the daemon after these lines of shell, which may mount what they like; nobody else sees it.
pub fn start(stage: &mut Stage, lines: &str) -> Result<()> {
    ensure!(stage.ober.daemon.is_none(), "the daemon runs already");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec"])
        .arg(format!("{lines}\nexec \"$@\""))
        .arg("sh")
        .arg(program("ober-user")?)
        .args(["run", "--config"])
        .arg(&stage.ober.config);
    let daemon = stage
        .cluster
        .node
        .spawn(command.env("RUST_LOG", "info").env_remove("OBER_CONFIG"))?;
    let pid = daemon.pid();
    stage.ober.daemon = Some(daemon);
    until(
        "a healthy daemon on a disk of its own",
        Duration::from_secs(30),
        || {
            let status = stage.status()?;
            Ok((status.pid == Some(pid) && status.healthy).then_some(()))
        },
    )
}

/// A path as the daemon sees it.
pub fn seen(stage: &Stage, path: &Path) -> Result<PathBuf> {
    let daemon = stage.ober.daemon.as_ref();
    let pid = daemon.map(crate::lab::Process::pid).unwrap_or_default();
    Ok(Path::new("/proc")
        .join(pid.to_string())
        .join("root")
        .join(path.strip_prefix("/")?))
}

/// Run lines of shell where the daemon's mounts are.
pub fn run(stage: &Stage, lines: &str) -> Result<()> {
    let daemon = stage.ober.daemon.as_ref();
    let pid = daemon.map(crate::lab::Process::pid).unwrap_or_default();
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &pid.to_string(), "sh", "-ec", lines]);
    stage.cluster.node.output(&mut command).map(drop)
}
