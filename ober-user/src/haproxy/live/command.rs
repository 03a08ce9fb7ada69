//! What a running worker is told, and what it says when it has done it. Measured with HAProxy 2.6.12; 3.x says the same.

use std::fmt;

use super::{
    Key,
    text::{Backend, Server},
};

/// A command of HAProxy's socket about one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Command {
    pub(in super::super) key: Key,
    pub(in super::super) verb: Verb,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Verb {
    /// The address and all the words of its line. It waits in maintenance, unchecked.
    Add(String, Vec<String>),
    /// Check it as its line says.
    Check,
    /// It may get connections.
    Ready,
    /// It gets no new connection and keeps those it has.
    Maintain,
    /// The same, and when it has none any more it is to be deleted.
    Leave,
    /// Taken out of the process. HAProxy refuses while there is a connection to it.
    Delete,
    /// Ends what is still there when its time is over.
    Cut,
    Address(String, String),
    Weight(u16),
    /// As far as a table made at the start goes: all of the weight it was written with.
    WholeWeight,
    /// The most connections at once; 0: no limit.
    Connections(u32),
}

impl Command {
    pub(super) fn new(key: &Key, verb: Verb) -> Self {
        Self {
            key: key.clone(),
            verb,
        }
    }

    /// Did HAProxy do it, by its answer?
    pub(in super::super) fn done(&self, answer: &str) -> bool {
        let answer = answer.trim();
        match self.verb {
            Verb::Add(..) => answer == "New server registered.",
            Verb::Delete => answer == "Server deleted.",
            Verb::Address(..) => {
                answer.contains("changed from") || answer.contains("no need to change")
            }
            Verb::Check
            | Verb::Ready
            | Verb::Maintain
            | Verb::Leave
            | Verb::Cut
            | Verb::Weight(_)
            | Verb::WholeWeight
            | Verb::Connections(_) => answer.is_empty(),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.verb {
            Verb::Add(address, words) => {
                write!(out, "add server {key} {address}")?;
                words
                    .iter()
                    .try_for_each(|word| write!(out, " {}", Escaped(word)))
            }
            Verb::Check => write!(out, "enable health {key}"),
            Verb::Ready => write!(out, "set server {key} state ready"),
            Verb::Maintain | Verb::Leave => write!(out, "set server {key} state maint"),
            Verb::Delete => write!(out, "del server {key}"),
            Verb::Cut => write!(out, "shutdown sessions server {key}"),
            Verb::Address(ip, port) => write!(out, "set server {key} addr {ip} port {port}"),
            Verb::Weight(weight) => write!(out, "set server {key} weight {weight}"),
            Verb::WholeWeight => write!(out, "set server {key} weight 100%"),
            Verb::Connections(most) => write!(out, "set maxconn server {key} {most}"),
        }
    }
}

/// One word for the command socket, which knows no quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            ' ' | '\\' | ';' => write!(out, "\\{letter}"),
            letter => write!(out, "{letter}"),
        })
    }
}

/// Puts a server into a worker. In HAProxy before 3.1 it counts as alive until its checks, or the daemon, say otherwise.
pub(super) fn add(key: &Key, backend: &Backend, server: &Server) -> Vec<Command> {
    let mut words = backend.check.clone();
    let mut pair = |word: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|value| [word.to_owned(), value]));
    };
    pair("id", server.number.clone());
    pair("weight", server.weight.map(|weight| weight.to_string()));
    pair("maxconn", server.most.map(|most| most.to_string()));
    words.extend(server.others.iter().cloned());
    words.extend(server.backup.then(|| "backup".to_owned()));
    let checked = !backend.check.is_empty();
    let mut commands = vec![Command::new(key, Verb::Add(server.address.clone(), words))];
    commands.extend(checked.then(|| Command::new(key, Verb::Check)));
    commands.extend((!server.held).then(|| Command::new(key, Verb::Ready)));
    commands
}

/// From a server to the same one as it is wanted, as far as that is a matter of numbers.
pub(super) fn adjust(key: &Key, server: &Server, wanted: &Server) -> Vec<Command> {
    let mut verbs = Vec::new();
    if server.address != wanted.address {
        let (ip, port) = wanted.place();
        verbs.push(Verb::Address(ip.to_owned(), port.to_owned()));
    }
    if server.weight() != wanted.weight() {
        verbs.push(Verb::Weight(wanted.weight()));
    }
    if server.most() != wanted.most() {
        verbs.push(Verb::Connections(wanted.most()));
    }
    if server.held != wanted.held {
        verbs.push(if wanted.held {
            Verb::Maintain
        } else {
            Verb::Ready
        });
    }
    verbs
        .into_iter()
        .map(|verb| Command::new(key, verb))
        .collect()
}

/// Has a server finish. Its weight tells who counts servers that it is none of them any more.
pub(super) fn leave(key: &Key) -> [Command; 2] {
    [Verb::Weight(0), Verb::Leave].map(|verb| Command::new(key, verb))
}
