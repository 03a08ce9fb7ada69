//! VRRP, with keepalived as the other node: the VIP is on the node that serves it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{BUCKET, SMALL, Script};
use crate::{lab::until, nodes::vrrp::SharedVip, peers::Keepalived};

/// How long a change of master may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// All steps. The nodes are gone afterwards.
pub(super) fn keepalived(script: &mut Script) {
    let mut stage = None;
    script.step(
        "VRRP: keepalived is master while this node cannot serve, and gives way once it can",
        || {
            let (shared, peer, facts) = takes_over()?;
            stage = Some((shared, peer));
            Ok(facts)
        },
    );
    let Some((stage, _peer)) = stage else { return };
    script.step(
        "the last worker killed with -9: keepalived takes the VIP over; it comes back by itself",
        || resigns(&stage),
    );
    script.step("the daemon killed with -9: keepalived takes over, and the kernel takes the dead node's address away", || {
        dies(&stage)
    });
}

fn takes_over() -> Result<(SharedVip, Keepalived, String)> {
    let mut stage = SharedVip::new("vrrp", [200, 100])?;
    stage.storage.signal(Signal::SIGSTOP)?;
    let peer = stage.keepalived(100)?;
    stage.start(0)?;
    stage.until_master(1, PATIENCE)?;
    let began = Instant::now();
    stage.storage.signal(Signal::SIGCONT)?;
    stage.until_master(0, PATIENCE)?;
    let took = began.elapsed();
    let client = stage.secure();
    stage.pair.client.tokio(async || {
        client.create_bucket(BUCKET).await?;
        client.put(SMALL.0, SMALL.1).await?;
        client.get(SMALL.0, SMALL.1).await
    })??;
    let facts = format!(
        "master {} ms after the S3 server answered, and served",
        took.as_millis()
    );
    Ok((stage, peer, facts))
}

fn resigns(stage: &SharedVip) -> Result<String> {
    let before = stage.cached()?;
    let workers = stage.ober[0].workers(stage.node(0))?;
    let began = Instant::now();
    for worker in &workers {
        kill(Pid::from_raw(*worker), Signal::SIGKILL)?;
    }
    until("the VIP is at keepalived", PATIENCE, || {
        Ok(stage.holds(1)?.then_some(()))
    })?;
    let took = began.elapsed();
    stage.until_master(0, PATIENCE)?;
    // The client does not ask again: the new master announces itself.
    until("the client sends to this node again", PATIENCE, || {
        Ok((stage.cached()? == before).then_some(()))
    })?;
    Ok(format!(
        "at keepalived within {} ms, back after {} ms",
        took.as_millis(),
        began.elapsed().as_millis()
    ))
}

fn dies(stage: &SharedVip) -> Result<String> {
    let daemon = stage.ober[0]
        .daemon
        .as_ref()
        .context("no daemon on node 0")?;
    let began = Instant::now();
    kill(Pid::from_raw(i32::try_from(daemon.pid())?), Signal::SIGKILL)?;
    until("the VIP is at keepalived", PATIENCE, || {
        Ok(stage.holds(1)?.then_some(()))
    })?;
    let took = began.elapsed();
    stage.until_master(1, PATIENCE)?;
    Ok(format!(
        "at keepalived within {} ms, gone from the dead node after {} ms",
        took.as_millis(),
        began.elapsed().as_millis()
    ))
}
