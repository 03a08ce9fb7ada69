//! `ober-user detach`: everything this instance put into the machine is taken out again.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use super::Lock;
use crate::{announce::addresses, config::Config, dataplane, haproxy};

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
    let _lock = Lock::wait(&config.node.run).await?;
    let workers = haproxy::dismiss(&config.node.run, drain).await;
    dataplane::detach(&config.node.bpffs, &config.node.instance)?;
    let vips = addresses::remove(config, &BTreeSet::new()).await?;
    Ok(Detached { vips, workers })
}
