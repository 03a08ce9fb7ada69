//! Programs and interfaces: what is attached where, how drivers answer, and what happens when things change.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what the helpers of a test expect is part of the test"
)]

mod bypassed;
mod changes;
mod granted;
mod late;
mod pins;
mod refused;
mod shortage;
mod steering;

use std::{path::PathBuf, time::Duration};

use ober_tests::{
    client::Client,
    lab::{BPFFS, VIP4},
    nodes::one::{Settings, Stage},
    pattern::Pattern,
};
use ober_user::{
    announce::gate::State,
    api::status::{Interface, Status},
};

const SOON: Duration = Duration::from_secs(30);
const PATH: &str = "/attach/object";
const CONTENT: Pattern = Pattern::new(11, 20_000);

/// A node that serves, with an object in the store.
fn serving(name: &str, settings: &Settings) -> Stage {
    let mut stage = Stage::new(name, settings).expect("build the stage");
    stage.start().expect("start the daemon");
    store(&stage);
    stage
}

fn store(stage: &Stage) {
    let client = stage.secure(VIP4);
    let put = async || {
        client.create_bucket("attach").await?;
        client.put(PATH, CONTENT).await
    };
    let stored = stage.cluster.clients[0].tokio(put);
    stored.expect("enter the client").expect("store an object");
}

fn get(stage: &Stage, client: &Client) -> Result<(), String> {
    let got = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await);
    got.expect("enter the client")
        .map_err(|failure| format!("{failure:?}"))
}

fn in0(status: &Status) -> &Interface {
    &status.data_plane.interfaces[0]
}

fn all_are(status: &Status, state: State) -> bool {
    status.gate.iter().all(|it| it.state == state)
}

/// Changes the text of the configuration.
fn change(stage: &Stage, from: &str, to: &str) {
    let text = std::fs::read_to_string(&stage.ober.config).expect("read the configuration");
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(&stage.ober.config, text.replace(from, to)).expect("write it");
}

fn pins(stage: &Stage) -> PathBuf {
    PathBuf::from(BPFFS)
        .join("ober")
        .join(stage.cluster.lab.instance())
}

fn interface(stage: &Stage, name: &str) -> Interface {
    let all = stage.status().expect("status").data_plane.interfaces;
    let found = all.into_iter().find(|it| it.name == name);
    found.unwrap_or_else(|| panic!("{name} is not in the status"))
}

/// One start that must fail; its output.
fn refused(stage: &Stage) -> String {
    let mut command = stage.ober.ober(&["run"]).expect("a command");
    let ended = stage
        .cluster
        .node
        .try_output(command.env("RUST_LOG", "warn"))
        .expect("run the daemon");
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!ended.status.success(), "{said}");
    said
}

fn log(stage: &Stage) -> String {
    stage
        .ober
        .daemon
        .as_ref()
        .map(ober_tests::lab::Process::log)
        .unwrap_or_default()
}

/// One finding of `doctor`.
fn doctor(stage: &Stage, part: &str, object: &str) -> serde_json::Value {
    let output = stage
        .try_cli(&["doctor", "--json"])
        .expect("ask the doctor");
    finding(&output.stdout, part, object)
}

fn finding(answer: &[u8], part: &str, object: &str) -> serde_json::Value {
    let report: serde_json::Value = serde_json::from_slice(answer).expect("JSON");
    let all = report["findings"].as_array().expect("findings");
    let mut found = all
        .iter()
        .filter(|it| it["part"] == part && it["object"] == object);
    found
        .next()
        .unwrap_or_else(|| panic!("nothing on {part} {object}: {report:#}"))
        .clone()
}

/// `ethtool` with these arguments, in the node.
fn ethtool(stage: &Stage, words: &str) {
    stage.cluster.node.ethtool(words).expect("it works");
}
