//! What sets two configurations of a worker apart, and the commands that make one of the other while it runs. Pure.
//!
//! Whatever is not a server's address, weight, limit or existence needs another process. So do, by HAProxy's own rules:
//! servers that come to or leave a table made at the start (`iphash`), new ones for `first`, whose place among the others would be
//! another, and a server that becomes backup or ceases to be.
//!
//! `text` reads a worker's configuration back, `command` writes what a socket is told, `drift` compares a worker with its file.
//! They never speak to a worker: `pool/slot` does.

mod command;
mod drift;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

pub(super) use self::{
    command::{Command, Verb},
    drift::{drift, left, observe},
    text::{Server, Text},
};
use self::{
    command::{add, adjust, leave},
    text::{Backend, Method},
};

/// A server's place: its backend and its name there.
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

/// Servers that were told to finish, as they were then.
pub(super) type Leaving = BTreeMap<Key, Server>;

/// How a worker gets from one configuration to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Unchanged,
    /// By these commands, in this order.
    Live(Vec<Command>),
    /// By a successor, because of this.
    Replace(String),
}

/// From the configuration a worker has, in which these servers leave, to another.
pub(super) fn compare(has: &str, wanted: &str, leaving: &Leaving) -> Change {
    if has == wanted {
        return Change::Unchanged;
    }
    let (has, wanted) = (Text::read(has), Text::read(wanted));
    if let Some(reason) = other(&has.rest, &wanted.rest) {
        return Change::Replace(reason);
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
            return Change::Replace(format!("backend {name}: {reason}"));
        }
    }
    // Nobody leaves before who comes is there.
    first.extend(last);
    Change::Live(first)
}

/// The first line that is not the same.
fn other(has: &[(&str, &str)], wanted: &[(&str, &str)]) -> Option<String> {
    let mut pairs = has.iter().zip(wanted);
    let differing = pairs
        .find(|(has, wanted)| has != wanted)
        .map(|(_, wanted)| wanted);
    let longer = || wanted.get(has.len()).or_else(|| has.get(wanted.len()));
    let (section, line) = differing.or_else(longer)?;
    if section.starts_with('#') {
        return Some("another program or CPU".to_owned());
    }
    if section == line {
        return Some(format!("{section}: the sections are others from here on"));
    }
    Some(format!("{section}: other lines from `{line}` on"))
}

/// One backend on its way.
struct Steps<'a> {
    name: &'a str,
    backend: &'a Backend,
    before: &'a [Server],
    leaving: &'a Leaving,
}

impl Steps<'_> {
    /// What is done first, and what last; or why it cannot be done.
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
                    // As it stands while it leaves.
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
                "server {name} goes from one tier to another, which HAProxy knows at the start only"
            ));
        }
        if before.others != server.others {
            return Err(format!("server {name} is spoken to in another way"));
        }
        if self.backend.method == Method::Static && before.weight() != server.weight() {
            return Err(format!(
                "server {name} gets another weight, and `iphash` has a table made at the start"
            ));
        }
        Ok(adjust(key, before, server))
    }

    /// Where the order or the number of servers counts, it must stay.
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
