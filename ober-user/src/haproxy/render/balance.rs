//! How a backend chooses among its servers: the lines for it, and the number and weight of each server.

use std::collections::{BTreeSet, HashMap};

use crate::{backends::server::Server, config::Balance, system::hash::fnv1a};

/// HAProxy's highest weight.
const HEAVIEST: u16 = 256;
/// Factor for weights. A server of weight 1 has only 16 points on HAProxy's circle, which makes shares uneven; with
/// this factor they are even within a few percent.
const POINTS: u16 = 16;

pub(super) fn lines(balance: Balance) -> &'static [&'static str] {
    match balance {
        Balance::LeastConn => &["balance leastconn"],
        Balance::RoundRobin | Balance::Weight => &["balance roundrobin"],
        Balance::IpHash => &["balance source", "hash-type map-based"],
        // Without `avalanche`, neighbouring addresses go to the same server.
        Balance::IpHash1 => &["balance source", "hash-type consistent sdbm avalanche"],
        Balance::Random => &["balance random"],
        Balance::First => &["balance first"],
    }
}

/// The weight of each server, in their order; `None`: HAProxy's default.
pub(super) fn weights(balance: Balance, servers: &[Server]) -> Vec<Option<u16>> {
    let written = servers.iter().map(|server| server.terms.weight);
    match balance {
        Balance::RoundRobin | Balance::First => vec![None; servers.len()],
        Balance::IpHash1 => {
            let heaviest = written.clone().max().unwrap_or(1).max(1);
            let factor = (HEAVIEST / heaviest).clamp(1, POINTS);
            written.map(|weight| Some(weight * factor)).collect()
        }
        Balance::Weight => {
            let weighing: BTreeSet<u8> = servers
                .iter()
                .filter(|server| server.terms.weight > 0)
                .map(|server| server.terms.tier)
                .collect();
            // When no server of a tier has a weight above 0, all of the tier get the same weight, so that they can serve.
            let weight = |server: &Server| {
                if weighing.contains(&server.terms.tier) {
                    server.terms.weight
                } else {
                    1
                }
            };
            servers.iter().map(|server| Some(weight(server))).collect()
        }
        Balance::LeastConn | Balance::IpHash | Balance::Random => written
            .map(|weight| (weight != 1).then_some(weight))
            .collect(),
    }
}

/// The number of each server, in their order. Its place on HAProxy's circle depends on it, so it must not depend on
/// which other servers there are: it is a hash of the address, or the next free number when another server has that
/// hash.
///
/// An attacker may choose addresses that all have one hash, so a number in use points to where the last search from it
/// ended.
pub(super) fn numbers(servers: &[Server]) -> Vec<u32> {
    let mut next: HashMap<u32, u32> = HashMap::with_capacity(servers.len());
    let mut free = |server: &Server| {
        let first = hash(&server.addr.to_string());
        let mut number = first;
        while let Some(&further) = next.get(&number) {
            number = further;
        }
        let further = number % MOST + 1;
        next.insert(number, further);
        next.insert(first, further);
        number
    };
    servers.iter().map(&mut free).collect()
}

/// HAProxy takes 1 to 2^31 - 1.
const MOST: u32 = i32::MAX.cast_unsigned();

/// The hash of a text, folded into HAProxy's range.
fn hash(text: &str) -> u32 {
    let hash = fnv1a(text.bytes());
    u32::try_from((hash ^ (hash >> 32)) % u64::from(MOST)).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn servers(weights: &[u16]) -> Vec<Server> {
        let server = |(last, weight): (usize, &u16)| {
            let at = format!("10.0.0.{}:80", last + 1);
            let mut server = Server::new(at.clone(), at.parse().unwrap());
            server.terms.weight = *weight;
            server
        };
        weights.iter().enumerate().map(server).collect()
    }

    #[test]
    fn a_servers_weight_is_rendered_only_for_policies_with_weights() {
        let weights = |balance, written: &[u16]| weights(balance, &servers(written));
        assert_eq!(weights(Balance::RoundRobin, &[3, 0]), [None, None]);
        assert_eq!(
            weights(Balance::Weight, &[2, 3, 0]),
            [Some(2), Some(3), Some(0)]
        );
        assert_eq!(weights(Balance::Weight, &[0, 0]), [Some(1), Some(1)]);
        assert_eq!(weights(Balance::LeastConn, &[1, 4]), [None, Some(4)]);
        assert_eq!(weights(Balance::IpHash1, &[1, 2]), [Some(16), Some(32)]);
        assert_eq!(weights(Balance::IpHash1, &[256, 1]), [Some(256), Some(1)]);
    }

    #[test]
    fn a_server_whose_number_is_taken_gets_the_next_free_one() {
        // Found by trying: addresses whose hashes have the same top bits.
        let mut hashes: HashMap<u32, Vec<SocketAddr>> = HashMap::new();
        let addresses = (0..1 << 16u32).map(|bits: u32| SocketAddr::from((bits.to_be_bytes(), 80)));
        for address in addresses {
            let number = hash(&address.to_string()) >> 18;
            hashes.entry(number).or_default().push(address);
        }
        let close = hashes.into_values().max_by_key(Vec::len).unwrap();
        let server = |address: &SocketAddr| Server::new("a".to_owned(), *address);
        let servers: Vec<Server> = close.iter().chain(&close).map(server).collect();
        let mut taken = BTreeSet::new();
        let one_by_one = servers.iter().map(|server| {
            let mut number = hash(&server.addr.to_string());
            while !taken.insert(number) {
                number = number % MOST + 1;
            }
            number
        });
        assert_eq!(numbers(&servers), one_by_one.collect::<Vec<_>>());
    }

    #[test]
    fn a_servers_number_does_not_depend_on_the_others() {
        let all = servers(&[1; 100]);
        let of_all = numbers(&all);
        assert_eq!(of_all.iter().collect::<BTreeSet<_>>().len(), 100);
        assert!(of_all.iter().all(|number| (1..=MOST).contains(number)));
        let some: Vec<Server> = all.iter().skip(1).step_by(3).cloned().collect();
        let expected: Vec<u32> = of_all.iter().skip(1).step_by(3).copied().collect();
        assert_eq!(numbers(&some), expected);
    }
}
