//! The counters, metrics and drop events of the steps before.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Demo, Script};
use crate::{
    client::Client,
    lab::{VIP4, VIP6, client4, client6, until},
    nodes::one::{OPEN, SECURE},
};

/// `ober-user counters`: every service has counted its packets.
pub(super) fn counters(script: &mut Script, demo: &Demo) {
    script.step("the counters saw it all", || {
        let secure = demo.stage.service(VIP4, SECURE)?;
        let count = |verdict: &str| secure.verdicts.get(verdict).map_or(0, |count| count.packets);
        let lookups = |what: &str| secure.lookups.get(what).copied().unwrap_or(0);
        let (kept, steered, assigned) = (count("passed"), count("steered"), lookups("assigned"));
        ensure!(kept + steered > 0 && assigned > 0, "nothing counted for {VIP4} port {SECURE}: {secure:?}");
        ensure!(count("denied") == 0, "packets denied on an open port: {secure:?}");
        ensure!(secure.workers.len() >= 2, "packets of one worker alone: {:?}", secure.workers);
        let denied = demo.stage.verdict(VIP4, OPEN, "denied")?.packets + demo.stage.verdict(VIP6, OPEN, "denied")?.packets;
        ensure!(denied > 0, "no packet denied on port {OPEN}");
        Ok(format!(
            "{VIP4} port {SECURE}: {kept} packets passed and {steered} steered, {assigned} connections handed to \
             workers; port {OPEN}: {denied} packets denied"
        ))
    });
}

/// How long the gates of a new daemon may take to open.
const HEALTHY: Duration = Duration::from_secs(15);

/// Prometheus metrics and health on the node's loopback.
pub(super) fn metrics(script: &mut Script, demo: &Demo) {
    script.step("metrics and health on 127.0.0.1:8404 of the node", || {
        let denied = demo.stage.verdict(VIP4, OPEN, "denied")?.packets;
        let asked = || {
            demo.stage.cluster.node.tokio(async || -> Result<_> {
                let mut web = Client::plain("127.0.0.1:8404".parse()?).connect().await?;
                Ok((web.text("/metrics").await?, web.text("/health").await?))
            })
        };
        // The daemon that adopted the workers opens its gates once they have proven that they serve.
        let (metrics, health) = until("the health of a node that serves", HEALTHY, || {
            Ok(asked()?.ok())
        })?;
        let line = metrics
            .lines()
            .filter(|line| !line.starts_with('#') && line.contains("denied"))
            .find(|line| line.split(' ').next_back() == Some(&denied.to_string()))
            .with_context(|| format!("no metric says that {denied} packets were denied"))?;
        ensure!(!health.is_empty(), "no health");
        Ok(format!("{} lines; {line}", metrics.lines().count()))
    });
}

/// `ober-user acl watch`: which clients' packets were dropped.
pub(super) fn drops(script: &mut Script, demo: &Demo) {
    script.step("drop events name the client and the reason", || {
        let watch = demo.watch.as_ref().context("`acl watch` did not start")?;
        let wanted = [client4(1).to_string(), client6(1).to_string()];
        let seen = until(
            "drop events of both address families",
            Duration::from_secs(2),
            || {
                let log = watch.log();
                let line = |address: &String| {
                    log.lines()
                        .find(|line| line.contains(address) && line.contains("denied"))
                };
                Ok(wanted
                    .iter()
                    .all(|address| line(address).is_some())
                    .then(|| {
                        (
                            log.lines().count(),
                            line(&wanted[0]).unwrap_or_default().trim().to_owned(),
                        )
                    }))
            },
        )
        .with_context(|| format!("`acl watch` printed:\n{}", watch.tail()))?;
        Ok(format!(
            "{} lines of `acl watch`, the first: {}",
            seen.0, seen.1
        ))
    });
}
