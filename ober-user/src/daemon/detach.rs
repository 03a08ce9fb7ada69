//! `ober-user detach`: everything this instance put into the machine is taken out again.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use super::Lock;
use crate::{
    announce::addresses,
    config::Config,
    dataplane,
    haproxy::{self, Left},
};

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Detached {
    pub vips: Vec<IpAddr>,
    pub workers: usize,
}

/// The workers take no new connection and finish theirs, at most for `drain`; then programs and maps go, and last the
/// VIPs, without which no packet of a finishing connection would arrive. Lists and configuration stay on disk.
/// Refused while the daemon runs. `tell` hears every second what is left of the workers.
pub async fn detach(
    config: &Config,
    drain: Duration,
    tell: impl FnMut(Left),
) -> anyhow::Result<Detached> {
    let _lock = Lock::wait(&config.node.run).await?;
    let listeners = config.vip_listeners();
    let ports = listeners.map(|it| it.listener.port.get()).collect();
    let workers = haproxy::dismiss(&config.node.run, drain, &ports, tell).await;
    dataplane::detach(&config.node.bpffs, &config.node.instance)?;
    let vips = addresses::remove(config, &BTreeSet::new()).await?;
    Ok(Detached { vips, workers })
}
