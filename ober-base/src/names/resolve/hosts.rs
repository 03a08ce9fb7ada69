//! /etc/hosts: a name has the addresses of every line that names it. Does no I/O.

use std::{collections::HashMap, net::IpAddr};

/// The names of the file, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    pub(super) fn read(text: &str) -> Self {
        let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let code = line.split('#').next().unwrap_or_default();
            let mut words = code.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            for name in words {
                let known = hosts.entry(plain(name)).or_default();
                if !known.contains(&address.to_canonical()) {
                    known.push(address.to_canonical());
                }
            }
        }
        Self(hosts)
    }

    pub(super) fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.0.get(&plain(name)).map(Vec::as_slice)
    }
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_all_its_lines() {
        let text = "# 10.9.9.9 a\n10.0.0.1 a.test a # b\n\nfd00::1\tA\n::ffff:10.0.0.2 c.\nx y\n10.0.0.1 a\n";
        let hosts = Hosts::read(text);
        let addresses = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert_eq!(
            hosts.get("a"),
            Some(&addresses(&["10.0.0.1", "fd00::1"])[..])
        );
        assert_eq!(hosts.get("A.TEST."), Some(&addresses(&["10.0.0.1"])[..]));
        assert_eq!(hosts.get("c"), Some(&addresses(&["10.0.0.2"])[..]));
        for name in ["b", "y", "x", ""] {
            assert_eq!(hosts.get(name), None, "{name}");
        }
    }
}
