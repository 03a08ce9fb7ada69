//! A daemon that sees a disk of its own: a private mount namespace that ends with it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use ober_programs::{Command, MOUNT, NSENTER, SH, UNSHARE};

use crate::{lab::until, nodes::one::Stage};

/// Puts this file or directory over that one.
pub fn bind(from: &Path, to: &Path) -> Command {
    let mut command = MOUNT.args(["--bind"]);
    command.arg(from).arg(to);
    command
}

/// An empty file system in memory, with these options of tmpfs.
pub fn memory(options: &str, at: &Path) -> Command {
    let mut command = MOUNT.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
    command.arg(at);
    command
}

/// Makes what [`bind`] has put there read-only (`ro`) or writable again (`rw`).
pub fn become_mode(mode: &str, at: &Path) -> Command {
    let mut command = MOUNT.args(["-o", &format!("remount,{mode},bind")]);
    command.arg(at);
    command
}

/// Start the daemon after these commands, whose mounts no other process sees.
pub fn start(stage: &mut Stage, first: &[Command]) -> Result<()> {
    ensure!(stage.ober.daemon.is_none(), "the daemon runs already");
    let mut ober = stage.ober.ober(&["run"])?;
    ober.env("RUST_LOG", "info").env_remove("OBER_CONFIG");
    let all: Vec<&Command> = first.iter().chain([&ober]).collect();
    let mut command = UNSHARE.before(["--mount"], &SH.in_turn(&all));
    let daemon = stage.cluster.node.spawn(&mut command)?;
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

/// Run a command where the daemon's mounts are.
pub fn run(stage: &Stage, command: &Command) -> Result<()> {
    let daemon = stage.ober.daemon.as_ref();
    let pid = daemon.map(crate::lab::Process::pid).unwrap_or_default();
    let place = ["--mount", "--target", &pid.to_string()];
    let mut command = NSENTER.before(place, command);
    stage.cluster.node.output(&mut command).map(drop)
}
