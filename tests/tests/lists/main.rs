//! Lists and servers changed on a running node: by name, file, standard input and hand, with and without a daemon.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

mod change;
mod copies;
mod dead_names;
mod edit;
mod ended;
mod interrupted;
mod names;
mod routers;
mod servers;
mod slurm;
mod whole;

use std::{net::IpAddr, process::Output, time::Duration};

use ober_tests::{
    lab::{VIP4, until},
    load::Plan,
    nodes::one::{Settings, Stage},
    pattern::Pattern,
};
use serde_json::Value;

const PATH: &str = "/lists/object";
const CONTENT: Pattern = Pattern::new(6, 10_000);
const SOON: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Debug, PartialEq)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

impl Ran {
    fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            let found = self.out.contains(word) || self.err.contains(word);
            assert!(found, "{word:?} is not in {self:?}");
        }
    }
}

/// `ober-user acl ...`, whatever its exit status.
fn acl(stage: &Stage, arguments: &[&str]) -> Ran {
    let arguments = [&["acl"], arguments].concat();
    stage.try_cli(&arguments).expect("run ober-user").into()
}

/// The same with something on standard input.
fn acl_with_input(stage: &Stage, arguments: &[&str], input: &str) -> Ran {
    let file = stage.cluster.lab.write("input", input).expect("write");
    let arguments = [&["acl"], arguments].concat();
    let mut command = stage.ober.ober(&arguments).expect("ober-user");
    command.stdin(std::fs::File::open(file).expect("open"));
    let output = stage.cluster.node.try_output(&mut command);
    output.expect("run ober-user").into()
}

fn listed(stage: &Stage, address: IpAddr) -> bool {
    let ran = acl(stage, &["check", &address.to_string()]);
    assert!(matches!(ran.code, 0 | 1), "{ran:?}");
    ran.code == 0
}

/// Waits until the address is on a list, or is on none.
fn becomes(stage: &Stage, address: IpAddr, wanted: bool) {
    until("a change of the list", SOON, || {
        Ok((listed(stage, address) == wanted).then_some(()))
    })
    .expect("the list follows");
}

/// All lists as the kernel holds them.
fn lists(stage: &Stage) -> Value {
    let ran = acl(stage, &["show", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    serde_json::from_str(&ran.out).expect("JSON")
}

/// A daemon with this added to its configuration, and an object behind it.
fn serving(name: &str, extra: &str) -> Stage {
    let settings = Settings {
        extra: extra.to_owned(),
        ..Settings::default()
    };
    let mut stage = Stage::new(name, &settings).expect("build the stage");
    stage.start().expect("start");
    store(&stage);
    stage
}

fn store(stage: &Stage) {
    let client = stage.secure(VIP4);
    stage.cluster.clients[0]
        .tokio(async || {
            client.create_bucket("lists").await?;
            client.put(PATH, CONTENT).await
        })
        .expect("enter the client")
        .expect("store an object");
}

/// New connections over plain HTTP: each asks the list.
fn load(stage: &Stage) -> Plan {
    Plan {
        connections: 2,
        pause: Duration::from_millis(10),
        ..Plan::get(stage.open(VIP4), PATH, CONTENT)
    }
}
