//! The gates of a whole daemon: what it sees of its node, and the orders of commands.

use std::{net::IpAddr, time::Duration};

use anyhow::ensure;
use ober_tests::{
    lab::{VIP4, VIP6, until},
    nodes::one::{Settings, Stage},
};
use ober_user::{
    announce::gate::{Standing, State},
    api::status::gate::Gate,
};

const PATIENCE: Duration = Duration::from_secs(20);
const RULES: &str =
    "[gate]\ninterval = '300ms'\nfast_interval = '50ms'\nmin_up = '0'\ngraceful_time = '500ms'\n";

fn stage(name: &str) -> Stage {
    let settings = Settings {
        extra: RULES.into(),
        ..Settings::default()
    };
    let mut stage = Stage::new(name, &settings).expect("build the stage");
    stage.start().expect("start the daemon");
    stage
}

fn gates(stage: &Stage, arguments: &[&str]) -> Vec<Gate> {
    let text = stage.cli(arguments).expect("a command of the CLI");
    serde_json::from_str(&text).expect("gates in JSON")
}

pub(crate) fn gate(stage: &Stage, vip: IpAddr) -> Gate {
    let gates = gates(stage, &["gate", "--json"]);
    let found = gates.into_iter().find(|gate| gate.vip == vip);
    found.expect("a gate for every VIP")
}

pub(crate) fn reaches(stage: &Stage, vip: IpAddr, state: State, standing: Standing) -> Gate {
    let there = until("a gate to change", PATIENCE, || {
        let gate = gate(stage, vip);
        let there = gate.state == state && gate.standing == standing;
        ensure!(there, "it is {gate:?}");
        Ok(Some(gate))
    });
    there.expect("it changes")
}

#[test]
fn a_real_node_opens_its_gates_and_detects_names_and_recovers_from_each_failed_fact() {
    let stage = stage("gate-facts");
    let node = &stage.cluster.node;
    for vip in [VIP4, VIP6] {
        let open = reaches(&stage, vip, State::Up, Standing::Announced);
        assert_eq!((open.serving, open.servers), (2, Some(1)));
    }
    let (remove, add) = (
        format!("addr del {VIP4}/32 dev lo"),
        format!("addr add {VIP4}/32 dev lo"),
    );
    for (bad, good, reason) in [
        (
            remove.as_str(),
            add.as_str(),
            "VIP is no address of this node",
        ),
        ("link set in0 down", "link set in0 up", "interface down"),
    ] {
        node.ip(&[bad]).expect(bad);
        let down = reaches(&stage, VIP4, State::Down, Standing::Withdrawn);
        assert_eq!(down.reason, reason);
        node.ip(&[good]).expect(good);
        reaches(&stage, VIP4, State::Up, Standing::Announced);
    }
    let text = stage.cli(&["gate"]).expect("gate");
    assert!(text.contains("interface down"), "{text}");
    let text = stage.cli(&["status"]).expect("status");
    assert!(text.contains("announced"), "{text}");
}

#[test]
fn operator_orders_are_in_force_when_the_command_returns_and_outlive_the_daemon() {
    let mut stage = stage("gate-orders");
    reaches(&stage, VIP4, State::Up, Standing::Announced);
    reaches(&stage, VIP6, State::Up, Standing::Announced);
    let vip = VIP4.to_string();
    let [drained] = &gates(&stage, &["drain", &vip, "--json"])[..] else {
        panic!("one gate")
    };
    assert_eq!(
        (drained.vip, drained.state, drained.standing),
        (VIP4, State::Draining, Standing::GracefulShutdown)
    );
    assert_eq!(gate(&stage, VIP6).state, State::Up);
    reaches(&stage, VIP4, State::Draining, Standing::Withdrawn);
    stage.cli(&["disable", &VIP6.to_string()]).expect("disable");
    stage.kill().expect("kill the daemon");
    stage.start().expect("start it again");
    let gates_after = gates(&stage, &["gate", "--json"]);
    let states: Vec<_> = gates_after.iter().map(|gate| gate.state).collect();
    assert_eq!(states, [State::Draining, State::Disabled]);
    let both = gates(&stage, &["enable", "--json"]);
    assert_eq!(both.len(), 2);
    stage.cli(&["undrain"]).expect("undrain");
    for vip in [VIP4, VIP6] {
        reaches(&stage, vip, State::Up, Standing::Announced);
    }
    let stranger = stage.try_cli(&["drain", "192.0.2.99"]).expect("a command");
    let words = String::from_utf8_lossy(&stranger.stderr);
    assert_eq!(stranger.status.code(), Some(2), "{words}");
    assert!(words.contains("this node has no such VIP"), "{words}");
}
