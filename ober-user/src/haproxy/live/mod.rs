//! Compares two configurations of a worker, and finds the commands that change the one into the other while it runs. Pure.
//!
//! A change of anything but a server's address, weight, limit or existence needs another process. So do, by HAProxy's
//! own rules: servers added to or removed from a table made at the start (`iphash`), servers added for `first`, which
//! would get another place among the others, and a server that becomes a backup server or ceases to be one.
//!
//! `text` reads a worker's configuration back, `command` writes the commands, `reconcile` compares a worker with its file.
//! They never connect to a worker: `pool/slot` does.

mod command;
mod reconcile;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

pub(super) use self::{
    command::{Command, Verb},
    reconcile::{deviations, left, observe},
    text::{Server, Text},
};
use self::{
    command::{add, adjust, leave},
    text::{Backend, Method},
};

/// What identifies a server: its backend and its name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) backend: String,
    pub(super) server: String,
}

impl Key {
    fn new(backend: &str, server: &Server) -> Self {
        Self {
            backend: backend.to_owned(),
            server: server.name.clone(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.backend, self.server)
    }
}

/// Servers that are finishing, as they were when that began.
pub(super) type Leaving = BTreeMap<Key, Server>;

/// How a worker gets from one configuration to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Unchanged,
    /// The worker is changed by these commands, in this order.
    Live(Vec<Command>),
    /// The worker is replaced, for this reason.
    Replace(String),
}

/// Compares the configuration that a worker has, in which these servers are leaving, with the wanted one.
pub(super) fn compare(has: &str, wanted: &str, leaving: &Leaving) -> Comparison {
    if has == wanted {
        return Comparison::Unchanged;
    }
    let (has, wanted) = (Text::read(has), Text::read(wanted));
    if let Some(reason) = other(&has.rest, &wanted.rest) {
        return Comparison::Replace(reason);
    }
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (name, backend) in &wanted.backends {
        let before = has.backends.get(name).map_or(&[][..], |it| &it.servers);
        let steps = Steps {
            name,
            backend,
            before,
            leaving,
        };
        if let Err(reason) = steps.find(&mut first, &mut last) {
            return Comparison::Replace(format!("backend {name}: {reason}"));
        }
    }
    // Servers are added before others leave.
    first.extend(last);
    Comparison::Live(first)
}

/// Describes the first line that differs.
fn other(has: &[(&str, &str)], wanted: &[(&str, &str)]) -> Option<String> {
    let mut pairs = has.iter().zip(wanted);
    let differing = pairs
        .find(|(has, wanted)| has != wanted)
        .map(|(_, wanted)| wanted);
    let longer = || wanted.get(has.len()).or_else(|| has.get(wanted.len()));
    let (section, line) = differing.or_else(longer)?;
    if section.starts_with('#') {
        return Some("the program or the CPU is another".to_owned());
    }
    if section == line {
        return Some(format!("{section}: the sections differ from here on"));
    }
    Some(format!("{section}: the lines differ from `{line}` on"))
}

/// The comparison of one backend.
struct Steps<'a> {
    name: &'a str,
    backend: &'a Backend,
    before: &'a [Server],
    leaving: &'a Leaving,
}

impl Steps<'_> {
    /// Finds the commands to do first and those to do last, or the reason why the worker must be replaced.
    fn find(&self, first: &mut Vec<Command>, last: &mut Vec<Command>) -> Result<(), String> {
        let old: HashMap<&str, &Server> = by_name(self.before);
        let new: HashMap<&str, &Server> = by_name(&self.backend.servers);
        self.order(&new)?;
        for server in &self.backend.servers {
            let key = Key::new(self.name, server);
            let before = old.get(server.name.as_str());
            match (before, self.leaving.get(&key)) {
                (Some(before), _) => first.extend(self.changed(&key, before, server)?),
                (None, Some(before)) => {
                    // The server as it is while it leaves.
                    let before = Server {
                        weight: Some(0),
                        held: server.held,
                        ..before.clone()
                    };
                    first.extend(self.changed(&key, &before, server).map_err(|reason| {
                        format!("{reason}, and its connections are not finished yet")
                    })?);
                    let verb = if server.held {
                        Verb::Maintain
                    } else {
                        Verb::Ready
                    };
                    first.push(Command::new(&key, verb));
                }
                (None, None) => first.extend(add(&key, self.backend, server)),
            }
        }
        let gone = self.before.iter();
        for old in gone.filter(|old| !new.contains_key(old.name.as_str())) {
            last.extend(leave(&Key::new(self.name, old)));
        }
        Ok(())
    }

    fn changed(&self, key: &Key, before: &Server, server: &Server) -> Result<Vec<Command>, String> {
        let name = &server.name;
        if before.number != server.number {
            return Err(format!("server {name} gets another place on the circle"));
        }
        if before.backup != server.backup {
            return Err(format!(
                "server {name} changes its tier, which HAProxy reads only at its start"
            ));
        }
        if before.others != server.others {
            return Err(format!("server {name} is reached in another way"));
        }
        if self.backend.method == Method::Static && before.weight() != server.weight() {
            return Err(format!(
                "server {name} gets another weight, and `iphash` has a table made at the start"
            ));
        }
        Ok(adjust(key, before, server))
    }

    /// Refuses servers that come or go where the method depends on their order or number.
    fn order(&self, new: &HashMap<&str, &Server>) -> Result<(), String> {
        let after = names(&self.backend.servers);
        match self.backend.method {
            Method::Dynamic => Ok(()),
            Method::Static => {
                let same = names(self.before).eq(after);
                let why = "servers come or go, and `iphash` has a table made at the start";
                same.then_some(()).ok_or_else(|| why.to_owned())
            }
            Method::Ordered => {
                let stays = names(self.before).filter(|name| new.contains_key(name));
                let why = "servers come, and for `first` their order counts";
                stays.eq(after).then_some(()).ok_or_else(|| why.to_owned())
            }
        }
    }
}

fn names(servers: &[Server]) -> impl Iterator<Item = &str> {
    servers.iter().map(|server| server.name.as_str())
}

fn by_name(servers: &[Server]) -> HashMap<&str, &Server> {
    names(servers).zip(servers).collect()
}
