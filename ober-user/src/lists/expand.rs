//! From sources to entries: expressions are expanded, names are resolved, and a name that fails keeps the addresses it had.

use std::{
    collections::BTreeSet,
    io::{self, BufRead},
    path::Path,
};

use super::edit::Step;
use crate::{
    dataplane::access::Others,
    names::{
        entries::{Entries, Mixed, Range},
        hostlist::{self, Cap, Item, Sources, disk::Disk, visit},
        resolve::{Answers, Names, Settled},
    },
};

/// The entries and names of neighbouring expressions, before the names are resolved.
pub(super) struct Run {
    adds: bool,
    entries: Entries,
    names: BTreeSet<String>,
}

/// The entries that sources stand for.
#[derive(Default)]
pub(super) struct Expanded {
    /// Sorted.
    pub(super) entries: Entries,
    /// The ranges to remove from the list, sorted; `None`: everything that is not in `entries`.
    pub(super) gone: Option<Vec<Range>>,
    /// How many entries the list's sources count against the cap.
    pub(super) used: u64,
    /// The names of the sources that were read, with their addresses.
    pub(super) names: Settled,
}

impl Expanded {
    pub(super) fn others(&self) -> Others<'_> {
        match &self.gone {
            Some(but) => Others::Stay { but },
            None => Others::Go,
        }
    }

    /// Are there only IPv4 addresses?
    pub(super) fn is_plain(&self) -> bool {
        let Entries {
            v4: _,
            hosts,
            prefixes,
        } = &self.entries;
        self.names == Settled::default() && hosts.is_empty() && prefixes.is_empty()
    }
}

/// The text of a file. For standard input that came with a request, the file does not exist yet.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) file: &'a Path,
    pub(super) bytes: &'a [u8],
}

/// Reads files from disk, except for one whose text was given.
struct Given<'a> {
    disk: Disk,
    text: Option<Text<'a>>,
}

impl Sources for Given<'_> {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn BufRead + '_>> {
        match self.text {
            Some(Text { file, bytes }) if path == file => Ok(Box::new(bytes)),
            _ => self.disk.open(path),
        }
    }

    fn stdin(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Err(io::Error::other(
            "standard input is read by the command and sent along",
        ))
    }
}

/// Expands the steps against one cap. Neighbouring steps of one kind become one run.
pub(super) fn read(
    steps: &[Step],
    cap: &mut Cap,
    text: Option<Text<'_>>,
) -> Result<Vec<Run>, hostlist::Error> {
    let neighbours = steps.chunk_by(|one, next| one.adds() == next.adds());
    let runs = neighbours.map(|steps| {
        let mut run = Run {
            adds: steps.iter().all(Step::adds),
            entries: Entries::default(),
            names: BTreeSet::new(),
        };
        for step in steps {
            run.read(step.source(), cap, text)?;
        }
        Ok(run)
    });
    runs.collect()
}

impl Run {
    fn read(
        &mut self,
        source: &str,
        cap: &mut Cap,
        text: Option<Text<'_>>,
    ) -> Result<(), hostlist::Error> {
        let mut given = Given { disk: Disk, text };
        visit(source, cap, &mut given, |item| match item {
            Item::Name(name) => {
                self.names.insert(name);
            }
            Item::Addr(address) => self.entries.push(address),
            Item::Prefix(prefix) => self.entries.push_prefix(prefix),
            Item::Range { first, last } => self.entries.push_range(first, last),
        })
    }
}

/// The names in all runs.
pub(super) fn names(runs: &[Run]) -> BTreeSet<String> {
    runs.iter().flat_map(|run| run.names.clone()).collect()
}

/// Combines the runs in their order, with the answers for their names. A name that failed has its addresses in `old`.
pub(super) fn expand(runs: Vec<Run>, old: &Names, answers: &Answers) -> Result<Expanded, Mixed> {
    let names = answers.settle(&names(&runs), old);
    Ok(Expanded {
        entries: combine(runs, &names.names)?,
        names,
        ..Expanded::default()
    })
}

/// Combines the runs in their order, with the addresses of their names.
pub(super) fn combine(runs: Vec<Run>, names: &Names) -> Result<Entries, Mixed> {
    let mut entries = Entries::default();
    for mut run in runs {
        let named = run.names.iter().filter_map(|name| names.get(name));
        named
            .flatten()
            .for_each(|address| run.entries.push(*address));
        match (run.adds, entries.is_empty()) {
            (true, true) => entries = run.entries,
            (true, false) => entries.extend(run.entries),
            (false, _) => {
                run.entries.settle();
                entries.settle();
                entries.remove(&run.entries)?;
            }
        }
    }
    entries.order();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_addition_or_removal_of_an_address_counts() {
        let steps = [
            Step::Add("10.2.0.0/16".into()),
            Step::Remove("10.2.0.0/24,fd00::1".into()),
            Step::Add("10.2.0.7,fd00::2".into()),
        ];
        let runs = read(&steps, &mut Cap::new(100_000), None).unwrap();
        let expanded = expand(runs, &Names::new(), &Answers::default());
        let mut entries = expanded.unwrap().entries;
        entries.settle();
        let lines: Vec<String> = entries.lines().collect();
        assert_eq!(lines, ["10.2.0.7", "10.2.1.0-10.2.255.255", "fd00::2"]);
    }
}
