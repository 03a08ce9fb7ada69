//! The state of the lists for readers while a change goes on: a copy of what `AccessLists` knows, and the maps
//! themselves, which are read between two changes.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use ober_common::abi::Service;
use serde::{Deserialize, Serialize};

use super::{Error, List};
use crate::{
    dataplane::{Maps, access},
    lists::edit::{Checked, ListEntries},
};

/// The maps of an instance. Several readers or one writer hold the lock, each only while it uses the maps.
pub(super) type SharedMaps = Arc<RwLock<Maps>>;

/// Locks the maps for reading. After a panic of a writer the maps may hold a part of a change, which is shown all the same.
pub(super) fn reading(maps: &SharedMaps) -> RwLockReadGuard<'_, Maps> {
    maps.read().unwrap_or_else(PoisonError::into_inner)
}

/// A list, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub name: String,
    /// Its number in the kernel.
    pub number: u32,
    pub count: u64,
    pub sources: Vec<String>,
    pub except: Vec<String>,
    /// Names that could not be resolved the last time, with the reason.
    pub unresolved: BTreeMap<String, String>,
    /// When the last sync was applied, in seconds since 1970.
    pub synced: Option<u64>,
    /// Why the last attempt failed, if it did; the entries before it are in force.
    pub error: Option<String>,
}

/// All lists as they were when this was made by [`AccessLists::facts`](super::AccessLists::facts).
pub struct ListFacts {
    pub(super) maps: SharedMaps,
    pub(super) lists: BTreeMap<String, Summary>,
}

impl ListFacts {
    pub fn status(&self) -> Vec<Summary> {
        self.lists.values().cloned().collect()
    }

    /// The entries of lists in the kernel's maps.
    pub fn show(&self, only: Option<&str>) -> Result<Vec<ListEntries>, Error> {
        if let Some(name) = only.filter(|name| !self.lists.contains_key(*name)) {
            let names = self.lists.keys().map(String::as_str);
            return Err(Error::unknown(name, names));
        }
        let maps = reading(&self.maps);
        let chosen = self
            .lists
            .values()
            .filter(|list| only.is_none_or(|only| only == list.name));
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

    /// The VIPs and TCP ports in force in the kernel that admit only the clients of a list, with its number.
    pub fn listed_services(&self) -> BTreeMap<(IpAddr, u16), u32> {
        let services = reading(&self.maps).services();
        let tcp = |it: &&Service| i32::from(it.protocol) == libc::IPPROTO_TCP;
        let listed = services.iter().filter(tcp).filter_map(|it| {
            let vip = IpAddr::from(it.vip).to_canonical();
            Some(((vip, it.port), it.list.checked_sub(1)?))
        });
        listed.collect()
    }

    /// The number of the list whose clients this VIP and TCP port admits now; `None`: it is open to every client, or no
    /// service.
    pub fn list_of(&self, vip: IpAddr, port: u16) -> Option<u32> {
        self.listed_services().get(&(vip, port)).copied()
    }

    /// Is the address on list `number` in the kernel's maps?
    pub fn holds(&self, number: u32, address: IpAddr) -> bool {
        access::listed(&reading(&self.maps), number, address)
    }

    /// For every list, whether the address is on it.
    pub fn check(&self, address: IpAddr) -> Vec<Checked> {
        let maps = reading(&self.maps);
        let check = |list: &Summary| Checked {
            list: list.name.clone(),
            listed: access::listed(&maps, list.number, address.to_canonical()),
        };
        self.lists.values().map(check).collect()
    }
}

pub(super) fn describe((name, list): (&String, &List)) -> (String, Summary) {
    let described = Summary {
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
