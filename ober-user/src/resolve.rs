//! Names to addresses: what Slurm says about a node, else the name service, /etc/hosts included.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    future::Future,
    io,
    net::IpAddr,
    time::Duration,
};

use futures_util::{StreamExt, stream};

use crate::{
    config,
    slurm::{NodeAddr, NodeAddrs},
};

/// What became of a list of names. Every name is in exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Sorted, without duplicates, never empty; IPv4 inside IPv6 is IPv4.
    pub found: BTreeMap<String, Vec<IpAddr>>,
    /// In the order in which they were given.
    pub failed: Vec<(String, Why)>,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("not found")]
    NotFound,
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Other(String),
}

/// Asks for the addresses of one name.
pub trait Lookup {
    fn lookup(&self, name: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// `getaddrinfo`: /etc/hosts, the DNS and whatever nsswitch.conf names, A and AAAA alike.
///
/// It cannot be cancelled: a name given up after its time limit keeps a thread of the blocking pool until the resolver gives
/// up too. The pool is bounded, and so are they.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Lookup for System {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|socket| socket.ip()).collect())
    }
}

/// [`resolve_by`] the system.
pub async fn resolve(
    names: impl IntoIterator<Item = String>,
    how: &config::Resolve,
    slurm: &NodeAddrs,
) -> Resolution {
    resolve_by(&System, names, how, slurm).await
}

/// All addresses of all names, `how.concurrency` at once, `how.timeout` for each. A name that fails fails alone.
pub async fn resolve_by(
    lookup: &impl Lookup,
    names: impl IntoIterator<Item = String>,
    how: &config::Resolve,
    slurm: &NodeAddrs,
) -> Resolution {
    let mut seen = HashSet::new();
    let names = names.into_iter().filter(|name| seen.insert(name.clone()));
    let mut answers = stream::iter(names)
        .map(|name| async {
            let answer = one(lookup, &name, how.timeout, slurm).await;
            (name, answer)
        })
        .buffered(how.concurrency.max(1));
    let mut resolution = Resolution::default();
    while let Some((name, answer)) = answers.next().await {
        match answer {
            Ok(found) => {
                resolution.found.insert(name, found);
            }
            Err(why) => resolution.failed.push((name, why)),
        }
    }
    resolution
}

async fn one(
    lookup: &impl Lookup,
    name: &str,
    limit: Duration,
    slurm: &NodeAddrs,
) -> Result<Vec<IpAddr>, Why> {
    let asked = match slurm.get(name) {
        Some(NodeAddr::Addr(addr)) => return Ok(vec![addr.to_canonical()]),
        Some(NodeAddr::Name(other)) => other,
        None => name,
    };
    if let Ok(addr) = asked.parse::<IpAddr>() {
        return Ok(vec![addr.to_canonical()]);
    }
    if ends_in_number(asked) {
        return Err(Why::Other(format!("{asked} is a number, not a name")));
    }
    let found = match tokio::time::timeout(limit, lookup.lookup(asked)).await {
        Err(_elapsed) => return Err(Why::Timeout),
        Ok(Err(error)) => return Err(why(&error)),
        Ok(Ok(found)) => found,
    };
    let found: BTreeSet<IpAddr> = found.iter().map(IpAddr::to_canonical).collect();
    if found.is_empty() {
        return Err(Why::NotFound);
    }
    Ok(found.into_iter().collect())
}

/// `getaddrinfo` takes such names for addresses in the notation of 1983: 1 is 0.0.0.1, 010.1 is 8.0.0.1. An
/// access list must not. The rule is that of the URL standard: the last label decides.
fn ends_in_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// The standard library keeps the code of `getaddrinfo` to itself, so its text must tell: that of glibc for no such name and for
/// a name without an address, then that of musl.
fn why(error: &io::Error) -> Why {
    const NOT_FOUND: [&str; 3] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
    ];
    let text = error.to_string();
    if error.kind() == io::ErrorKind::NotFound || NOT_FOUND.iter().any(|known| text.contains(known))
    {
        return Why::NotFound;
    }
    Why::Other(text)
}

impl fmt::Display for Resolution {
    /// The failures, one a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, why) in &self.failed {
            writeln!(f, "{name}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// `1.n` to 10.0.0.1, `none` to nothing, `gone`, `broken` and `slow` to what they say.
    #[derive(Default)]
    struct Fake {
        now: AtomicUsize,
        most: AtomicUsize,
        asked: AtomicUsize,
    }

    impl Lookup for Fake {
        async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
            if name == "slow" {
                std::future::pending::<()>().await;
            }
            self.now.fetch_sub(1, Ordering::Relaxed);
            match name {
                "none" => Ok(vec![]),
                "gone" => Err(io::Error::other(
                    "failed to lookup address information: Name or service not known",
                )),
                "broken" => Err(io::Error::other("Temporary failure in name resolution")),
                "many" => Ok(addrs(&[
                    "fd00::1",
                    "10.0.0.9",
                    "::ffff:10.0.0.2",
                    "10.0.0.9",
                ])),
                name => Ok(addrs(&[&format!("10.0.0.{}", &name[1..])])),
            }
        }
    }

    fn addrs(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn how(concurrency: usize, timeout: u64) -> config::Resolve {
        config::Resolve {
            interval: Duration::ZERO,
            timeout: Duration::from_millis(timeout),
            concurrency,
            slurm_conf: None,
        }
    }

    fn other(text: &str) -> Why {
        Why::Other(text.to_owned())
    }

    #[tokio::test]
    async fn every_name_is_found_with_all_its_addresses_or_failed_with_a_reason() {
        let names = names("slow n2 none many gone n1 n2 broken 10.0.0.7 ::ffff:10.0.0.8");
        let got = resolve_by(&Fake::default(), names, &how(4, 400), &NodeAddrs::default()).await;
        let found = [
            ("10.0.0.7", addrs(&["10.0.0.7"])),
            ("::ffff:10.0.0.8", addrs(&["10.0.0.8"])),
            ("many", addrs(&["10.0.0.2", "10.0.0.9", "fd00::1"])),
            ("n1", addrs(&["10.0.0.1"])),
            ("n2", addrs(&["10.0.0.2"])),
        ];
        let expected = Resolution {
            found: found.map(|(name, found)| (name.to_owned(), found)).into(),
            failed: [
                ("slow", Why::Timeout),
                ("none", Why::NotFound),
                ("gone", Why::NotFound),
                ("broken", other("Temporary failure in name resolution")),
            ]
            .map(|(name, why)| (name.to_owned(), why))
            .into(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn a_resolution_can_be_spawned() {
        fn spawnable<F: Future + Send>(_: F) {}
        let (how, slurm) = (how(1, 1), NodeAddrs::default());
        spawnable(resolve(names("localhost"), &how, &slurm));
    }

    #[tokio::test]
    async fn no_more_names_are_asked_for_at_once_than_allowed() {
        let fake = Fake::default();
        let names = (1..=40).map(|n| format!("n{n}"));
        let got = resolve_by(&fake, names, &how(8, 5000), &NodeAddrs::default()).await;
        assert_eq!(got.found.len(), 40);
        assert_eq!(fake.most.load(Ordering::Relaxed), 8);
    }

    #[tokio::test]
    async fn what_slurm_says_about_a_node_wins_over_the_name_service() {
        let slurm: NodeAddrs = [
            ("n1", NodeAddr::Addr("10.9.9.1".parse().unwrap())),
            ("login", NodeAddr::Name("n7".to_owned())),
            ("lost", NodeAddr::Name("gone".to_owned())),
        ]
        .into_iter()
        .collect();
        let fake = Fake::default();
        let got = resolve_by(&fake, names("n1 login lost"), &how(2, 5000), &slurm).await;
        assert_eq!(got.found["n1"], addrs(&["10.9.9.1"]));
        assert_eq!(got.found["login"], addrs(&["10.0.0.7"]));
        assert_eq!(got.failed, [("lost".to_owned(), Why::NotFound)]);
        assert_eq!(fake.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_number_is_never_taken_for_a_name() {
        let fake = Fake::default();
        let given = names("1 010.1 10.0.0.010 0x7f.1 host.1 a.0x1f 7.");
        let got = resolve_by(&fake, given.clone(), &how(2, 5000), &NodeAddrs::default()).await;
        assert_eq!(fake.asked.load(Ordering::Relaxed), 0);
        let failed: Vec<_> = given
            .into_iter()
            .map(|name| {
                (
                    name.clone(),
                    Why::Other(format!("{name} is a number, not a name")),
                )
            })
            .collect();
        assert_eq!(got.failed, failed);
    }

    #[tokio::test]
    async fn the_system_knows_localhost_and_not_a_name_under_invalid() {
        let given = names("localhost ober.invalid");
        let got = resolve(given, &how(2, 20_000), &NodeAddrs::default()).await;
        assert!(got.found["localhost"].iter().all(IpAddr::is_loopback));
        // Without a name server the answer is another failure; it is one all the same.
        assert_eq!(got.failed.len(), 1);
        assert_eq!(got.failed[0].0, "ober.invalid");
    }

    #[tokio::test]
    async fn the_words_of_this_system_for_an_unknown_name_are_understood() {
        // An empty label is refused by the C library itself, so no name server is needed.
        let error = System.lookup("a..b").await.unwrap_err();
        assert_eq!(why(&error), Why::NotFound, "{error}");
    }
}
