//! What systemd itself says of the units.

use crate::machine::node::Node;
use crate::machine::packages::Packages;
use anyhow::{Context, Result, ensure};

/// The highest exposure that is accepted.
const LIMIT: f32 = 4.0;

pub(super) fn units(node: &mut Node, _: &Packages) -> Result<String> {
    let place = "/usr/lib/systemd/system";
    let said = node.run(&format!(
        "systemd-analyze verify --man=no {place}/ober.service {place}/ober@.service {place}/ober-workers.slice 2>&1"
    ))?;
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("ober")).collect();
    ensure!(
        ours.is_empty(),
        "systemd-analyze verify: {}",
        ours.join("; ")
    );
    let mut exposures = Vec::new();
    for unit in ["ober.service", "ober@other.service"] {
        let said = node.run(&format!(
            "systemd-analyze security --no-pager {unit} | tail -n 1"
        ))?;
        let exposure = exposure(&said).with_context(|| format!("read the exposure in {said:?}"))?;
        ensure!(exposure <= LIMIT, "the exposure of {unit} is {exposure}");
        exposures.push(format!("{unit} {exposure:.1}"));
    }
    Ok(format!(
        "verify: nothing; exposure: {}",
        exposures.join(", ")
    ))
}

/// Reads `→ Overall exposure level for ober.service: 4.0 OK :-)`.
fn exposure(said: &str) -> Option<f32> {
    let (_, level) = said.rsplit_once("exposure level for ")?;
    level.split_whitespace().nth(1)?.parse().ok()
}
