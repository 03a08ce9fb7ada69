//! Two nodes that share a VIP by VRRP with advertisements of 10 ms: how soon the backup takes it over.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_tests::{
    lab::{VIP4, routes::Routes},
    nodes::vrrp::SharedVip,
};

use super::{PATIENCE, TRIALS, rest};
use crate::{report::Part, series::Series};

pub(super) fn measure() -> Result<Part> {
    let mut stage = SharedVip::new("failover", [254, 253])?;
    stage.start(0)?;
    stage.until_master(0, PATIENCE)?;
    stage.start(1)?;
    // An address comes with a route to it in the table `local`.
    let routes = Routes::watch(stage.node(1))?;
    let mut part = Part::default();
    part.add(&killed(&mut stage, &routes)?, 50.0);
    part.add(&closed(&stage, &routes)?, 20.0);
    Ok(part)
}

fn killed(stage: &mut SharedVip, routes: &Routes) -> Result<Series> {
    let mut series = Series::new(
        "VRRP 10 ms, master's daemon killed with -9 to VIP at the other node",
        "ms",
    );
    for trial in 0..TRIALS {
        ready(stage, trial)?;
        routes.forget();
        let daemon = stage.ober[0].daemon.take().context("no daemon runs")?;
        let began = Instant::now();
        kill(Pid::from_raw(i32::try_from(daemon.pid())?), Signal::SIGKILL)?;
        series.push_time(routes.until(VIP4, 1, PATIENCE)? - began);
        drop(daemon);
        stage.start(0)?;
    }
    Ok(series)
}

fn closed(stage: &SharedVip, routes: &Routes) -> Result<Series> {
    let mut series = Series::new(
        "VRRP 10 ms, last worker killed with -9 to VIP at the other node",
        "ms",
    );
    for trial in 0..TRIALS {
        ready(stage, trial)?;
        routes.forget();
        let workers = stage.ober[0].workers(stage.node(0))?;
        let began = Instant::now();
        for worker in workers {
            kill(Pid::from_raw(worker), Signal::SIGKILL)?;
        }
        series.push_time(routes.until(VIP4, 1, PATIENCE)? - began);
    }
    Ok(series)
}

/// Waits until node 0 is master again and the other node could become it.
fn ready(stage: &SharedVip, trial: usize) -> Result<()> {
    stage.until_master(0, PATIENCE)?;
    ober_tests::lab::until("the other node's gate is open", PATIENCE, || {
        let gates = stage.ober[1].status(stage.node(1))?.gate;
        let open = gates
            .iter()
            .all(|gate| gate.standing == ober_user::announce::gate::Standing::Announced);
        Ok((open && !gates.is_empty()).then_some(()))
    })?;
    rest(trial);
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}
