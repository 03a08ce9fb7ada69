//! `bootstrap` on a machine in service: what it changes, and what an undo leaves.

use super::remove::CHANGEABLE;
use super::says;
use crate::machine::node::Node;
use crate::machine::packages::Packages;
use anyhow::{Result, ensure};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(3);
/// The files of the machine with their contents, but for those that are written all the time.
const FILES: &str = "find / -xdev -type f ! -path '/var/log/*' ! -path '/var/lib/systemd/*' ! -path '/var/lib/dpkg/*' \
                     ! -path '/var/lib/apt/*' ! -path '/var/cache/*' ! -path '/var/lib/ober/history/*' ! -path '/root/*' \
                     ! -path '/usr/*' -exec sha256sum {} + | LC_ALL=C sort -k 2";

pub(super) fn bootstrapped(node: &mut Node, _: &Packages) -> Result<String> {
    let settings = node.run(CHANGEABLE)?;
    node.run_within(&format!("{FILES} >/root/first"), LIMIT)?;
    node.ends("ober bootstrap --dry-run", 4)?;
    unchanged(node, &settings, "a dry run")?;
    let took = node.timed("ober bootstrap -y", LIMIT)?;
    ensure!(node.run(CHANGEABLE)? != settings, "no setting has changed");
    says(&node.ends("ober bootstrap -y", 0)?, "nothing to do")?;
    node.ends("ober bootstrap --dry-run", 0)?;
    node.ends("ober bootstrap -y --undo", 0)?;
    unchanged(node, &settings, "an undo")?;
    Ok(format!(
        "{:.1} s; a second run had nothing to do; after the undo every file and setting is as before",
        took.as_secs_f32()
    ))
}

fn unchanged(node: &mut Node, settings: &str, by: &str) -> Result<()> {
    let now = node.run(CHANGEABLE)?;
    ensure!(
        now == settings,
        "{by} changed settings: {settings}\nthey are {now}"
    );
    let files = format!("{FILES} | diff /root/first -");
    let files = node.ask_within(&files, LIMIT)?.output;
    ensure!(files.is_empty(), "{by} changed files:\n{files}");
    Ok(())
}
