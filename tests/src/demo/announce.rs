//! A router and two nodes: the router knows of a node exactly while that node serves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{BUCKET, SMALL, Script};
use crate::{
    lab::{VIP4, fabric::node4, until},
    load::{Plan, Running},
    nodes::routed::{Routed, Settings},
};

/// Both nodes.
const BOTH: [usize; 2] = [0, 1];
/// How long a session, a route or a recovery may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// When paths change, connections of the other node are hashed anew: those near that moment prove nothing about this node.
const EDGE: Duration = Duration::from_millis(50);

/// All steps. The router and the nodes are gone afterwards.
pub(super) fn routed(script: &mut Script) {
    let mut stage = None;
    script.step(
        "a router (FRR) and two nodes that cannot reach their S3 server: BGP and BFD are up, no route is announced",
        || {
            let (routed, facts) = closed()?;
            stage = Some(routed);
            Ok(facts)
        },
    );
    let Some(mut stage) = stage else { return };
    script.step(
        "the S3 server answers: the gates open and the router has a path over each node",
        || opened(&mut stage),
    );
    script.step(
        "the last worker of a node killed with -9: its path is gone, and comes back by itself",
        || worker(&stage),
    );
    script.step(
        "a node drained: its path goes, what it carries is finished, undrain brings it back",
        || drain(&stage),
    );
    script.step(
        "a node frozen: BFD takes its path away; it thaws and is back",
        || frozen(&stage),
    );
    script.step("a node's daemon stopped: withdrawn before the session ends, and announced at its next start", || {
        stopped(&mut stage)
    });
}

fn closed() -> Result<(Routed, String)> {
    let mut stage = Routed::new("announce", &Settings::default())?;
    stage.storage.signal(Signal::SIGSTOP)?;
    for node in BOTH {
        stage.start(node)?;
    }
    until("both sessions established", PATIENCE, || {
        let summary = stage.frr.show("bgp ipv4 unicast summary")?;
        let established =
            |node: u8| summary["peers"][node4(node).to_string()]["state"] == "Established";
        Ok((established(0) && established(1)).then_some(()))
    })?;
    stage.never_announced(Duration::from_millis(700))?;
    Ok((
        stage,
        "two sessions established, no route in the router's kernel".to_owned(),
    ))
}

fn opened(stage: &mut Routed) -> Result<String> {
    let routes = stage.routes()?;
    let began = Instant::now();
    stage.storage.signal(Signal::SIGCONT)?;
    stage.until_paths(&BOTH, PATIENCE)?;
    let took = began.elapsed();
    drop(routes);
    let client = stage.secure();
    stage.fabric.client.tokio(async || {
        client.create_bucket(BUCKET).await?;
        client.put(SMALL.0, SMALL.1).await
    })??;
    let done = served(stage, 40)?;
    Ok(format!(
        "both paths {} ms later; {done} requests through them, 0 failed",
        took.as_millis()
    ))
}

fn worker(stage: &Routed) -> Result<String> {
    let (routes, load) = (stage.routes()?, load(stage)?);
    let workers = stage.ober[0].workers(stage.node(0))?;
    ensure!(!workers.is_empty(), "node 0 has no worker");
    let began = Instant::now();
    for worker in &workers {
        kill(Pid::from_raw(*worker), Signal::SIGKILL)?;
    }
    let gone = routes.until(VIP4, 1, PATIENCE)? - began;
    let back = routes.until(VIP4, 2, PATIENCE)? - began;
    stage.until_paths(&BOTH, PATIENCE)?;
    let report = load.finish()?;
    // Connections in the milliseconds before the router heard of it had to fail: no worker serves there.
    let after =
        report.count(|record| record.began >= began + gone && record.ended + EDGE < began + back);
    ensure!(
        after.failed() == 0,
        "after the path was gone: {after}: {:?}",
        report.failures(3)
    );
    Ok(format!(
        "{} workers killed, path gone from the router's kernel after {:.1} ms, back after {} ms; {} requests begun and \
         ended in between, 0 failed",
        workers.len(),
        gone.as_secs_f64() * 1e3,
        back.as_millis(),
        after.ok
    ))
}

fn drain(stage: &Routed) -> Result<String> {
    let began = Instant::now();
    stage.cli(0, &["drain"])?;
    stage.until_paths(&[1], PATIENCE)?;
    let gone = began.elapsed();
    let done = served(stage, 40)?;
    stage.cli(0, &["undrain"])?;
    stage.until_paths(&BOTH, PATIENCE)?;
    Ok(format!(
        "path gone after {} ms, {done} requests through the other node, 0 failed",
        gone.as_millis()
    ))
}

fn frozen(stage: &Routed) -> Result<String> {
    let routes = stage.routes()?;
    let daemon = stage.ober[0]
        .daemon
        .as_ref()
        .context("no daemon on node 0")?;
    let daemon = Pid::from_raw(i32::try_from(daemon.pid())?);
    let began = Instant::now();
    kill(daemon, Signal::SIGSTOP)?;
    let gone = routes.until(VIP4, 1, PATIENCE);
    let done = served(stage, 20);
    kill(daemon, Signal::SIGCONT)?;
    let (gone, done) = (gone? - began, done?);
    stage.until_paths(&BOTH, PATIENCE)?;
    Ok(format!(
        "path gone {} ms after SIGSTOP (BFD 50 ms x 3), {done} requests through the other node, back after {} ms",
        gone.as_millis(),
        began.elapsed().as_millis()
    ))
}

fn stopped(stage: &mut Routed) -> Result<String> {
    stage.ober[0].stop()?;
    stage.until_paths(&[1], PATIENCE)?;
    let neighbour = node4(0).to_string();
    let shown = stage.frr.show(&format!("bgp neighbors {neighbour}"))?;
    let notified = shown[&neighbour]["messageStats"]["notificationsRecv"].as_u64();
    ensure!(
        notified.unwrap_or(0) > 0,
        "FRR got no NOTIFICATION: {}",
        shown[&neighbour]["messageStats"]
    );
    stage.start(0)?;
    stage.until_paths(&BOTH, PATIENCE)?;
    Ok("FRR got a NOTIFICATION and has no path; announced again after the start".to_owned())
}

/// Requests over new connections, each verified; none may fail.
fn served(stage: &Routed, requests: u64) -> Result<u64> {
    let plan = Plan {
        requests,
        ..Plan::get(stage.secure(), SMALL.0, SMALL.1)
    };
    let report = plan.start(&stage.fabric.client)?.wait()?;
    let tally = report.tally();
    ensure!(
        tally.failed() == 0,
        "requests failed: {tally}: {:?}",
        report.failures(3)
    );
    Ok(tally.ok)
}

/// A load that goes on.
fn load(stage: &Routed) -> Result<Running> {
    Plan {
        pause: Duration::from_millis(5),
        ..Plan::get(stage.secure(), SMALL.0, SMALL.1)
    }
    .start(&stage.fabric.client)
}
