//! Sources to entries: expressions are expanded, names are resolved, and a name that fails keeps what it had.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, BufReader},
    net::IpAddr,
    path::Path,
};

use crate::{
    access::Entries,
    config,
    hostlist::{self, Cap, Item, Sources, disk::Disk, visit},
    resolve::{Resolution, resolve},
    slurm::NodeAddrs,
};

/// Every name with its addresses.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

/// What expressions say before anybody is asked.
pub(super) struct Read {
    entries: Entries,
    pub(super) names: BTreeSet<String>,
}

/// What they mean.
pub(super) struct Expanded {
    pub(super) entries: Entries,
    /// All names of the sources, with the addresses used.
    pub(super) names: Names,
    pub(super) resolution: Resolution,
    /// Names that failed and kept earlier addresses.
    pub(super) kept: Vec<String>,
}

/// Standard input that came with a request, and the file that will keep it.
#[derive(Clone, Copy)]
pub(super) struct Stdin<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

/// Files from disk; standard input from the request, where it came along.
struct Given<'a> {
    disk: Disk,
    stdin: Option<Stdin<'a>>,
}

impl Sources for Given<'_> {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn BufRead + '_>> {
        match self.stdin {
            Some(Stdin { file, text }) if path == file => {
                Ok(Box::new(BufReader::new(text.as_bytes())))
            }
            _ => self.disk.open(path),
        }
    }

    fn stdin(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Err(io::Error::other(
            "standard input is read by the command and sent along",
        ))
    }
}

/// Expands all sources against one cap.
pub(super) fn read(
    sources: &[String],
    cap: usize,
    stdin: Option<Stdin<'_>>,
) -> Result<Read, hostlist::Error> {
    let mut read = Read {
        entries: Entries::default(),
        names: BTreeSet::new(),
    };
    let mut cap = Cap::new(cap);
    for source in sources {
        visit(
            source,
            &mut cap,
            &mut Given { disk: Disk, stdin },
            |item| match item {
                Item::Name(name) => {
                    read.names.insert(name);
                }
                Item::Addr(address) => read.entries.push(address),
                Item::Prefix(prefix) => read.entries.push_prefix(prefix),
                Item::Range { first, last } => read.entries.push_range(first, last),
            },
        )?;
    }
    Ok(read)
}

impl Read {
    /// Asks for the names; those that fail keep the addresses of `old`.
    pub(super) async fn resolve(
        self,
        old: &Names,
        how: &config::Resolve,
        slurm: &NodeAddrs,
    ) -> Expanded {
        let mut expanded = Expanded::resolved(self.entries);
        if !self.names.is_empty() {
            expanded.resolution = resolve(self.names, how, slurm).await;
        }
        expanded.names.clone_from(&expanded.resolution.found);
        for (name, _) in &expanded.resolution.failed {
            if let Some(addresses) = old.get(name) {
                expanded.names.insert(name.clone(), addresses.clone());
                expanded.kept.push(name.clone());
            }
        }
        expanded
            .names
            .values()
            .flatten()
            .for_each(|address| expanded.entries.push(*address));
        expanded.entries.settle();
        expanded
    }
}
