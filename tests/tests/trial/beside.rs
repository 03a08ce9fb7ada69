//! Where the daemon runs, nothing is opened beside it.

use std::time::Duration;

use ober_tests::{
    lab::{VIP4, until},
    routed::{Routed, Settings},
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
fn the_daemons_own_sessions_are_reported_and_neither_flap_nor_get_company() {
    let mut stage = Routed::new("trial-daemon", &Settings::default()).expect("a fabric");
    stage.start(0).expect("a node that serves");
    stage.until_paths(&[0], PATIENCE).expect("the route");
    until("BFD is up", PATIENCE, || {
        let bfd = stage.status(0)?.bfd;
        Ok(bfd
            .sessions
            .iter()
            .all(|it| it.state.name() == "up")
            .then_some(()))
    })
    .expect("it is");
    let before = neighbour(&stage);
    let found = ask(stage.node(0), &stage.ober[0], &["test"]);
    let after = neighbour(&stage);

    assert_eq!(found.report["daemon"], true);
    for part in ["bgp", "bfd", "backends"] {
        assert_eq!(found.one(part)["verdict"], "ok", "{found:#?}");
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
    assert_eq!((ours.state.as_str(), ours.flaps), ("established", 0));

    // The router goes: the daemon's session is what is reported.
    stage
        .frr
        .configure("router bgp 65000\n neighbor 10.78.1.2 shutdown\n")
        .expect("shut down");
    until("the session is down", PATIENCE, || {
        let bgp = stage.status(0)?.bgp;
        Ok((bgp[0].state != "established").then_some(()))
    })
    .expect("it is");
    let found = ask(stage.node(0), &stage.ober[0], &["test", "bgp"]);
    found.says("bgp", "failed", "it refuses: 6/2", "no shutdown");
}
