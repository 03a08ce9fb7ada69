//! What several sources say becomes one list of servers.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::Found;
use crate::{haproxy::Server, hostlist::servers::Standing, lists::Names};

/// HAProxy counts weights to this.
const HEAVIEST: u64 = 256;

/// A server and who named it, the first first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    pub server: Server,
    pub sources: Vec<String>,
}

/// One server for each address and port, in the order of the sources; the first that names it says what it is like. `before`
/// are the servers until now: an address keeps its name, since HAProxy knows it by that.
pub fn merge(sources: &[(String, Vec<Found>)], names: &Names, before: &[Server]) -> Vec<Merged> {
    let mut merged: Vec<Merged> = Vec::new();
    let (tier, weight) = (tiers(sources), weights(sources));
    let placed = sources
        .iter()
        .flat_map(|(source, found)| found.iter().map(move |found| (source, found)));
    for (source, found) in placed {
        for address in addresses(found, names) {
            let addr = SocketAddr::new(address, found.port.get());
            if let Some(known) = merged.iter_mut().find(|known| known.server.addr == addr) {
                if !known.sources.contains(source) {
                    known.sources.push(source.clone());
                }
                continue;
            }
            let host = found
                .host
                .parse::<IpAddr>()
                .is_err()
                .then(|| found.host.clone());
            merged.push(Merged {
                server: Server {
                    name: String::new(),
                    addr,
                    host: found.name.clone().or(host),
                    standing: Standing {
                        weight: weight(found.weight),
                        tier: tier(found.tier),
                        max_connections: found.max_connections,
                    },
                },
                sources: vec![source.clone()],
            });
        }
    }
    christen(&mut merged, sources, before);
    merged
}

/// Of a name with both families IPv4 alone, or each machine would count twice.
fn addresses(found: &Found, names: &Names) -> Vec<IpAddr> {
    let addresses = match found.host.parse::<IpAddr>() {
        Ok(address) => vec![address.to_canonical()],
        Err(_) => names.get(&found.host).cloned().unwrap_or_default(),
    };
    let v4 = addresses.iter().any(IpAddr::is_ipv4);
    addresses
        .into_iter()
        .filter(|address| address.is_ipv4() == v4)
        .collect()
}

/// Names each server after its host, with a number where that is taken; who had a name keeps it.
fn christen(merged: &mut [Merged], sources: &[(String, Vec<Found>)], before: &[Server]) {
    let named = |host: &String| {
        sources
            .iter()
            .flat_map(|(_, found)| found)
            .any(|found| found.host == *host)
    };
    let mut taken: Vec<String> = Vec::new();
    for Merged { server, .. } in merged.iter_mut() {
        if let Some(old) = before
            .iter()
            .find(|old| old.addr == server.addr && old.host == server.host)
        {
            server.name.clone_from(&old.name);
            taken.push(old.name.clone());
        }
    }
    for Merged { server, .. } in merged
        .iter_mut()
        .filter(|merged| merged.server.name.is_empty())
    {
        let address = || server.addr.ip().to_string().replace(':', "-");
        let label = server.host.clone().filter(named).unwrap_or_else(address);
        let numbered = (2..).map(|number| format!("{label}_{number}"));
        let free = std::iter::once(label.clone())
            .chain(numbered)
            .find(|name| !taken.contains(name));
        server.name = free.unwrap_or(label);
        taken.push(server.name.clone());
    }
}

/// Weights as HAProxy counts them, in proportion; who has any keeps at least one.
fn weights(sources: &[(String, Vec<Found>)]) -> impl Fn(u32) -> u16 + use<> {
    let weights = sources.iter().flat_map(|(_, found)| found);
    let heaviest = weights.map(|found| u64::from(found.weight)).max();
    let heaviest = heaviest.unwrap_or_default().max(HEAVIEST);
    move |weight| {
        let scaled = u64::from(weight) * HEAVIEST / heaviest;
        u16::try_from(scaled)
            .unwrap_or_default()
            .max(u16::from(weight > 0))
    }
}

/// Tiers as they are, or their ranks where a source counts further than we do, as SRV may. Beyond that many all are the last.
fn tiers(sources: &[(String, Vec<Found>)]) -> impl Fn(u32) -> u8 + use<> {
    let tiers = sources.iter().flat_map(|(_, found)| found);
    let known: BTreeSet<u32> = tiers.map(|found| found.tier).collect();
    let ranked = known.last().is_some_and(|last| *last > u8::MAX.into());
    move |tier| {
        if !ranked {
            return u8::try_from(tier).unwrap_or(u8::MAX);
        }
        u8::try_from(known.range(..tier).count()).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;

    fn found(host: &str, port: u16) -> Found {
        Found::new(host, NonZeroU16::new(port).unwrap())
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

    fn told(merged: &[Merged]) -> Vec<String> {
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

    fn from(sources: &[(&str, Vec<Found>)]) -> Vec<(String, Vec<Found>)> {
        sources
            .iter()
            .map(|(name, found)| ((*name).to_owned(), found.clone()))
            .collect()
    }

    #[test]
    fn the_same_server_from_two_sources_is_one_and_leaves_when_both_dropped_it() {
        let (a, b) = (found("10.0.0.1", 80), found("10.0.0.2", 80));
        let both = from(&[("x", vec![a.clone(), b.clone()]), ("y", vec![b.clone()])]);
        assert_eq!(
            told(&merge(&both, &names(), &[])),
            ["10.0.0.1 10.0.0.1:80 x", "10.0.0.2 10.0.0.2:80 x+y"]
        );
        let one = from(&[("x", vec![a]), ("y", vec![b])]);
        assert_eq!(
            told(&merge(&one, &names(), &[]))[1],
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
            told(&merged),
            ["a 10.0.0.1:80 x", "a_2 10.0.0.2:80 x", "six [fd00::1]:81 x"]
        );
        assert_eq!(merged[0].server.host.as_deref(), Some("a"));
    }

    #[test]
    fn the_first_source_says_what_a_server_is_like() {
        let heavy = Found {
            weight: 9,
            tier: 2,
            name: Some("s3.test".into()),
            ..found("10.0.0.1", 80)
        };
        let merged = merge(
            &from(&[("x", vec![heavy]), ("y", vec![found("10.0.0.1", 80)])]),
            &names(),
            &[],
        );
        let server = &merged[0].server;
        let standing = Standing {
            weight: 9,
            tier: 2,
            max_connections: None,
        };
        assert_eq!(
            (server.standing, server.host.as_deref()),
            (standing, Some("s3.test"))
        );
    }

    #[test]
    fn who_stays_keeps_its_name_whoever_leaves() {
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
            told(&after),
            ["10.0.0.1_2 10.0.0.1:81 x", "10.0.0.1 10.0.0.1:82 x"]
        );
    }

    #[test]
    fn weights_beyond_haproxys_keep_their_proportion_and_nobody_drops_to_none() {
        let weighs = |weight, port| Found {
            weight,
            ..found("10.0.0.1", port)
        };
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
            .map(|merged| merged.server.standing.weight)
            .collect();
        assert_eq!(weights, [256, 128, 1, 0]);
    }

    #[test]
    fn tiers_beyond_ours_become_ranks() {
        let tier = |tier, port| Found {
            tier,
            ..found("10.0.0.1", port)
        };
        let tiers = |found| {
            let merged = merge(&from(&[("x", found)]), &names(), &[]);
            merged
                .iter()
                .map(|merged| merged.server.standing.tier)
                .collect::<Vec<_>>()
        };
        assert_eq!(tiers(vec![tier(10, 1), tier(255, 2)]), [10, 255]);
        assert_eq!(
            tiers(vec![tier(20, 1), tier(65_535, 2), tier(10, 3)]),
            [1, 2, 0]
        );
    }

    proptest! {
        #[test]
        fn every_address_once_and_every_name_once(hosts in proptest::collection::vec((0..4_u8, 1..4_u16, 0..3_usize), 0..30)) {
            let mut sources = from(&[("x", vec![]), ("y", vec![]), ("z", vec![])]);
            for (last, port, source) in hosts {
                let host = if last == 0 { "a".to_owned() } else { format!("10.0.0.{last}") };
                sources[source].1.push(found(&host, port));
            }
            let merged = merge(&sources, &names(), &[]);
            let servers: Vec<_> = merged.iter().map(|merged| merged.server.clone()).collect();
            for key in [|server: &Server| server.name.clone(), |server: &Server| server.addr.to_string()] {
                let mut keys: Vec<_> = servers.iter().map(key).collect();
                keys.sort();
                keys.dedup();
                prop_assert_eq!(keys.len(), servers.len());
            }
            // Stable: the same again changes nothing.
            let again: Vec<_> = merge(&sources, &names(), &servers).into_iter().map(|merged| merged.server).collect();
            prop_assert_eq!(again, servers);
        }
    }
}
