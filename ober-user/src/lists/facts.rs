//! What is told of the lists while somebody changes them: a copy of what is known, and the maps themselves, which are read
//! between two changes.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use super::{Error, List};
use crate::{
    access,
    api::{Checked, ListEntries},
    dataplane::Maps,
    status,
};

/// The maps of an instance: many read them, one changes them, for as long as that takes and no longer.
pub(super) type SharedMaps = Arc<RwLock<Maps>>;

/// A panic on the way leaves bits of a list in the kernel, which is better told than not.
pub(super) fn reading(maps: &SharedMaps) -> RwLockReadGuard<'_, Maps> {
    maps.read().unwrap_or_else(PoisonError::into_inner)
}

/// All lists as they were when their keeper was last let go.
pub struct Facts {
    pub(super) maps: SharedMaps,
    pub(super) lists: BTreeMap<String, status::List>,
}

impl Facts {
    pub fn status(&self) -> Vec<status::List> {
        self.lists.values().cloned().collect()
    }

    /// The lists as the kernel holds them.
    pub fn show(&self, only: Option<&str>) -> Result<Vec<ListEntries>, Error> {
        if let Some(name) = only.filter(|name| !self.lists.contains_key(*name)) {
            let names = self.lists.keys().map(String::as_str);
            return Err(Error::unknown(name, names));
        }
        let maps = reading(&self.maps);
        let chosen = self.lists.values();
        let chosen = chosen.filter(|list| only.is_none_or(|only| only == list.name));
        chosen
            .map(|list| {
                let entries = access::read(&maps, list.number);
                let entries = entries.map_err(|source| Error::Apply {
                    list: list.name.clone(),
                    source,
                })?;
                Ok(ListEntries {
                    name: list.name.clone(),
                    sources: list.sources.clone(),
                    except: list.except.clone(),
                    count: entries.count(),
                    entries: entries.lines().collect(),
                })
            })
            .collect()
    }

    /// Which lists hold the address.
    pub fn check(&self, address: IpAddr) -> Result<Vec<Checked>, Error> {
        let maps = reading(&self.maps);
        let check = |list: &status::List| {
            let listed = access::listed(&maps, list.number, address.to_canonical());
            let listed = listed.map_err(|source| Error::Apply {
                list: list.name.clone(),
                source,
            })?;
            Ok(Checked {
                list: list.name.clone(),
                listed,
            })
        };
        self.lists.values().map(check).collect()
    }
}

pub(super) fn describe((name, list): (&String, &List)) -> (String, status::List) {
    let described = status::List {
        name: name.clone(),
        number: list.stored.number,
        count: list.count,
        sources: list.stored.sources(),
        except: list.stored.except(),
        unresolved: list.stored.unresolved.clone(),
        synced: list.stored.synced,
        error: list.error.clone(),
    };
    (name.clone(), described)
}
