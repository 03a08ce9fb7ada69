//! Behind the router a node is announced exactly while it serves. Whether it serves is asked of it directly, past the
//! router's choice of a path.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Since, Watchers};
use crate::chaos::{
    RETURN, WITHDRAWAL,
    fault::{Fault, Harm, Kind, Site},
    world::{ASKERS, CONTENT, PATH, hold},
};

const PAUSE: Duration = Duration::from_millis(100);
/// Limit of one question; a node that serves is not that slow, even on a busy machine.
const ANSWER: Duration = Duration::from_millis(1500);

/// Since when a node's answers have been alike: the moment at which the first of them was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Serving {
    fails_since: Option<Instant>,
    good_since: Option<Instant>,
    asked: Option<Instant>,
}

impl Serving {
    fn after(self, began: Instant, good: bool) -> Self {
        if good {
            return Self {
                good_since: self.good_since.or(Some(began)),
                fails_since: None,
                asked: Some(began),
            };
        }
        Self {
            good_since: None,
            fails_since: self.fails_since.or(Some(began)),
            asked: Some(began),
        }
    }
}

pub(super) fn watch(watch: &Watchers<'_>) -> Result<()> {
    let serving: [Mutex<Serving>; 2] = Default::default();
    std::thread::scope(|scope| {
        for (node, serving) in serving.iter().enumerate() {
            scope.spawn(move || {
                if let Err(error) = ask(watch, node, serving) {
                    watch.board.breach(format!("ask node {node}: {error:#}"));
                }
            });
        }
        judge(watch, &serving)
    })
}

fn ask(watch: &Watchers<'_>, node: usize, serving: &Mutex<Serving>) -> Result<()> {
    let client = watch
        .world
        .secure()
        .from(ASKERS[node])
        .limits(ANSWER, ANSWER);
    watch.world.fabric.router.tokio(async || {
        while watch.goes_on() {
            let began = Instant::now();
            let good = client.get(PATH, CONTENT).await.is_ok();
            let now = hold(serving).after(began, good);
            *hold(serving) = now;
            tokio::time::sleep(PAUSE).await;
        }
    })
}

fn judge(watch: &Watchers<'_>, serving: &[Mutex<Serving>; 2]) -> Result<()> {
    let mut announced: [Since; 2] = Default::default();
    let mut silent: [Since; 2] = Default::default();
    while watch.goes_on() {
        let paths = watch.world.paths()?;
        let now = serving.each_ref().map(|one| *hold(one));
        for node in 0..2 {
            let long = |since: Option<Instant>| since.map(|it| it.elapsed()).unwrap_or_default();
            let idle = announced[node]
                .note(paths[node])
                .min(long(now[node].fails_since));
            if idle > WITHDRAWAL {
                watch.board.breach(format!(
                    "node {node} is announced and has not served for {idle:?}"
                ));
                announced[node].note(false);
            }
            let quiet = watch.board.quiet(|it, place| silences(it, place, node));
            let unsaid = silent[node]
                .note(!paths[node])
                .min(long(now[node].good_since));
            if unsaid.min(quiet.unwrap_or_default()) > RETURN {
                watch.board.breach(format!(
                    "node {node} serves and is not announced for {unsaid:?}"
                ));
                silent[node].note(false);
            }
        }
        let good = |node: usize| paths[node] && now[node].good_since.is_some();
        if let (Some(one), Some(other)) = (now[0].asked, now[1].asked) {
            watch.saw(Site::Routed, one.min(other), good(0) && good(1));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// May this fault keep the node from being announced?
fn silences(fault: &'static Fault, place: usize, node: usize) -> bool {
    let here = match fault.kind {
        Kind::Node => place == node,
        Kind::Router => true,
        Kind::Storage | Kind::Names | Kind::Source | Kind::Keepalived | Kind::Machine => false,
    };
    here && fault.harm != Harm::Nothing
}
