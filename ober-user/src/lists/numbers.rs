//! The number of each list in the kernel. A list keeps its number, and two lists never have the same one. A file is
//! used only for the list it was written for: a copy of the file under another name does not make a second list.

use std::collections::{BTreeMap, BTreeSet};

use ober_common::abi::LISTS;

use super::{Error, stored::Stored};
use crate::{
    config::{Access, Config},
    dataplane::{Maps, ip},
};

/// The numbers of lists that the kernel programs use now.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// The numbers of this configuration's lists, as far as its services are in force.
    of: BTreeMap<String, u32>,
    all: BTreeSet<u32>,
}

impl InForce {
    pub(super) fn read(config: &Config, maps: &Maps) -> Self {
        let placed = maps.services();
        let mut in_force = Self::default();
        // In the kernel 0 means no list.
        let number = |list: u32| list.checked_sub(1);
        let routers = number(maps.node.read(0).routers);
        let lists = placed.iter().filter_map(|service| number(service.list));
        in_force.all.extend(lists.chain(routers));
        for kernel in config.vip_listeners() {
            let Access::List(name) = &kernel.listener.access else {
                continue;
            };
            let (vip, port) = (ip(kernel.vip).bytes(), kernel.listener.port.get());
            let mut same = placed.iter();
            let same = same.find(|service| service.vip == vip && service.port == port);
            if let Some(list) = same.and_then(|service| number(service.list)) {
                in_force.of.entry(name.clone()).or_insert(list);
            }
        }
        if let (Some(name), Some(list)) = (&config.node.routers, routers) {
            in_force.of.entry(name.clone()).or_insert(list);
        }
        in_force
    }
}

/// The numbers that [`assign`] has given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) of: BTreeMap<String, u32>,
    /// Lists whose number is not from their file: it is not known whether the kernel's maps hold their entries under it.
    pub(super) anew: BTreeSet<String>,
    /// Lists that the configuration no longer has, with numbers that no other list has.
    pub(super) retired: Vec<(String, u32)>,
    /// Files that are copies of another list's file, with the name of that list.
    pub(super) copies: BTreeMap<String, String>,
}

/// Gives every list of the configuration its number. `kept`: the lists on disk, by the name of the file.
pub(super) fn assign(
    configured: &BTreeSet<&str>,
    kept: &BTreeMap<String, Stored>,
    in_force: &InForce,
) -> Result<Numbers, Error> {
    let mut numbers = Numbers::default();
    let mut owners: BTreeMap<u32, &str> = BTreeMap::new();
    let mut claims: Vec<(&str, &Stored)> = kept.iter().map(|(name, it)| (&**name, it)).collect();
    // The list with the best claim to a number comes first.
    claims.sort_by_key(|(name, stored)| {
        let used = in_force.of.get(*name) == Some(&stored.number);
        let signed = stored.name.is_some();
        (!configured.contains(name), !used, !signed)
    });
    for (name, stored) in claims {
        let other = stored.name.as_deref().filter(|owner| *owner != name);
        let owner = other.or(owners.get(&stored.number).copied());
        match owner {
            Some(owner) => drop(numbers.copies.insert(name.to_owned(), owner.to_owned())),
            None if stored.number < LISTS => drop(owners.insert(stored.number, name)),
            None => {}
        }
    }
    for (number, name) in &owners {
        if configured.contains(name) {
            numbers.of.insert((*name).to_owned(), *number);
        } else {
            numbers.retired.push(((*name).to_owned(), *number));
        }
    }
    let mut taken: BTreeSet<u32> = owners.keys().copied().collect();
    for name in configured {
        if numbers.of.contains_key(*name) {
            continue;
        }
        // A list whose file is lost gets the number that is in force for it.
        let known = in_force.of.get(*name).filter(|it| !taken.contains(it));
        let mut free = (0..LISTS).filter(|it| !taken.contains(it) && !in_force.all.contains(it));
        let number = known
            .copied()
            .or_else(|| free.next())
            .ok_or_else(|| Error::TooMany {
                list: (*name).to_owned(),
            })?;
        taken.insert(number);
        numbers.of.insert((*name).to_owned(), number);
        numbers.anew.insert((*name).to_owned());
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(owner: Option<&str>, number: u32) -> Stored {
        Stored {
            name: owner.map(ToOwned::to_owned),
            number,
            ..Stored::default()
        }
    }

    fn in_force(of: &[(&str, u32)]) -> InForce {
        InForce {
            of: of
                .iter()
                .map(|(name, it)| ((*name).to_owned(), *it))
                .collect(),
            all: of.iter().map(|(_, it)| *it).collect(),
        }
    }

    fn kept(all: &[(&str, Option<&str>, u32)]) -> BTreeMap<String, Stored> {
        let all = all.iter();
        all.map(|(file, owner, it)| ((*file).to_owned(), stored(*owner, *it)))
            .collect()
    }

    #[test]
    fn a_copy_of_a_lists_file_does_not_take_the_lists_number() {
        let web = BTreeSet::from(["web"]);
        for owner in [None, Some("web")] {
            // The name of the copy may sort before or after that of the original.
            for copy in ["a-web", "web-bak"] {
                let kept = kept(&[("web", owner, 3), (copy, owner, 3)]);
                for in_force in [in_force(&[]), in_force(&[("web", 3)])] {
                    let numbers = assign(&web, &kept, &in_force).unwrap();
                    assert_eq!(numbers.of, [("web".to_owned(), 3)].into(), "{copy}");
                    assert_eq!(numbers.retired, [], "{copy}");
                    let copies = [(copy.to_owned(), "web".to_owned())].into();
                    assert_eq!(numbers.copies, copies);
                    assert!(numbers.anew.is_empty());
                }
            }
        }
    }

    #[test]
    fn a_list_whose_file_is_a_copy_of_anothers_gets_its_number_back_from_the_kernel() {
        let both = BTreeSet::from(["a", "b"]);
        let in_force = in_force(&[("a", 3), ("b", 5)]);
        for owner in [None, Some("a")] {
            let kept = kept(&[("a", owner, 3), ("b", owner, 3)]);
            let numbers = assign(&both, &kept, &in_force).unwrap();
            assert_eq!(
                numbers.of,
                [("a".to_owned(), 3), ("b".to_owned(), 5)].into()
            );
            assert_eq!(numbers.anew, ["b".to_owned()].into());
            assert_eq!(numbers.copies, [("b".to_owned(), "a".to_owned())].into());
        }
    }

    #[test]
    fn a_list_without_a_file_gets_a_number_that_no_map_and_no_file_uses() {
        let both = BTreeSet::from(["a", "new"]);
        let in_force = in_force(&[("a", 0), ("gone", 1)]);
        let kept = kept(&[("a", Some("a"), 0), ("old", Some("old"), 2)]);
        let numbers = assign(&both, &kept, &in_force).unwrap();
        assert_eq!(numbers.of["new"], 3);
        assert_eq!(numbers.retired, [("old".to_owned(), 2)]);
    }

    proptest! {
        #[test]
        fn no_two_lists_share_a_number_and_retired_numbers_belong_to_no_list(
            files in proptest::collection::btree_map(0_u8..8, (proptest::option::of(0_u8..8), 0_u32..40), 0..8),
            configured in proptest::collection::btree_set(0_u8..8, 0..8),
            used in proptest::collection::btree_map(0_u8..8, 0_u32..10, 0..8),
        ) {
            let name = |number: u8| format!("list{number}");
            let kept: BTreeMap<String, Stored> = files
                .into_iter()
                .map(|(file, (owner, it))| (name(file), stored(owner.map(name).as_deref(), it)))
                .collect();
            let configured: Vec<String> = configured.into_iter().map(name).collect();
            let configured: BTreeSet<&str> = configured.iter().map(String::as_str).collect();
            let in_force = InForce {
                all: used.values().copied().collect(),
                of: used.into_iter().map(|(of, it)| (name(of), it)).collect(),
            };
            let numbers = assign(&configured, &kept, &in_force).unwrap();
            prop_assert_eq!(numbers.of.len(), configured.len());
            let mut all: Vec<u32> = numbers.of.values().copied().collect();
            all.extend(numbers.retired.iter().map(|(_, it)| *it));
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), count);
            prop_assert!(all.iter().all(|it| *it < LISTS));
            // A list with its own file keeps the number in it.
            for (list, number) in &numbers.of {
                if !numbers.anew.contains(list) {
                    prop_assert_eq!(kept[list].number, *number);
                }
            }
        }
    }
}
