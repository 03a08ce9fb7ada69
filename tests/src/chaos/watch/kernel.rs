//! A node's kernel, read from its pins by the code that answers without a daemon, must hold what the daemon reports.

use std::{path::Path, time::Duration};

use anyhow::{Result, anyhow, bail};
use ober_user::{
    api::{
        Question, Reply,
        status::{self, Status},
    },
    config::Config,
    daemon::offline,
};

use super::{Since, Watchers};
use crate::{
    chaos::{RECONCILE, RECONCILED, fault::Kind, world::World},
    lab::BPFFS,
};

const PAUSE: Duration = Duration::from_secs(1);

#[expect(clippy::unnecessary_wraps, reason = "every watcher has this form")]
pub(super) fn watch(watch: &Watchers<'_>) -> Result<()> {
    std::thread::scope(|scope| {
        for node in 0..watch.world.nodes.len() {
            scope.spawn(move || look(watch, node));
        }
    });
    Ok(())
}

fn look(watch: &Watchers<'_>, node: usize) {
    let mut otherwise = Since::default();
    while watch.goes_on() {
        std::thread::sleep(PAUSE);
        let quiet = watch.board.quiet(|fault, place| match fault.kind {
            Kind::Node => place == node,
            Kind::Machine => true,
            Kind::Router | Kind::Keepalived | Kind::Storage | Kind::Names | Kind::Source => false,
        });
        let Some(quiet) = quiet else {
            otherwise.note(false);
            continue;
        };
        let found =
            difference(watch.world, node).unwrap_or_else(|error| Some(format!("{error:#}")));
        let long = otherwise.note(found.is_some()).min(quiet);
        if let Some(found) = found.filter(|_| long > RECONCILE + RECONCILED) {
            watch
                .board
                .breach(format!("node {node} for {long:?}: {found}"));
            otherwise.note(false);
        }
    }
}

/// The difference, in words.
fn difference(world: &World, node: usize) -> Result<Option<String>> {
    let status = world.nodes[node].status(world.host(node))?;
    let held = held(world, node)?;
    for (what, words) in FACTS {
        let (status, held) = (words(&status), words(&held));
        if status != held {
            return Ok(Some(format!(
                "{what}: the daemon says {status:?}, the kernel {held:?}"
            )));
        }
    }
    Ok((!status.healthy).then(|| "the daemon is not healthy".to_owned()))
}

fn held(world: &World, number: usize) -> Result<Status> {
    let node = &world.nodes[number];
    let mut config = Config::load(&node.config)?;
    config.node.bpffs = node.seen(Path::new(BPFFS));
    config.node.state = node.state();
    let host = world.host(number);
    let answer = host.tokio(async || offline::answer(&config, Question::Status).await)?;
    match answer.map_err(|failure| anyhow!("read the pins: {failure:?}"))? {
        Reply::Status(status) => Ok(*status),
        other => bail!("the pins answer {other:?}"),
    }
}

type Words = fn(&Status) -> Vec<String>;

const FACTS: [(&str, Words); 4] = [
    ("services", |status| {
        let one = |it: &status::Service| {
            format!("{} {} {:?} {}", it.vip, it.port, it.list, it.vip_present)
        };
        sorted(status.services.iter().map(one))
    }),
    ("lists", |status| {
        let one = |list: &status::List| format!("{} {}", list.name, list.count);
        sorted(status.lists.iter().map(one))
    }),
    ("programs", |status| {
        let one = |program: &status::Program| format!("{} {}", program.name, program.id);
        sorted(status.data_plane.programs.iter().map(one))
    }),
    ("interfaces", |status| {
        let one = |it: &status::Interface| format!("{} {:?}", it.name, it.attached);
        sorted(status.data_plane.interfaces.iter().map(one))
    }),
];

fn sorted(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = all.collect();
    all.sort();
    all
}
