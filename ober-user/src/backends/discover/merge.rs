//! Merges the answers of several sources into one list of servers.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::own::Own;
use crate::{
    backends::server::Server,
    names::{
        notation::Host,
        resolve::Names,
        server_line::{Found, ServerTerms},
    },
};

/// HAProxy's highest weight.
const HEAVIEST: u64 = 256;

/// The servers that one source stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub source: String,
    /// It may name this machine: the operator wrote its servers down, or it is a Docker engine on this machine.
    pub near: bool,
    pub found: Vec<Found>,
}

/// A server and the sources that named it, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    pub server: Server,
    pub sources: Vec<String>,
}

/// The name of a server in HAProxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    /// The host name it had when it got this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Named {
    /// The names that these servers have.
    pub fn all(servers: &[Server]) -> BTreeMap<SocketAddr, Self> {
        let named = |server: &Server| {
            let (name, host) = (server.name.clone(), server.host.clone());
            (server.addr, Self { name, host })
        };
        servers.iter().map(named).collect()
    }
}

/// One list of servers, and those left out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub servers: Vec<Merged>,
    /// For each server left out, the reason as a text.
    pub left_out: Vec<String>,
}

/// Bounds for the servers of a backend.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    pub own: &'a Own,
    /// The most servers.
    pub most: usize,
}

/// One server for each address and port, in the order of the sources. The first source that names it determines its
/// settings. `before` are the names until now: an address keeps its name, by which HAProxy identifies the server.
pub fn merge(
    sources: &[Said],
    names: &Names,
    before: &BTreeMap<SocketAddr, Named>,
    bounds: Bounds<'_>,
) -> List {
    let mut list = List::default();
    let mut places: HashMap<SocketAddr, usize> = HashMap::new();
    let (tier, weight) = (tiers(sources), weights(sources));
    let placed = sources
        .iter()
        .flat_map(|said| said.found.iter().map(move |found| (said, found)));
    let mut beyond: usize = 0;
    for (Said { source, near, .. }, found) in placed {
        for address in addresses(found, names) {
            let addr = SocketAddr::new(address, found.port().get());
            if let Some(refusal) = bounds.own.refuses(addr, *near) {
                list.left_out.push(format!("{addr} of {source}: {refusal}"));
                continue;
            }
            let place = *places.entry(addr).or_insert(list.servers.len());
            if let Some(known) = list.servers.get_mut(place) {
                if !known.sources.contains(source) {
                    known.sources.push(source.clone());
                }
                continue;
            }
            if place >= bounds.most {
                places.remove(&addr);
                beyond += 1;
                continue;
            }
            list.servers.push(Merged {
                server: Server {
                    name: String::new(),
                    addr,
                    host: host_of(found),
                    terms: ServerTerms {
                        weight: weight(found.terms().weight),
                        tier: tier(found.terms().tier),
                        max_connections: found.terms().max_connections,
                    },
                },
                sources: vec![source.clone()],
            });
        }
    }
    if beyond > 0 {
        list.left_out.push(format!(
            "{beyond} more: a backend has {} servers at most; raise `limits.servers` if they are meant",
            bounds.most
        ));
    }
    christen(&mut list.servers, sources, before);
    list
}

/// The name for which it has a certificate; its host name if the source names none.
fn host_of(found: &Found) -> Option<String> {
    let host = match found.host() {
        Host::Name(name) => Some(name.trim_end_matches('.')),
        Host::Addr(_) => None,
    };
    found.name().or(host).map(ToOwned::to_owned)
}

/// The addresses of a server. Of a name with both families only IPv4, or each machine would count twice.
fn addresses(found: &Found, names: &Names) -> Vec<IpAddr> {
    let addresses = match found.host() {
        Host::Addr(address) => vec![*address],
        Host::Name(name) => names.get(name).cloned().unwrap_or_default(),
    };
    let v4 = addresses.iter().any(IpAddr::is_ipv4);
    addresses
        .into_iter()
        .filter(|address| address.is_ipv4() == v4)
        .collect()
}

/// Names each server after its host, with a number where that name is taken. A server that had a name keeps it.
fn christen(merged: &mut [Merged], sources: &[Said], before: &BTreeMap<SocketAddr, Named>) {
    let hosts = sources.iter().flat_map(|said| &said.found);
    let names: HashSet<&str> = hosts
        .filter_map(|found| match found.host() {
            Host::Name(name) => Some(name.trim_end_matches('.')),
            Host::Addr(_) => None,
        })
        .collect();
    let mut taken: HashSet<String> = HashSet::new();
    for Merged { server, .. } in merged.iter_mut() {
        let old = before.get(&server.addr);
        // The old names may come from a file that an operator edited, so a name may be in it twice: it is given once.
        if let Some(old) = old.filter(|old| old.host == server.host)
            && taken.insert(old.name.clone())
        {
            server.name.clone_from(&old.name);
        }
    }
    // The next number for each host, so that a thousand servers of one host do not each try all numbers from 2 on.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let unnamed = merged
        .iter_mut()
        .filter(|merged| merged.server.name.is_empty());
    for Merged { server, .. } in unnamed {
        let host = server.host.as_deref();
        let label = match host.filter(|host| names.contains(host)) {
            Some(host) => host.to_owned(),
            None => server.addr.ip().to_string().replace(':', "-"),
        };
        let number = numbers.entry(label.clone()).or_insert(1);
        let mut name = numbered(&label, *number);
        while taken.contains(&name) {
            *number += 1;
            name = numbered(&label, *number);
        }
        taken.insert(name.clone());
        server.name = name;
    }
}

fn numbered(label: &str, number: usize) -> String {
    match number {
        1 => label.to_owned(),
        number => format!("{label}_{number}"),
    }
}

/// Weights on HAProxy's scale, in proportion. A weight above 0 stays at least 1.
fn weights(sources: &[Said]) -> impl Fn(u32) -> u16 + use<> {
    let weights = sources.iter().flat_map(|said| &said.found);
    let heaviest = weights
        .map(|found| u64::from(found.terms().weight))
        .max()
        .unwrap_or_default()
        .max(HEAVIEST);
    move |weight| {
        let scaled = u64::from(weight) * HEAVIEST / heaviest;
        u16::try_from(scaled)
            .unwrap_or_default()
            .max(u16::from(weight > 0))
    }
}

/// Tiers as they are, or their ranks when a source has tiers above 255, as SRV may. Ranks above 255 become 255.
fn tiers(sources: &[Said]) -> impl Fn(u32) -> u8 + use<> {
    let tiers = sources.iter().flat_map(|said| &said.found);
    let mut known: Vec<u32> = tiers.map(|found| found.terms().tier).collect();
    known.sort_unstable();
    known.dedup();
    let ranked = known.last().is_some_and(|last| *last > u8::MAX.into());
    let ranks: HashMap<u32, usize> = known.into_iter().zip(0..).collect();
    move |tier| {
        let rank = ranks.get(&tier).filter(|_| ranked);
        let counted = rank.map_or(u8::try_from(tier), |rank| u8::try_from(*rank));
        counted.unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;

    fn found(host: &str, port: u16) -> Found {
        Found::new(host, NonZeroU16::new(port).unwrap()).unwrap()
    }

    fn names() -> Names {
        let (v4, v6) = (
            |last| IpAddr::from([10, 0, 0, last]),
            "fd00::1".parse().unwrap(),
        );
        [
            ("a".to_owned(), vec![v4(1), v4(2), v6]),
            ("six".to_owned(), vec![v6]),
        ]
        .into()
    }

    fn described(merged: &[Merged]) -> Vec<String> {
        let one = |merged: &Merged| {
            let server = &merged.server;
            format!(
                "{} {} {}",
                server.name,
                server.addr,
                merged.sources.join("+")
            )
        };
        merged.iter().map(one).collect()
    }

    fn from(sources: &[(&str, Vec<Found>)]) -> Vec<Said> {
        let said = |(name, found): &(&str, Vec<Found>)| Said {
            source: (*name).to_owned(),
            near: false,
            found: found.clone(),
        };
        sources.iter().map(said).collect()
    }

    fn merge(sources: &[Said], names: &Names, before: &[Server]) -> Vec<Merged> {
        let bounds = Bounds {
            own: &Own::default(),
            most: 100_000,
        };
        let list = super::merge(sources, names, &Named::all(before), bounds);
        assert_eq!(list.left_out, [""; 0]);
        list.servers
    }

    #[test]
    fn servers_beyond_the_limit_or_on_the_nodes_own_addresses_are_left_out_and_reported() {
        let mut sources = from(&[
            ("x", vec![found("10.0.0.1", 80), found("127.0.0.1", 80)]),
            ("y", vec![found("10.0.0.2", 80), found("10.0.0.1", 80)]),
            ("z", vec![found("127.0.0.2", 80), found("10.0.0.3", 80)]),
        ]);
        sources[2].near = true;
        let bounds = Bounds {
            own: &Own::default(),
            most: 2,
        };
        let list = super::merge(&sources, &names(), &BTreeMap::new(), bounds);
        assert_eq!(
            described(&list.servers),
            ["10.0.0.1 10.0.0.1:80 x+y", "10.0.0.2 10.0.0.2:80 y"]
        );
        let [loopback, more] = &list.left_out[..] else {
            panic!("{:?}", list.left_out)
        };
        assert!(
            loopback.starts_with("127.0.0.1:80 of x: it is this machine itself"),
            "{loopback}"
        );
        assert!(
            more.starts_with("2 more: a backend has 2 servers at most"),
            "{more}"
        );
    }

    #[test]
    fn a_server_of_two_sources_is_merged_and_leaves_once_both_sources_dropped_it() {
        let (a, b) = (found("10.0.0.1", 80), found("10.0.0.2", 80));
        let both = from(&[("x", vec![a.clone(), b.clone()]), ("y", vec![b.clone()])]);
        assert_eq!(
            described(&merge(&both, &names(), &[])),
            ["10.0.0.1 10.0.0.1:80 x", "10.0.0.2 10.0.0.2:80 x+y"]
        );
        let one = from(&[("x", vec![a]), ("y", vec![b])]);
        assert_eq!(
            described(&merge(&one, &names(), &[]))[1],
            "10.0.0.2 10.0.0.2:80 y"
        );
        assert_eq!(
            merge(&from(&[("x", vec![]), ("y", vec![])]), &names(), &[]),
            []
        );
    }

    #[test]
    fn a_name_is_a_server_for_each_address_of_one_family() {
        let merged = merge(
            &from(&[(
                "x",
                vec![found("a", 80), found("six", 81), found("unknown", 1)],
            )]),
            &names(),
            &[],
        );
        assert_eq!(
            described(&merged),
            ["a 10.0.0.1:80 x", "a_2 10.0.0.2:80 x", "six [fd00::1]:81 x"]
        );
        assert_eq!(merged[0].server.host.as_deref(), Some("a"));
    }

    #[test]
    fn the_first_source_decides_the_terms_of_a_server() {
        let heavy = found("10.0.0.1", 80)
            .weighs(9)
            .in_tier(2)
            .named(Some("s3.test"))
            .unwrap();
        let merged = merge(
            &from(&[("x", vec![heavy]), ("y", vec![found("10.0.0.1", 80)])]),
            &names(),
            &[],
        );
        let server = &merged[0].server;
        let terms = ServerTerms {
            weight: 9,
            tier: 2,
            max_connections: None,
        };
        assert_eq!(
            (server.terms, server.host.as_deref()),
            (terms, Some("s3.test"))
        );
    }

    #[test]
    fn a_server_that_stays_keeps_its_name_when_others_leave() {
        let (first, second) = (found("10.0.0.1", 80), found("10.0.0.1", 81));
        let before: Vec<_> = merge(&from(&[("x", vec![first, second.clone()])]), &names(), &[])
            .into_iter()
            .map(|merged| merged.server)
            .collect();
        assert_eq!(before[1].name, "10.0.0.1_2");
        let after = merge(
            &from(&[("x", vec![second, found("10.0.0.1", 82)])]),
            &names(),
            &before,
        );
        assert_eq!(
            described(&after),
            ["10.0.0.1_2 10.0.0.1:81 x", "10.0.0.1 10.0.0.1:82 x"]
        );
    }

    #[test]
    fn weights_above_haproxys_maximum_are_scaled_and_no_positive_weight_becomes_zero() {
        let weighs = |weight, port| found("10.0.0.1", port).weighs(weight);
        let merged = merge(
            &from(&[(
                "x",
                vec![
                    weighs(65_535, 1),
                    weighs(32_768, 2),
                    weighs(1, 3),
                    weighs(0, 4),
                ],
            )]),
            &names(),
            &[],
        );
        let weights: Vec<_> = merged
            .iter()
            .map(|merged| merged.server.terms.weight)
            .collect();
        assert_eq!(weights, [256, 128, 1, 0]);
    }

    #[test]
    fn a_server_name_stored_twice_is_given_to_one_server_only() {
        let before = [80, 81].map(|port| {
            let (name, host) = ("10.0.0.9".to_owned(), None);
            (
                SocketAddr::from(([10, 0, 0, 1], port)),
                Named { name, host },
            )
        });
        let (first, second) = (found("10.0.0.1", 80), found("10.0.0.1", 81));
        let sources = from(&[("x", vec![first, second])]);
        let bounds = Bounds {
            own: &Own::default(),
            most: 2,
        };
        let list = super::merge(&sources, &names(), &before.into(), bounds);
        assert_eq!(
            described(&list.servers),
            ["10.0.0.9 10.0.0.1:80 x", "10.0.0.1 10.0.0.1:81 x"]
        );
    }

    #[test]
    fn tiers_above_the_maximum_become_ranks() {
        let tier = |tier, port| found("10.0.0.1", port).in_tier(tier);
        let tiers = |found| {
            let merged = merge(&from(&[("x", found)]), &names(), &[]);
            merged
                .iter()
                .map(|merged| merged.server.terms.tier)
                .collect::<Vec<_>>()
        };
        assert_eq!(tiers(vec![tier(10, 1), tier(255, 2)]), [10, 255]);
        assert_eq!(
            tiers(vec![tier(20, 1), tier(65_535, 2), tier(10, 3)]),
            [1, 2, 0]
        );
    }

    /// Lists of servers that take the most work to merge.
    fn many(count: usize) -> [Vec<Said>; 3] {
        let port = |number: usize| u16::try_from(number % 60_000 + 1).unwrap();
        let v4 =
            |number: usize| format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
        let apart = (0..)
            .take(count)
            .zip(0..)
            .map(|(number, tier)| found(&v4(number), 80).in_tier(tier));
        // All have one name, so that each needs a number behind it.
        let alike = (0..count).map(|number| {
            let found = found("10.0.0.1", port(number));
            found.named(Some("s3.test")).unwrap()
        });
        let named = (0..count).map(|number| found(&format!("n{number}"), port(number)));
        [apart.collect(), alike.collect(), named.collect()].map(|all| from(&[("x", all)]))
    }

    #[test]
    fn merging_work_grows_linearly_with_the_servers_for_any_names() {
        let names: Names = (0..100_000u32)
            .map(|number| {
                let address = IpAddr::from((number | 10 << 24).to_be_bytes());
                (format!("n{number}"), vec![address])
            })
            .collect();
        for which in 0..3 {
            let bounds = Bounds {
                own: &Own::default(),
                most: 100_000,
            };
            let make = |count: usize| {
                let sources = many(count)[which].clone();
                let merged = merge(&sources, &names, &[]).into_iter();
                let before: Vec<_> = merged.map(|merged| merged.server).collect();
                assert_eq!(before.len(), count);
                (sources, Named::all(&before))
            };
            ober_test_support::scale::linear([100, 1000], make, |(sources, before)| {
                std::hint::black_box(super::merge(sources, &names, before, bounds));
            });
        }
    }

    proptest! {
        #[test]
        fn merged_servers_have_distinct_addresses_and_distinct_names(hosts in proptest::collection::vec((0..4_u8, 1..4_u16, 0..3_usize), 0..30)) {
            let mut sources = from(&[("x", vec![]), ("y", vec![]), ("z", vec![])]);
            for (last, port, source) in hosts {
                let host = if last == 0 { "a".to_owned() } else { format!("10.0.0.{last}") };
                sources[source].found.push(found(&host, port));
            }
            let merged = merge(&sources, &names(), &[]);
            let servers: Vec<_> = merged.iter().map(|merged| merged.server.clone()).collect();
            for key in [|server: &Server| server.name.clone(), |server: &Server| server.addr.to_string()] {
                let mut keys: Vec<_> = servers.iter().map(key).collect();
                keys.sort();
                keys.dedup();
                prop_assert_eq!(keys.len(), servers.len());
            }
            // Merging the result again changes nothing.
            let again: Vec<_> = merge(&sources, &names(), &servers).into_iter().map(|merged| merged.server).collect();
            prop_assert_eq!(again, servers);
        }
    }
}
