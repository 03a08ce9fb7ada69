//! Plain HTTP: which clients may use it, which may not, and how the list changes under way.

use std::{
    fs,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Demo, SMALL, Script};
use crate::{
    client::Failure,
    lab::{Host, VIP4, VIP6, client4, client6},
    nodes::one::OPEN,
};

/// How long an unanswered client waits: enough for a second SYN.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Allowed for one, dropped in the kernel for the other.
pub(super) fn plain_http(script: &mut Script, demo: &Demo) {
    script.step(
        "plain HTTP is served to the listed client, IPv4 and IPv6",
        || {
            for vip in [VIP4, VIP6] {
                demo.served(0, vip)?;
            }
            Ok(format!("{} and {} on port {OPEN}", client4(0), client6(0)))
        },
    );
    for (vip, family) in [(VIP4, "IPv4"), (VIP6, "IPv6")] {
        let claim = format!(
            "plain HTTP of the other client is dropped in the kernel, every packet counted, {family}"
        );
        script.step(&claim, || dropped(demo, vip));
    }
    script.step("the same client is served over TLS", || {
        let client = demo.stage.secure(VIP4);
        demo.stage.cluster.clients[1].tokio(async || client.get(SMALL.0, SMALL.1).await)??;
        Ok(format!(
            "{} on port {}",
            client4(1),
            crate::nodes::one::SECURE
        ))
    });
}

/// `acl sync` swaps the listed client for the other one, and back.
pub(super) fn sync(script: &mut Script, demo: &Demo) {
    script.step("`acl sync` turns that round live", || {
        let took = demo.list(1)?;
        demo.served(1, VIP4)?;
        demo.served(1, VIP6)?;
        demo.unanswered(0, VIP4)?;
        Ok(format!(
            "{} served, {} dropped, the command took {} ms",
            client4(1),
            client4(0),
            took.as_millis()
        ))
    });
    script.step("and back again", || {
        let took = demo.list(0)?;
        demo.served(0, VIP4)?;
        demo.unanswered(1, VIP4)?;
        Ok(format!(
            "{} served, {} dropped, the command took {} ms",
            client4(0),
            client4(1),
            took.as_millis()
        ))
    });
}

fn dropped(demo: &Demo, vip: IpAddr) -> Result<String> {
    let denied = || {
        demo.stage
            .verdict(vip, OPEN, "denied")
            .map(|count| count.packets)
    };
    let host = &demo.stage.cluster.clients[1];
    let (counted, sent) = (denied()?, segments(host)?);
    demo.unanswered(1, vip)?;
    let (counted, sent) = (denied()? - counted, segments(host)? - sent);
    ensure!(
        sent > 0 && counted == sent,
        "the client sent {sent} packets, `denied` moved by {counted}"
    );
    Ok(format!(
        "no answer within {PATIENCE:?}; {sent} packets sent, `denied` moved by {counted}"
    ))
}

/// SYN segments a host has sent: connections begun and segments sent again.
fn segments(host: &Host) -> Result<u64> {
    let text = host.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = rows.next().zip(rows.next()).context("no TCP statistics")?;
    let value = |wanted| {
        let pair = names
            .split(' ')
            .zip(values.split(' '))
            .find(|(name, _)| *name == wanted);
        pair.and_then(|(_, value)| value.parse::<u64>().ok())
            .with_context(|| format!("no TCP statistic {wanted}"))
    };
    Ok(value("ActiveOpens")? + value("RetransSegs")?)
}

impl Demo {
    /// Put one client alone on `frontend-http`.
    fn list(&self, client: u8) -> Result<Duration> {
        let expression = format!("{},{}", client4(client), client6(client));
        let began = Instant::now();
        self.stage
            .cli(&["acl", "sync", "--frontend-http", &expression])?;
        Ok(began.elapsed())
    }

    /// Does plain HTTP work for this client?
    fn served(&self, client: usize, vip: IpAddr) -> Result<()> {
        let web = self.stage.open(vip);
        let host = &self.stage.cluster.clients[client];
        host.tokio(async || web.get(SMALL.0, SMALL.1).await)?
            .with_context(|| format!("{} must be served", host.name()))
    }

    /// Do this client's packets to the plain port vanish? Being refused would be an answer.
    pub(super) fn unanswered(&self, client: usize, vip: IpAddr) -> Result<()> {
        let web = self.stage.open(vip).limits(PATIENCE, PATIENCE);
        let host = &self.stage.cluster.clients[client];
        match host.tokio(async || web.connect().await)? {
            Err(Failure::Unanswered(_)) => Ok(()),
            Ok(_) => bail!("{} must get no answer, and was let in", host.name()),
            Err(other) => bail!("{} must get no answer: {other}", host.name()),
        }
    }
}
