//! `ober-user detach`: everything this instance put into the machine is taken out again.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::Context as _;

use super::{Lock, VIPS};
use crate::{config::Config, dataplane, haproxy, netlink, store};

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Detached {
    pub vips: Vec<IpAddr>,
    pub workers: usize,
}

/// The workers take no new connection and finish theirs, at most for `drain`; then programs and maps go, and last the
/// VIPs, without which no packet of a finishing connection would arrive. Lists and configuration stay on disk.
/// Refused while the daemon runs.
pub async fn detach(config: &Config, drain: Duration) -> anyhow::Result<Detached> {
    let _lock = Lock::take(&config.node.run)?;
    let workers = haproxy::dismiss(&config.node.run, drain).await;
    dataplane::detach(&config.node.bpffs, &config.node.instance)?;
    let vips = remove_vips(config).await?;
    Ok(Detached { vips, workers })
}

/// Removes the VIPs that are noted as ours, and the note.
pub(super) async fn remove_vips(config: &Config) -> anyhow::Result<Vec<IpAddr>> {
    let note = config.node.state.join(VIPS);
    let vips: BTreeSet<IpAddr> = store::read_json(&note)?.unwrap_or_default();
    let vips: Vec<IpAddr> = vips.into_iter().collect();
    if !vips.is_empty() {
        netlink::remove_vips(&vips).await?;
        std::fs::remove_file(&note).with_context(|| format!("remove {}", note.display()))?;
    }
    Ok(vips)
}
