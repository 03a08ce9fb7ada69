//! Where the daemon runs, the command opens no session beside the daemon's.

use std::time::Duration;

use ober_tests::{
    lab::{VIP4, until},
    nodes::{
        one::{self, Stage},
        routed::{Routed, Settings},
    },
};
use serde_json::Value;

use crate::bench::ask;

const PATIENCE: Duration = Duration::from_secs(20);

fn neighbour(stage: &Routed) -> Value {
    let all = stage
        .frr
        .show("bgp neighbors 10.78.1.2")
        .expect("FRR's view");
    all["10.78.1.2"].clone()
}

#[test]
fn test_reports_the_daemons_own_sessions_and_neither_flaps_nor_duplicates_them() {
    // No test here needs fast BFD: FRR has no real-time thread, and 150 ms is little on a busy machine.
    let settings = Settings {
        bfd: "default",
        ..Settings::default()
    };
    let mut stage = Routed::new("trial-daemon", &settings).expect("a fabric");
    stage.start(0).expect("a node that serves");
    stage.until_paths(&[0], PATIENCE).expect("the route");
    // FRR makes its BFD session anew once BGP is up, which ends BGP when BFD was up first; that settles after a while.
    let mut flaps = 0;
    until("BGP and BFD are up, and stay so", PATIENCE, || {
        let status = stage.status(0)?;
        let ours = &status.bgp[0];
        flaps = ours.flaps;
        let mut bfd = status.bfd.sessions.iter();
        let up = bfd.all(|it| it.state.name() == "up");
        Ok((up && ours.state.name() == "established" && ours.seconds >= 2).then_some(()))
    })
    .expect("they are");
    let before = neighbour(&stage);
    let found = ask(stage.node(0), &stage.ober[0], &["test"]);
    let after = neighbour(&stage);

    assert_eq!(found.report["daemon"], true);
    // A session that has ended before is not called steady yet.
    let bgp = if flaps == 0 { "ok" } else { "warning" };
    for (part, verdict) in [("bgp", bgp), ("bfd", "ok"), ("backends", "ok")] {
        assert_eq!(found.one(part)["verdict"], verdict, "{found:#?}");
    }
    let of = |part: &str| {
        let all = found.all().iter().filter(|it| it["part"] == part);
        all.map(|it| it["object"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let node = of("node");
    for object in ["worker 0", "worker 1", &format!("VIP {VIP4}")] {
        assert!(node.iter().any(|it| it == object), "{object}: {node:?}");
    }
    assert_eq!(of("certificates").len(), 1);
    assert_eq!(found.code, 0, "{found:#?}");
    for key in ["connectionsEstablished", "connectionsDropped"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(
        before["messageStats"]["opensRecv"],
        after["messageStats"]["opensRecv"]
    );
    assert_eq!(stage.paths().expect("paths"), [0]);
    let ours = &stage.status(0).expect("status").bgp[0];
    assert_eq!((ours.state.name(), ours.flaps), ("established", flaps));

    // The router ends its session: the command reports the daemon's session.
    stage
        .frr
        .configure("router bgp 65000\n neighbor 10.78.1.2 shutdown\n")
        .expect("shut down");
    until("the session is down", PATIENCE, || {
        let bgp = stage.status(0)?.bgp;
        Ok((bgp[0].state.name() != "established").then_some(()))
    })
    .expect("it is");
    let found = ask(stage.node(0), &stage.ober[0], &["test", "bgp"]);
    found.says("bgp", "failed", "it refuses: 6/2", "no shutdown");
}

#[test]
fn the_daemons_virtual_routers_are_reported_with_why_they_take_no_part() {
    let extra = format!(
        "[vrrp]\ninterface = \"in0\"\ntransport = \"multicast\"\nadvertisement_interval = \"100ms\"\n\
         [[vrrp.instances]]\nvips = [\"{VIP4}\"]\nvrid = 51\npriority = 200\n"
    );
    let settings = one::Settings {
        extra,
        ..one::Settings::default()
    };
    let mut stage = Stage::new("trial-vrrp-own", &settings).expect("a stage");
    stage.start().expect("a node that serves");
    let node = &stage.cluster.node;
    until("it is master", PATIENCE, || {
        let routers = stage.status()?.vrrp.routers;
        let master = routers
            .iter()
            .all(|it| it.state.name() == "master" && it.addresses_present);
        Ok(master.then_some(()))
    })
    .expect("it is");
    let found = ask(node, &stage.ober, &["test", "vrrp"]);
    found.says("vrrp", "ok", "master with priority 200", "");
    stage
        .cli(&["disable", &VIP4.to_string()])
        .expect("disable it");
    until("it resigned", PATIENCE, || {
        let routers = stage.status()?.vrrp.routers;
        Ok((routers[0].state.name() == "initialize").then_some(()))
    })
    .expect("it did");
    let found = ask(node, &stage.ober, &["test", "vrrp", "node"]);
    assert_eq!(found.code, 1);
    assert_eq!(found.one("vrrp")["reason"], "it takes no part: gate closed");
    let vip = format!("VIP {VIP4}");
    let said = found
        .all()
        .iter()
        .find(|it| it["object"] == vip.as_str())
        .expect("a finding of the VIP");
    assert_eq!(said["verdict"], "warning", "{said:#}");
}
