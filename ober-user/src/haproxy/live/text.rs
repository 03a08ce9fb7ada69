//! Reads a worker's configuration back: its servers, and all other lines. Only text that [`super::super::render`]
//! writes is understood. The file of a worker is the only record of the configuration it has, also for a new daemon.

use std::collections::BTreeMap;

use super::Key;

/// A configuration in two parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Text<'a> {
    pub(in super::super) backends: BTreeMap<&'a str, Backend>,
    /// The other lines, each with its section.
    pub(super) rest: Vec<(&'a str, &'a str)>,
}

/// The servers of a backend, and what commands about them depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Backend {
    pub(super) method: Method,
    /// The words of `default-server`, which HAProxy does not apply to servers that are added later.
    pub(super) check: Vec<String>,
    pub(in super::super) servers: Vec<Server>,
}

/// Which changes the balancing method allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Method {
    #[default]
    Dynamic,
    /// `balance first`: servers may come and go, but a new one takes the first free place.
    Ordered,
    /// A table made at the start: no server can be added, and a weight is all or nothing.
    Static,
}

/// A server as its line is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Server {
    pub(in super::super) name: String,
    pub(in super::super) address: String,
    pub(super) number: Option<String>,
    pub(super) weight: Option<u16>,
    pub(super) most: Option<u32>,
    /// Of the second tier or a higher one.
    pub(super) backup: bool,
    /// Of a tier that waits in maintenance until the daemon needs it.
    pub(in super::super) held: bool,
    /// The words that cannot be changed while HAProxy runs.
    pub(super) others: Vec<String>,
}

impl Server {
    pub(super) fn weight(&self) -> u16 {
        self.weight.unwrap_or(1)
    }

    /// HAProxy writes "no limit" as zero.
    pub(super) fn most(&self) -> u32 {
        self.most.unwrap_or_default()
    }

    /// Address and port as two words.
    pub(super) fn place(&self) -> (&str, &str) {
        let (ip, port) = self.address.rsplit_once(':').unwrap_or_default();
        (ip.trim_matches(['[', ']']), port)
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = words(line).into_iter();
        let mut server = Self {
            name: words.next()?,
            address: words.next()?,
            ..Self::default()
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "id" => server.number = words.next(),
                "weight" => server.weight = words.next()?.parse().ok(),
                "maxconn" => server.most = words.next()?.parse().ok(),
                "backup" => server.backup = true,
                "disabled" => server.held = true,
                // The next word is a host name, which may look like a keyword.
                "check-sni" => server
                    .others
                    .extend([Some(word), words.next()].into_iter().flatten()),
                _ => server.others.push(word),
            }
        }
        Some(server)
    }
}

impl<'a> Text<'a> {
    pub(in super::super) fn read(text: &'a str) -> Self {
        let (mut read, mut section) = (Self::default(), "");
        for line in text.lines() {
            let inner = line.strip_prefix("    ");
            if inner.is_none() {
                section = line;
            }
            let line = inner.unwrap_or(line);
            let backend = section.strip_prefix("backend ");
            let kept =
                backend.and_then(|backend| read.backends.entry(backend).or_default().take(line));
            if kept.is_none() {
                read.rest.push((section, line));
            }
        }
        read
    }

    /// Every server of the configuration, by backend and name.
    pub(in super::super) fn servers(&self) -> BTreeMap<Key, (&Backend, &Server)> {
        let backends = self.backends.iter();
        let servers = backends.flat_map(|(name, backend)| {
            let keyed = move |server| (Key::new(name, server), (backend, server));
            backend.servers.iter().map(keyed)
        });
        servers.collect()
    }
}

impl Backend {
    /// Reads a server's line; of other lines, notes the method and `default-server`.
    fn take(&mut self, line: &str) -> Option<()> {
        if let Some(server) = line.strip_prefix("server ") {
            self.servers.push(Server::read(server)?);
            return Some(());
        }
        match line {
            "balance first" => self.method = Method::Ordered,
            "hash-type map-based" => self.method = Method::Static,
            _ => self.check.extend(
                line.strip_prefix("default-server ")
                    .map(words)
                    .unwrap_or_default(),
            ),
        }
        None
    }
}

/// The words of a line, their quotes removed: see [`super::super::render`], `text.rs`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut open) = (Vec::new(), None::<String>, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                open = !open;
                word.get_or_insert_default();
            }
            '\\' if !open => word.get_or_insert_default().extend(letters.next()),
            ' ' if !open => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}
