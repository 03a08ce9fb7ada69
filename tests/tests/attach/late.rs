//! Interfaces that are not there when the daemon starts, or that go and come back.

use ober_tests::{
    lab::{VIP4, until},
    manager::Manager,
    nodes::one::{Settings, Stage},
};
use ober_user::{announce::gate::State, api::status::Status};

use crate::{SOON, get, interface, log, refused, store};

/// A second interface of the node; its other end is in the node too.
const ADD: &str = "link add in9 type veth peer name in9p";

fn stage() -> (Stage, Manager) {
    let settings = Settings {
        extra: "[gate]\ninterfaces = \"all\"\n".into(),
        ..Settings::default()
    };
    let mut stage = Stage::new("late", &settings).expect("build the stage");
    crate::change(
        &stage,
        "interfaces = [\"in0\"]",
        "interfaces = [\"in0\", \"in9\"]",
    );
    let manager = Manager::new(stage.cluster.lab.directory()).expect("listen");
    stage.ober.environment.push(manager.variable());
    (stage, manager)
}

fn gate(stage: &Stage) -> (State, String) {
    let Status { gate, .. } = stage.status().expect("status");
    let mut gates = gate.into_iter();
    let gate = gates.find(|gate| gate.vip == VIP4).expect("its gate");
    (gate.state, gate.reason)
}

fn until_closed(stage: &Stage) {
    let down = (State::Down, "interface down".to_owned());
    let closed = until("a closed gate", SOON, || {
        Ok((gate(stage) == down).then_some(()))
    });
    closed.unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", gate(stage), log(stage)));
    let away = interface(stage, "in9");
    assert!(away.away && away.attached == Some(false), "{away:?}");
    let text = stage.try_cli(&["status"]).expect("status").stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        text.contains("in9 is not here; it is taken when it comes"),
        "{text}"
    );
}

fn until_open(stage: &Stage) {
    let open = until("an open gate", SOON, || {
        Ok((gate(stage).0 == State::Up).then_some(()))
    });
    open.unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", gate(stage), log(stage)));
    let there = interface(stage, "in9");
    assert!(!there.away && there.attached == Some(true), "{there:?}");
}

fn come(stage: &Stage) {
    let lines = [ADD, "link set in9p up", "link set in9 up"];
    stage.cluster.node.ip(&lines).expect("make in9");
}

fn go(stage: &Stage) {
    stage
        .cluster
        .node
        .ip(&["link del in9"])
        .expect("remove in9");
}

#[test]
fn a_node_starts_without_an_interface_that_it_had_and_takes_it_each_time_it_comes() {
    let (mut stage, mut manager) = stage();
    // What was never here is a mistake.
    let said = refused(&stage);
    assert!(said.contains("use interface in9: there is none"), "{said}");
    come(&stage);
    stage.start().expect("start");
    store(&stage);
    until_open(&stage);
    stage.ober.stop().expect("stop");
    go(&stage);
    manager.until("STOPPING=1", SOON).expect("it stops");
    manager.heard.clear();
    let node = &stage.cluster.node;
    let mut command = stage.ober.ober(&["run"]).expect("ober-user");
    let daemon = node.spawn(command.env("RUST_LOG", "info")).expect("start");
    stage.ober.daemon = Some(daemon);
    let ready = manager.until("READY=1", SOON);
    ready.expect("it is ready without in9");
    until_closed(&stage);
    for _ in 0..2 {
        come(&stage);
        until_open(&stage);
        get(&stage, &stage.secure(VIP4)).expect("it serves");
        go(&stage);
        until_closed(&stage);
    }
    let taken = log(&stage).matches("the interface has come").count();
    assert_eq!(taken, 2, "{}", log(&stage));
    crate::change(&stage, "\"in9\"]", "\"in9\", \"in8\"]");
    let refused = stage.try_cli(&["reload"]).expect("run");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("use interface in8: there is none"), "{said}");
    crate::change(&stage, ", \"in9\", \"in8\"]", "]");
    stage.cli(&["reload"]).expect("reload without it");
    let serves = until("an open gate", SOON, || {
        Ok((gate(&stage).0 == State::Up).then_some(()))
    });
    serves.expect("in0 is enough");
}
