//! `start`, `stop`, `restart` and `logs` with the real daemon and a real router. A script stands in place of `systemctl`: it
//! writes down what it is asked to do, and does it. systemd itself is met in `cargo xtask machine`.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

mod logs;
mod start;
mod stop;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Output, time::Duration};

use anyhow::{Context as _, Result};
use ober_programs::{Command, SH, UNSHARE};
use ober_tests::{
    lab::{Host, Process, VIP4, program},
    mounts,
    nodes::routed::{Routed, Settings},
};
use ober_user::{announce::gate::Standing, api::status::gate::Gate};

const PATIENCE: Duration = Duration::from_secs(30);
const UNIT: &str = "ober-test.service";
/// The client's address; it may use the open port.
const CLIENT: &str = "10.78.0.11";

/// A node whose daemon the stand-in runs, with clients and a router.
struct Node {
    stage: Routed,
    whole: String,
}

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| unreachable!("{error}: {self:?}"))
    }
}

/// `systemctl` for the one unit. A process that has ended may wait for its parent, so its state is looked at. What is left in the
/// session of `systemctl` is killed at its end, so the daemon gets one of its own, and is waited for until it has said something.
fn systemctl(directory: &str, ober: &str, config: &str) -> String {
    format!(
        r#"#!/bin/sh
echo "$*" >>{directory}/calls
running() {{
    read -r pid 2>/dev/null <{directory}/pid || return 1
    grep -q '^State:.[^Z]' /proc/$pid/status 2>/dev/null
}}
start() {{
    running && return
    rm -f {directory}/daemon.log
    log=$(cat {directory}/log-to 2>/dev/null || echo {directory}/daemon.log)
    RUST_LOG=info setsid {ober} run --config {config} >$log 2>&1 &
    echo $! >{directory}/pid
    [ -f $log ] || sleep 1
    while running && [ -f $log ] && ! [ -s $log ]; do sleep 0.05; done
}}
stop() {{
    running || return 0
    kill $(cat {directory}/end-with 2>/dev/null) $pid
    while running; do sleep 0.05; done
}}
case "$1" in
enable) ;;
start) start ;;
restart) stop; start ;;
stop) stop ;;
show) running && echo $pid || echo 0 ;;
*) exit 1 ;;
esac
"#
    )
}

impl Node {
    fn new(name: &str) -> Self {
        let settings = Settings {
            extra: format!("[lists.frontend-http]\nsources = [\"{CLIENT}\"]\n"),
            ..Settings::default()
        };
        let stage = Routed::new(name, &settings).expect("build the stage");
        let whole = fs::read_to_string(&stage.ober[0].config).expect("read the configuration");
        let node = Self { stage, whole };
        node.install().expect("put systemctl in its place");
        node
    }

    fn at(&self, name: &str) -> PathBuf {
        self.stage.fabric.lab.directory().join(name)
    }

    fn host(&self) -> &Host {
        self.stage.node(0)
    }

    fn install(&self) -> Result<()> {
        // A directory of this name says that systemd manages the machine.
        fs::create_dir_all(self.at("manager/systemd/system"))?;
        fs::create_dir(self.at("bin"))?;
        let directory = self.at("").display().to_string();
        let ober = program("ober-user")?.display().to_string();
        let config = self.stage.ober[0].config.display().to_string();
        let script = self.at("bin/systemctl");
        fs::write(&script, systemctl(&directory, &ober, &config))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// A command where systemd seems to manage the machine.
    fn command(&self, words: &[&str]) -> Result<Command> {
        self.before(words, &["--unit", UNIT])
    }

    fn before(&self, words: &[&str], more: &[&str]) -> Result<Command> {
        let mut ober = self.stage.ober[0].ober(words)?;
        let path = std::env::var("PATH").context("read PATH")?;
        ober.args(more)
            .env("PATH", format!("{}:{path}", self.at("bin").display()))
            .env_remove("RUST_LOG");
        let over = mounts::bind(&self.at("manager"), "/run".as_ref());
        Ok(UNSHARE.before(["--mount"], &SH.in_turn(&[&over, &ober])))
    }

    fn ober(&self, words: &[&str]) -> Ran {
        let mut command = self.command(words).expect("the command");
        let output = self.host().try_output(&mut command);
        output.expect("run it").into()
    }

    /// The command goes on.
    fn spawn(&self, words: &[&str]) -> Process {
        let mut command = self.command(words).expect("the command");
        self.host().spawn(&mut command).expect("start it")
    }

    /// What `systemctl` was ordered to do so far.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.at("calls")).unwrap_or_default();
        let orders = calls.lines().filter(|it| !it.starts_with("show "));
        orders.map(str::to_owned).collect()
    }

    fn pid(&self) -> Option<u32> {
        self.stage.status(0).expect("status").pid
    }

    fn gate(&self) -> Result<Gate> {
        let text = self.stage.cli(0, &["gate", "--json"])?;
        let gates: Vec<Gate> = serde_json::from_str(&text).context("read its JSON")?;
        let found = gates.into_iter().find(|gate| gate.vip == VIP4);
        found.context("the gate of the VIP")
    }

    fn stands(&self, standing: Standing) -> Result<Option<()>> {
        Ok((self.gate()?.standing == standing).then_some(()))
    }

    fn write(&self, text: &str) {
        fs::write(&self.stage.ober[0].config, text).expect("write the configuration");
    }

    fn pins(&self) -> PathBuf {
        let instance = format!("{}-0", self.stage.fabric.lab.instance());
        PathBuf::from(ober_tests::lab::BPFFS)
            .join("ober")
            .join(instance)
    }
}
