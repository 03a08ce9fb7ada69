//! The plan of a change, in words for an operator. It never holds secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use serde::{Deserialize, Serialize};

use super::{
    Step,
    state::{Changed, State},
    steps,
};
use crate::{
    backends::{InForce, server::Server},
    config::{Config, Difference, Keys},
    haproxy::Preview,
    lists::edit::{Synced, Target},
    protocols::{bgp::configured::Bgp, vrrp::configured::Vrrp},
};

/// Entries of a list that are named one by one.
const SHOWN: usize = 20;

/// The changes; there are none when there are no steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub services: Vec<Change>,
    pub vips: Vec<Change>,
    pub lists: Vec<Change>,
    pub backends: Vec<Change>,
    /// Every worker, also those that stay as they are.
    pub workers: Vec<Change>,
    /// BGP's neighbours by their address, other changes of BGP, BFD and VRRP, and the sessions that end for them.
    pub neighbours: Vec<Change>,
    pub interfaces: Vec<Change>,
    /// Everything else, by section.
    pub settings: Vec<Change>,
    pub steps: Vec<Step>,
}

/// The change of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub name: String,
    pub how: How,
    /// In which way, or why; a line each.
    pub what: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Unchanged,
    Added,
    Removed,
    Changed,
    /// A worker that is changed while it runs.
    ChangedLive,
    /// A worker with a successor on the same sockets; it finishes its connections.
    Replaced,
}

impl How {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::ChangedLive => "changed live",
            Self::Replaced => "replaced",
        }
    }
}

/// A configuration, its keys, and its servers.
#[derive(Clone, Copy)]
pub struct Side<'s> {
    pub config: &'s Config,
    pub keys: &'s Keys,
    pub in_force: &'s InForce,
}

/// Facts about a change that only workers and lists know.
#[derive(Debug, Default)]
pub struct PlanFacts {
    /// Every list with its change.
    pub lists: Vec<Synced>,
    /// Lists that keep what they had, and why.
    pub unfilled: BTreeMap<String, String>,
    pub workers: Vec<(usize, Preview)>,
    /// Do the servers change, or the sources that named them?
    pub servers: bool,
}

impl Plan {
    /// The plan from `old` to `new`. Without an old one everything is added.
    pub fn of(old: Option<Side<'_>>, new: Side<'_>, facts: &PlanFacts) -> Self {
        let keys = Keys::default();
        let mut written =
            TextDifferences::of(&old.map_or(&keys, |old| old.keys).differences(new.keys));
        let (before, after) = states(old.map(|old| old.config), new.config, facts);
        let (then, now) = (places(&before), places(&after));
        let mut plan = Self {
            services: changes(&then, &now, |name| written.take(&["services", name])),
            vips: changes(&vips(&before), &vips(&after), |_| Vec::new()),
            lists: lists(&before, &after, facts, &mut written),
            backends: backends(old, new, &mut written),
            workers: workers(old.map(|old| old.config), new.config, facts),
            interfaces: changes(
                &flat(before.interfaces.iter()),
                &flat(after.interfaces.iter()),
                |_| Vec::new(),
            ),
            neighbours: neighbours(old.map(|old| old.config), new.config, &mut written),
            settings: Vec::new(),
            steps: steps(&before, &after),
        };
        // The interfaces themselves are in the plan already.
        written.take(&["node", "interfaces"]);
        plan.settings = written.rest();
        if plan.settings.is_empty() && plan.only_settings() && !plan.steps.is_empty() {
            plan.settings.push(Change {
                name: "files".to_owned(),
                how: How::Changed,
                what: vec!["what the configuration refers to has changed".to_owned()],
            });
        }
        plan
    }

    /// For a node in an unknown state: all these steps are needed, whatever else the plan says.
    pub fn doubt(&mut self, failures: &[String], steps: Vec<Step>) {
        let failed = failures
            .iter()
            .map(|it| format!("could not be put back: {it}"));
        self.settings.push(Change {
            name: "node".to_owned(),
            how: How::Changed,
            what: failed.collect(),
        });
        self.steps = steps;
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Does the plan change nothing but settings?
    fn only_settings(&self) -> bool {
        let parts = [
            &self.services,
            &self.vips,
            &self.lists,
            &self.backends,
            &self.workers,
            &self.neighbours,
            &self.interfaces,
        ];
        let mut changes = parts.into_iter().flatten();
        changes.all(|change| change.how == How::Unchanged)
    }
}

/// The state of a node before a change and after it.
pub fn states(old: Option<&Config>, new: &Config, facts: &PlanFacts) -> (State, State) {
    let Some(old) = old else {
        return (State::default(), State::of(new));
    };
    let other = |synced: &&Synced| synced.change.added + synced.change.removed > 0;
    let lists = facts.lists.iter().filter(other).filter_map(list_name);
    let policy = |config: &Config| {
        let workers = &config.workers;
        (workers.drain, workers.backoff, workers.backoff_max)
    };
    let stays = |(_, preview): &(usize, Preview)| *preview == Preview::Unchanged;
    let changed = Changed {
        lists: lists.map(ToOwned::to_owned).collect(),
        servers: facts.servers,
        workers: policy(old) != policy(new) || !facts.workers.iter().all(stays),
    };
    (State::of(old), State::next(old, new, &changed))
}

fn list_name(synced: &Synced) -> Option<&str> {
    match &synced.target {
        Target::List(name) => Some(name),
        Target::Backend(_) => None,
    }
}

/// Things by name, each with its lines.
type Things = BTreeMap<String, BTreeSet<String>>;

fn flat<T: Display>(names: impl Iterator<Item = T>) -> Things {
    names
        .map(|name| (name.to_string(), BTreeSet::new()))
        .collect()
}

/// The services by name, each with its places and their access.
fn places(state: &State) -> Things {
    let mut things = Things::new();
    for (place, behind) in &state.services {
        let list = behind.list.as_deref();
        let who = list.map_or("open to all".to_owned(), |list| format!("list {list}"));
        let lines = things.entry(behind.service.clone()).or_default();
        lines.insert(format!("{place} {who}"));
    }
    things
}

fn vips(state: &State) -> Things {
    let vip = |vip: &std::net::IpAddr| {
        let moved = state.moved.contains(vip);
        let how = if moved {
            "moved by VRRP"
        } else {
            "on this node"
        };
        (vip.to_string(), BTreeSet::from([how.to_owned()]))
    };
    state.announced.iter().map(vip).collect()
}

/// Things that were added, removed, or have other lines; `said` has more lines of a thing that changed.
fn changes(old: &Things, new: &Things, mut said: impl FnMut(&str) -> Vec<String>) -> Vec<Change> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| {
        let none = BTreeSet::new();
        let (from, to) = (old.get(name), new.get(name));
        let how = match (from, to) {
            (None, _) => How::Added,
            (_, None) => How::Removed,
            (Some(_), Some(_)) => How::Changed,
        };
        let (from, to) = (from.unwrap_or(&none), to.unwrap_or(&none));
        let gone = from.difference(to).map(|line| format!("- {line}"));
        let come = to.difference(from).map(|line| format!("+ {line}"));
        let mut what: Vec<String> = gone.chain(come).collect();
        let said = said(name);
        // The keys of a thing that is added or removed are not listed, since all of them come or go.
        if how == How::Changed {
            what.extend(said);
        }
        let differs = how != How::Changed || !what.is_empty();
        let name = name.clone();
        differs.then_some(Change { name, how, what })
    };
    names.into_iter().filter_map(change).collect()
}

fn lists(
    old: &State,
    new: &State,
    facts: &PlanFacts,
    written: &mut TextDifferences,
) -> Vec<Change> {
    let (from, to) = (flat(old.lists.keys()), flat(new.lists.keys()));
    let mut stay = BTreeSet::new();
    let mut lists = changes(&from, &to, |name| {
        let keys = written.take(&["lists", name]);
        if keys.is_empty() && old.lists.get(name) == new.lists.get(name) {
            stay.insert(name.to_owned());
        }
        let synced = facts.lists.iter().find(|it| list_name(it) == Some(name));
        let unfilled = facts
            .unfilled
            .get(name)
            .map(|why| format!("keeps what it had: {why}"));
        let entries = synced.map(entries).into_iter().flatten();
        entries.chain(unfilled).chain(keys).collect()
    });
    for list in &mut lists {
        if list.how == How::Changed && stay.contains(&list.name) {
            list.how = How::Unchanged;
        }
    }
    lists
}

/// How many entries come and go, and the first of them.
fn entries(synced: &Synced) -> Vec<String> {
    let (added, removed) = (synced.change.added, synced.change.removed);
    let failed = synced
        .lacking()
        .into_iter()
        .map(|lacking| format!("not resolved: {lacking}"));
    if added + removed == 0 {
        return failed.collect();
    }
    let counts = format!("{added} more, {removed} fewer, {} on it", synced.count);
    let some = |lines: &[String], sign: char| -> Vec<String> {
        let lines = lines.iter().take(SHOWN);
        lines.map(|line| format!("{sign} {line}")).collect()
    };
    let (gone, come) = (some(&synced.removed, '-'), some(&synced.added, '+'));
    let more = synced.removed.len() > SHOWN || synced.added.len() > SHOWN;
    std::iter::once(counts)
        .chain(gone)
        .chain(come)
        .chain(more.then(|| "...".to_owned()))
        .chain(failed)
        .collect()
}

fn backends(old: Option<Side<'_>>, new: Side<'_>, written: &mut TextDifferences) -> Vec<Change> {
    let things = |side: Side<'_>| -> Things {
        let InForce {
            servers, left_out, ..
        } = side.in_force;
        let lines = |name: &String| {
            let servers = servers.get(name).into_iter().flatten().map(server);
            let left_out = left_out
                .get(name)
                .into_iter()
                .flatten()
                .map(|why| format!("left out: {why}"));
            servers.chain(left_out).collect()
        };
        let backends = side.config.backends.keys();
        backends.map(|name| (name.clone(), lines(name))).collect()
    };
    let from = old.map(things).unwrap_or_default();
    changes(&from, &things(new), |name| {
        written.take(&["backends", name])
    })
}

fn server(server: &Server) -> String {
    let terms = server.terms;
    let host = server.host.as_ref();
    let most = terms.max_connections;
    let words = [
        Some(format!("server {}", server.addr)),
        host.map(|host| format!("written as {host}")),
        (terms.weight != 1).then(|| format!("weight {}", terms.weight)),
        (terms.tier != 0).then(|| format!("tier {}", terms.tier)),
        most.map(|most| format!("at most {most} connections")),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn workers(old: Option<&Config>, new: &Config, facts: &PlanFacts) -> Vec<Change> {
    let before = old.map_or(0, |old| old.workers.cpus.len());
    let change = |(number, preview): &(usize, Preview)| {
        let (how, what) = match preview {
            _ if *number >= before => (How::Added, Vec::new()),
            Preview::Unchanged => (How::Unchanged, Vec::new()),
            Preview::Live(what) => (How::ChangedLive, what.clone()),
            Preview::Replace { why } => (How::Replaced, vec![why.clone()]),
        };
        let name = number.to_string();
        Change { name, how, what }
    };
    let gone = (new.workers.cpus.len()..before).map(|number| Change {
        name: number.to_string(),
        how: How::Removed,
        what: vec!["it finishes its connections".to_owned()],
    });
    facts.workers.iter().map(change).chain(gone).collect()
}

/// BGP's neighbours by name; BGP, BFD and VRRP as a whole; and the sessions that end, while all others go on.
fn neighbours(old: Option<&Config>, new: &Config, written: &mut TextDifferences) -> Vec<Change> {
    let named = |config: &Config| -> Things {
        let all = config.bgp.iter().flat_map(|bgp| &bgp.neighbours);
        flat(all.map(|neighbour| neighbour.address))
    };
    let said = |name: &str| written.take(&["bgp", "neighbours", name]);
    let mut all = changes(&old.map(named).unwrap_or_default(), &named(new), said);
    let parts = |config: &Config| {
        let bgp = config.bgp.is_some();
        let on = [("bgp", bgp), ("bfd", bgp), ("vrrp", config.vrrp.is_some())];
        flat(on.into_iter().filter(|(_, on)| *on).map(|(name, _)| name))
    };
    let said = |name: &str| written.take(&[name]);
    all.extend(changes(
        &old.map(parts).unwrap_or_default(),
        &parts(new),
        said,
    ));
    for (name, what) in old.map(|old| endings(old, new)).unwrap_or_default() {
        match all.iter_mut().find(|change| change.name == name) {
            Some(change) => change.what.push(what),
            None => all.push(Change {
                name,
                how: How::Changed,
                what: vec![what],
            }),
        }
    }
    all
}

/// Sessions and virtual routers that end or start anew: under which name, and in which words.
fn endings(old: &Config, new: &Config) -> Vec<(String, String)> {
    let mut endings = Vec::new();
    let identifier = |bgp: &Bgp| bgp.router_id;
    let renamed = old.bgp.as_ref().zip(new.bgp.as_ref());
    // Without a configured `router_id` the one chosen at the start stays.
    let renamed = renamed.is_some_and(|(old, new)| {
        identifier(new).is_some_and(|id| identifier(old).is_none_or(|was| was != id))
    });
    for neighbour in old.bgp.iter().flat_map(|bgp| &bgp.neighbours) {
        let address = neighbour.address;
        let mut others = new.bgp.iter().flat_map(|bgp| &bgp.neighbours);
        let why = match others.find(|other| other.address == address) {
            None => "the neighbour is removed".to_owned(),
            Some(_) if renamed => "router_id".to_owned(),
            Some(next) => neighbour.session_differs(next).join(", "),
        };
        if !why.is_empty() {
            endings.push((
                address.to_string(),
                format!("the session with {address} ends: {why}"),
            ));
        }
    }
    let Some(vrrp) = &old.vrrp else {
        return endings;
    };
    let next = new.vrrp.clone().unwrap_or_else(|| Vrrp {
        instances: Vec::new(),
        ..vrrp.clone()
    });
    for (instance, why) in vrrp.restarts(&next) {
        let family = if instance.is_ipv6() { "IPv6" } else { "IPv4" };
        let vrid = instance.vrid;
        endings.push((
            "vrrp".to_owned(),
            format!("virtual router {vrid} ({family}) {why}"),
        ));
    }
    endings
}

/// The keys that differ, taken one group after another.
struct TextDifferences(Vec<Difference>);

impl TextDifferences {
    fn of(differences: &[Difference]) -> Self {
        Self(differences.to_vec())
    }

    /// Takes the lines of all keys below a path.
    fn take(&mut self, below: &[&str]) -> Vec<String> {
        let (ours, others) = std::mem::take(&mut self.0).into_iter().partition(|key| {
            key.path.iter().zip(below).filter(|(a, b)| a == b).count() == below.len()
        });
        self.0 = others;
        let ours: Vec<Difference> = ours;
        ours.iter().map(|key| key.words(below.len())).collect()
    }

    /// The keys that were not taken, by section.
    fn rest(self) -> Vec<Change> {
        let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in &self.0 {
            let section = key.path.first().cloned().unwrap_or_default();
            sections.entry(section).or_default().push(key.words(1));
        }
        let change = |(name, what)| Change {
            name,
            how: How::Changed,
            what,
        };
        sections.into_iter().map(change).collect()
    }
}
