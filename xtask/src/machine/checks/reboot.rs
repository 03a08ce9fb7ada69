//! The machine restarts.

use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving;
use anyhow::Result;
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(3);

pub(super) fn reboot(node: &mut Node, _: &Packages) -> Result<String> {
    let booted = node.reboot()?;
    let served = node.wait("the VIP is served", serving::ANSWERED, LIMIT)?;
    let failed = node.run("systemctl list-units --failed --plain --no-legend 'ober*'")?;
    anyhow::ensure!(failed.is_empty(), "units have failed: {failed}");
    Ok(format!(
        "answers after {:.0} s, serves {:.0} s later",
        booted.as_secs_f32(),
        served.as_secs_f32()
    ))
}
