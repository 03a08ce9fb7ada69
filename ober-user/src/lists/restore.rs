//! Restores lists at a start from the disk; where a file is damaged, from the others.

use std::fmt::Write as _;

use ipnet::{IpNet, Ipv4Subnets};

use super::{AccessLists, Error, edit::Step, expand, snapshot};
use crate::{
    dataplane::access,
    names::{entries::Entries, hostlist::Cap},
    system::store::{self, Kind, Pending},
};

impl AccessLists {
    /// Fills the lists from the disk, so that the start does not wait for name servers: all of them when the maps are
    /// `fresh`, otherwise those of which it is not known that the kernel's maps have them. Damaged files are moved
    /// aside.
    pub fn restore(&mut self, fresh: bool) -> Result<(), Error> {
        let names: Vec<String> = self.lists.keys().cloned().collect();
        for name in names {
            let kept = self.recover(&name)?;
            let Some(list) = self.lists.get_mut(&name) else {
                continue;
            };
            let (anew, number) = (std::mem::take(&mut list.anew), list.stored.number);
            if !fresh && !anew {
                continue;
            }
            let entries = kept.unwrap_or_else(|| self.remembered_or_none(&name));
            let apply = |source| Error::Apply {
                list: name.clone(),
                source,
            };
            let restored = access::replace(&mut self.maps_mut(), number, &entries);
            restored.map_err(apply)?;
        }
        self.recount()
    }

    /// The entries of a list on disk. A damaged file is moved aside.
    fn recover(&mut self, name: &str) -> Result<Option<Entries>, Error> {
        let path = self.snapshot(name);
        let kept = store::recover(Kind::Entries, &path, snapshot::read(&path))?;
        if self
            .lists
            .get(name)
            .is_some_and(|list| list.damaged.is_some())
        {
            self.recover_sources(name, kept.as_ref());
        }
        Ok(kept)
    }

    fn remembered_or_none(&mut self, name: &str) -> Entries {
        self.remembered(name).unwrap_or_else(|error| {
            tracing::error!(%error, "fill a list, which is empty until its sources can be read");
            if let Some(list) = self.lists.get_mut(name) {
                list.error = Some(error.to_string());
            }
            Entries::default()
        })
    }

    /// Gives a list whose file is damaged the entries of its snapshot, as if they had been given on standard input.
    fn recover_sources(&mut self, name: &str, kept: Option<&Entries>) {
        let (file, snapshot) = (self.file(name), self.snapshot(name));
        let Some(list) = self.lists.get_mut(name) else {
            return;
        };
        let why = list.damaged.take().unwrap_or_default();
        store::set_aside(Kind::List, &file, &why);
        let Some(entries) = kept else {
            return;
        };
        let stored = list.stored.clone();
        let text = self.free_text(name, &stored);
        let written = Pending::write(Kind::ListText, &text, lines(entries).as_bytes());
        if let Err(error) = written.and_then(Pending::commit) {
            let from = snapshot.display();
            tracing::error!(%error, %from, "keep the entries of a list as its source");
        }
        if let Some(list) = self.lists.get_mut(name) {
            list.stored.steps = vec![Step::Add(format!("@{}", text.display()))];
        }
    }

    /// The entries from the sources, with the known addresses of their names: no name server is asked.
    fn remembered(&self, name: &str) -> Result<Entries, Error> {
        let stored = &self.known(name)?.stored;
        let runs = expand::read(&stored.steps, &mut Cap::new(self.cap), None);
        let runs = runs.map_err(|source| Error::Sources {
            list: name.to_owned(),
            source,
        })?;
        let mut entries = expand::combine(runs, &stored.names).map_err(|source| Error::Apply {
            list: name.to_owned(),
            source: source.into(),
        })?;
        entries.settle();
        Ok(entries)
    }
}

/// The entries as text, one address or prefix on each line. Ranges become prefixes, because a range counts as all its
/// addresses.
fn lines(entries: &Entries) -> String {
    let mut text = String::new();
    let mut line = |it: IpNet| {
        let single = it.prefix_len() == it.max_prefix_len();
        // Writing to a String cannot fail.
        let written = if single {
            writeln!(text, "{}", it.addr())
        } else {
            writeln!(text, "{it}")
        };
        written.unwrap_or_default();
    };
    for range in &entries.v4 {
        let nets = Ipv4Subnets::new(range.first.into(), range.last.into(), 0);
        nets.for_each(|net| line(net.into()));
    }
    for host in &entries.hosts {
        line(IpNet::from(std::net::IpAddr::V6((*host).into())));
    }
    for prefix in &entries.prefixes {
        line((*prefix).into());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lists::expand::Text, names::resolve::Names};

    #[test]
    fn the_entries_of_a_list_are_a_text_with_the_same_meaning_and_no_greater_count() {
        let mut entries = Entries::default();
        for member in [
            "10.0.0.0/8",
            "192.0.2.7/32",
            "192.0.2.8/31",
            "fd00::1/128",
            "fd01::/48",
        ] {
            entries.push_prefix(member.parse().unwrap());
        }
        entries.settle();
        let text = lines(&entries);
        assert_eq!(text.lines().next(), Some("10.0.0.0/8"));
        let file = std::path::Path::new("/text");
        let text = Text {
            file,
            bytes: text.as_bytes(),
        };
        let steps = [Step::Add("@/text".to_owned())];
        let runs = expand::read(&steps, &mut Cap::new(10), Some(text)).unwrap();
        let mut read = expand::combine(runs, &Names::new()).unwrap();
        read.settle();
        assert_eq!(read, entries);
    }
}
