//! The forms of a release besides the Debian package.

use super::remove::{nothing_is_left, nothing_runs};
use super::restart::{LOAD, under_load};
use crate::dist::Format;
use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving::{self, CONFIGURATION};
use anyhow::{Result, ensure};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(3);

/// The archive with `install.sh`: installed, started, installed again under load, removed with all that it had.
pub(super) fn tarball(node: &mut Node, packages: &Packages) -> Result<String> {
    node.bring(&packages.other(Format::Tarball)?, "/root/ober.tar.zst")?;
    node.run("mkdir /root/ober && tar -C /root/ober --strip-components=1 -xf /root/ober.tar.zst")?;
    let took = node.timed("/root/ober/install.sh", LIMIT)?;
    let started = serving::serve(node)?;
    let again = under_load(node, "/root/ober/install.sh", LOAD)?;
    node.run_within("/root/ober/install.sh --remove", LIMIT)?;
    nothing_runs(node)?;
    node.run(&format!("test -s {CONFIGURATION}"))?;
    let twice = node.ask("/root/ober/install.sh --remove --purge 2>&1")?;
    ensure!(
        twice.status != 0 && twice.output.contains("was not installed by this script"),
        "what is removed already was removed again: {}",
        twice.output
    );
    node.run_within("/root/ober/install.sh", LIMIT)?;
    node.wait("the VIP is served again", serving::ANSWERED, LIMIT)?;
    node.run_within("/root/ober/install.sh --remove --purge", LIMIT)?;
    nothing_is_left(node)?;
    Ok(format!(
        "install.sh {:.1} s, start to served {:.1} s; once more under load: {again}; nothing is left",
        took.as_secs_f32(),
        started.as_secs_f32()
    ))
}

/// The rpm, by the rpm of Debian: its dependencies have the names of RHEL and are not looked for.
pub(super) fn rpm(node: &mut Node, packages: &Packages) -> Result<String> {
    let first = packages.other(Format::Rpm)?;
    node.bring(&first, "/root/ober.rpm")?;
    let took = node.timed("rpm -i --nodeps /root/ober.rpm", LIMIT)?;
    let changed = node.run("rpm --verify --nodeps ober")?;
    ensure!(
        changed.is_empty(),
        "files are not those of the package: {changed}"
    );
    let enabled = node.run("systemctl is-enabled ober")?;
    ensure!(enabled == "enabled", "the unit is {enabled}");
    let started = serving::serve(node)?;
    let next = packages.next_other(Format::Rpm)?;
    node.bring(&next, "/root/next.rpm")?;
    let upgraded = under_load(node, "rpm -U --nodeps /root/next.rpm", LOAD)?;
    node.run_within("rpm -e --nodeps ober", LIMIT)?;
    nothing_runs(node)?;
    node.run(&format!("test -s {CONFIGURATION}"))?;
    node.run("ls -d /usr/bin/ober /usr/lib/ober /usr/share/ober /usr/share/doc/ober 2>/dev/null | wc -l | grep -x 0")?;
    Ok(format!(
        "rpm -i {:.1} s, start to served {:.1} s; rpm -U under load: {upgraded}; removed",
        took.as_secs_f32(),
        started.as_secs_f32()
    ))
}
