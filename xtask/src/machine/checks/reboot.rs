//! The machine restarts: as it is asked to, or since it stands still.

use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving;
use anyhow::{Result, ensure};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(3);

pub(super) fn reboot(node: &mut Node, _: &Packages) -> Result<String> {
    restarted(node, "systemctl reboot")
}

/// The kernel stops, as by a fault of its own, and does not restart by itself: the watchdog that bootstrap has set up does it.
pub(super) fn frozen(node: &mut Node, _: &Packages) -> Result<String> {
    node.ends("ober bootstrap -y --only watchdog", 0)?;
    node.run("systemctl show -p RuntimeWatchdogUSec | grep -v -e =0 -e infinity")?;
    restarted(
        node,
        "sysctl -q -w kernel.panic=0 kernel.sysrq=1 && sync && (sleep 2; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &",
    )
}

fn restarted(node: &mut Node, command: &str) -> Result<String> {
    let booted = node.reboot(command)?;
    let served = node.wait("the VIP is served", serving::ANSWERED, LIMIT)?;
    let failed = node.run("systemctl list-units --failed --plain --no-legend 'ober*'")?;
    ensure!(failed.is_empty(), "units have failed: {failed}");
    Ok(format!(
        "answers after {:.0} s, serves {:.0} s later",
        booted.as_secs_f32(),
        served.as_secs_f32()
    ))
}
