//! The commands that change a running worker, and its answers when it has done them. Measured with HAProxy 2.6.12; 3.x
//! gives the same answers.

use std::fmt;

use super::{
    Key,
    text::{Backend, Server},
};

/// A command to HAProxy's socket about one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Command {
    pub(in super::super) key: Key,
    pub(in super::super) verb: Verb,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Verb {
    /// Adds the server: its address and all the words of its line. It stays in maintenance, without checks.
    Add(String, Vec<String>),
    /// Starts the checks that its line asks for.
    Check,
    /// Lets it get connections.
    Ready,
    /// Puts it into maintenance: it gets no new connection and keeps those it has.
    Maintain,
    /// The same; the daemon deletes it when it has no connection left.
    Leave,
    /// Removes it from the process. HAProxy refuses while there is a connection to it.
    Delete,
    /// Ends its connections when its time to finish is over.
    Cut,
    Address(String, String),
    Weight(u16),
    /// All of the weight in its line. For a table made at the start, which allows all or nothing.
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

    /// Does the answer say that HAProxy has done it?
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

/// One word for the command socket, which has no quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            ' ' | '\\' | ';' => write!(out, "\\{letter}"),
            letter => write!(out, "{letter}"),
        })
    }
}

/// Adds a server to a worker. Before HAProxy 3.1 it counts as alive until its checks or the daemon report otherwise.
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

/// Changes the address, weight and limit of a server to the wanted ones.
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

/// Lets a server finish. With weight 0 it is no longer counted among the servers in use.
pub(super) fn leave(key: &Key) -> [Command; 2] {
    [Verb::Weight(0), Verb::Leave].map(|verb| Command::new(key, verb))
}
