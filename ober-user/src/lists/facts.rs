//! What is told of the lists while somebody changes them: a copy of what is known, and the maps themselves, which are read
//! between two changes.

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

/// The maps of an instance: many read them, one changes them, for as long as that takes and no longer.
pub(super) type SharedMaps = Arc<RwLock<Maps>>;

/// A panic on the way leaves bits of a list in the kernel, which is better told than not.
pub(super) fn reading(maps: &SharedMaps) -> RwLockReadGuard<'_, Maps> {
    maps.read().unwrap_or_else(PoisonError::into_inner)
}

/// A list as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub name: String,
    /// Its number in the kernel.
    pub number: u32,
    pub count: u64,
    pub sources: Vec<String>,
    pub except: Vec<String>,
    /// Names that did not resolve last time, with the reason.
    pub unresolved: BTreeMap<String, String>,
    /// Seconds since 1970 of the last sync that was applied.
    pub synced: Option<u64>,
    /// Why the last attempt failed, if it did; the list before it is in force.
    pub error: Option<String>,
}

/// All lists as they were when their keeper was last let go.
pub struct Facts {
    pub(super) maps: SharedMaps,
    pub(super) lists: BTreeMap<String, Summary>,
}

impl Facts {
    pub fn status(&self) -> Vec<Summary> {
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

    /// The VIPs and TCP ports that admit the clients of one list alone, with its number, as they are in force in the kernel.
    pub fn listed_services(&self) -> BTreeMap<(IpAddr, u16), u32> {
        let services = reading(&self.maps).services();
        let tcp = |it: &&Service| i32::from(it.protocol) == libc::IPPROTO_TCP;
        let listed = services.iter().filter(tcp);
        let listed = listed.filter_map(|it| {
            let vip = IpAddr::from(it.vip).to_canonical();
            Some(((vip, it.port), it.list.checked_sub(1)?))
        });
        listed.collect()
    }

    /// Number of the list that this VIP and TCP port admits now; `None`: it is open, or no service.
    pub fn list_of(&self, vip: IpAddr, port: u16) -> Option<u32> {
        self.listed_services().get(&(vip, port)).copied()
    }

    /// Is the address on list `number`, as the kernel sees it?
    pub fn holds(&self, number: u32, address: IpAddr) -> bool {
        access::listed(&reading(&self.maps), number, address)
    }

    /// Which lists hold the address.
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
