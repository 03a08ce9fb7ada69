//! The main job shown on real traffic, step by step. Every step is a claim and its proof; a claim that does not hold
//! makes the whole demo fail.

mod access;
mod account;
mod announce;
mod faults;
mod script;
mod shared;
mod traffic;

use std::io;

use anyhow::Result;

pub use script::Script;

use crate::{
    ingress::Ingress,
    lab::{Process, client4},
    nodes::one::{Settings, Stage},
    pattern::Pattern,
};

/// The bucket everything happens in.
pub const BUCKET: &str = "demo";
/// The object that loads fetch.
const SMALL: (&str, Pattern) = ("/demo/small", Pattern::new(1, 32 * 1024));
/// Bytes of the object that is moved once through each VIP.
const LARGE: u64 = 16 * 1024 * 1024;

/// What the steps share.
#[derive(Debug)]
pub struct Demo {
    pub stage: Stage,
    /// `ober-user acl watch`, from the start to the end.
    watch: Option<Process>,
}

/// Show everything. The stage is handed back so that it can be left running.
pub fn run(script: &mut Script) -> Option<Demo> {
    let mut demo = None;
    script.step(
        "two clients, an ingress node and a storage host; ober-user runs on the node",
        || {
            let mut stage = Stage::new("demo", &Settings::default())?;
            let status = stage.start()?;
            let watch = stage.spawn_cli(&["acl", "watch"]).ok();
            let facts = traffic::facts(&status);
            demo = Some(Demo { stage, watch });
            facts
        },
    );
    let mut demo = demo?;
    traffic::objects(script, &demo);
    access::plain_http(script, &demo);
    access::sync(script, &demo);
    traffic::spread(script, &demo);
    faults::worker(script, &demo);
    faults::daemon(script, &mut demo);
    account::counters(script, &demo);
    account::metrics(script, &demo);
    account::drops(script, &demo);
    announce::routed(script);
    shared::keepalived(script);
    if script.failed() > 0 {
        demo.explain();
    }
    Some(demo)
}

impl Demo {
    /// How to look at what is running.
    pub fn invitation(&self) -> Result<String> {
        let Stage {
            cluster,
            ober: Ingress { config, .. },
            authority,
            ..
        } = &self.stage;
        let ober = crate::lab::program("ober-user")?;
        let lines = [
            format!(
                "on the node:            nsenter -t {} -n bash",
                cluster.node.pid()
            ),
            format!(
                "on the listed client:   nsenter -t {} -n bash",
                cluster.clients[0].pid()
            ),
            format!(
                "on the other client:    nsenter -t {} -n bash",
                cluster.clients[1].pid()
            ),
            format!(
                "on the storage host:    nsenter -t {} -n bash",
                cluster.storage.pid()
            ),
            format!(
                "on the node, ask Ober:  {} status --config {}",
                ober.display(),
                config.display()
            ),
            format!(
                "on a client:            curl --cacert {} https://10.77.9.1{}",
                authority.display(),
                SMALL.0
            ),
            format!(
                "on the listed client ({}), plain HTTP: curl http://10.77.9.1{}",
                client4(0),
                SMALL.0
            ),
            format!(
                "everything else is in   {}",
                cluster.lab.directory().display()
            ),
        ];
        Ok(lines.join("\n"))
    }

    fn explain(&self) {
        let processes = [&self.stage.ober.daemon, &self.watch];
        for process in processes.into_iter().flatten().chain([&self.stage.storage]) {
            eprintln!(
                "--- end of the log of {}:\n{}",
                process.name(),
                process.tail()
            );
        }
    }
}

/// Where the script is printed.
pub fn voice(json: bool) -> Script {
    if json {
        Script::silent()
    } else {
        Script::new(io::stdout())
    }
}
