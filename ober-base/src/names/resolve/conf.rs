//! Reads /etc/resolv.conf and /etc/nsswitch.conf. Does no I/O.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// As many servers as glibc asks.
const MOST_SERVERS: usize = 3;
/// glibc's limit for `ndots`.
const MOST_DOTS: usize = 15;
/// Search domains beyond this number are ignored.
const MOST_DOMAINS: usize = 32;

/// How to ask the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    pub servers: Vec<SocketAddr>,
    /// Domains to append to a name, in order.
    search: Vec<String>,
    /// A name with at least this many dots is first asked for as it is, then with the domains.
    dots: usize,
    /// Every question goes over TCP.
    pub tcp: bool,
    /// IPv6 addresses are not asked for.
    pub only_v4: bool,
}

impl Conf {
    /// `host` is this machine's name: its domain is searched when the file names none. `interface` returns the number of an
    /// interface, for name servers with a link-local address.
    pub(crate) fn read(text: &str, host: &str, interface: impl Fn(&str) -> Option<u32>) -> Self {
        let own = host.split_once('.').map(|(_, domain)| domain.to_owned());
        let mut conf = Self {
            servers: Vec::new(),
            search: own.into_iter().collect(),
            dots: 1,
            tcp: false,
            only_v4: false,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| server(word, &interface));
                    conf.servers.extend(server);
                }
                Some("search") => conf.search = words.map(ToOwned::to_owned).collect(),
                Some("domain") => conf.search = words.take(1).map(ToOwned::to_owned).collect(),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        conf.search.truncate(MOST_DOMAINS);
        conf.servers.truncate(MOST_SERVERS);
        if conf.servers.is_empty() {
            // As glibc does where no name server is configured: one may run on this machine.
            conf.servers.push(([127, 0, 0, 1], 53).into());
        }
        conf
    }

    fn option(&mut self, word: &str) {
        match word.split_once(':') {
            Some(("ndots", number)) => {
                let number = number.parse().ok();
                self.dots = number.map_or(self.dots, |dots: usize| dots.min(MOST_DOTS));
            }
            None if word == "use-vc" => self.tcp = true,
            None if word == "no-aaaa" => self.only_v4 = true,
            _ => {}
        }
    }

    /// The full names that a name may mean, in the order of the questions.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let below = self
            .search
            .iter()
            .map(|domain| match domain.trim_matches('.') {
                "" => name.to_owned(),
                domain => format!("{name}.{domain}"),
            });
        let first = name.matches('.').count() >= self.dots;
        let (before, behind) = if first {
            (Some(name.to_owned()), None)
        } else {
            (None, Some(name.to_owned()))
        };
        let mut names: Vec<String> = before.into_iter().chain(below).chain(behind).collect();
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

fn server(word: &str, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Some((address, zone)) = word.split_once('%') {
        let number = zone.parse().ok().or_else(|| interface(zone))?;
        let address = address.parse().ok()?;
        return Some(SocketAddrV6::new(address, 53, 0, number).into());
    }
    let address: IpAddr = word.parse().ok()?;
    Some(SocketAddr::new(address, 53))
}

/// A name service, in the order of the line `hosts` of nsswitch.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// /etc/hosts.
    Files,
    Dns,
}

/// The line `hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) order: Vec<Service>,
    /// Some services are known to the C library alone, such as LDAP.
    pub(super) others: bool,
}

impl Switch {
    /// systemd's `resolve` counts as DNS: its stub is in /etc/resolv.conf. Actions such as `[NOTFOUND=return]` are ignored: the
    /// first service that knows the name decides, which is glibc's default.
    pub(super) fn read(text: &str) -> Self {
        let line = text.lines().find_map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            line.trim().strip_prefix("hosts:")
        });
        let mut switch = Self {
            order: Vec::new(),
            others: false,
        };
        let mut action = false;
        for word in line.unwrap_or("files dns").split_whitespace() {
            action |= word.starts_with('[');
            if action {
                action = !word.ends_with(']');
                continue;
            }
            let service = match word {
                "files" => Service::Files,
                "dns" | "resolve" => Service::Dns,
                _ => {
                    switch.others = true;
                    continue;
                }
            };
            if !switch.order.contains(&service) {
                switch.order.push(service);
            }
        }
        switch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Conf {
        Conf::read(text, "node.own.test", |name| (name == "eth1").then_some(7))
    }

    #[test]
    fn resolv_conf_names_its_servers_in_order_and_no_more_than_three() {
        let text = "# nameserver 1.1.1.1\nsearch test\nnameserver 10.0.0.53\n nameserver\tfd00::53\nnameserver x\n\
                    nameserver fe80::1%eth1\nnameserver 10.0.0.54\n";
        let servers = conf(text).servers;
        let expected: Vec<SocketAddr> = vec![
            "10.0.0.53:53".parse().unwrap(),
            "[fd00::53]:53".parse().unwrap(),
            SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, 7).into(),
        ];
        assert_eq!(servers, expected);
        for none in ["", "search test", "nameserver x"] {
            assert_eq!(conf(none).servers, ["127.0.0.1:53".parse().unwrap()]);
        }
    }

    #[test]
    fn search_domains_are_tried_in_the_order_of_the_c_library() {
        for (text, name, expected) in [
            ("search a.test b.test", "n", "n.a.test n.b.test n"),
            ("search a.test b.test", "n.x", "n.x n.x.a.test n.x.b.test"),
            ("search a.test\noptions ndots:2", "n.x", "n.x.a.test n.x"),
            ("search a.test\noptions ndots:0", "n", "n n.a.test"),
            ("search a.test", "n.", "n"),
            ("search a.test .", "n", "n.a.test n"),
            ("domain a.test b.test", "n", "n.a.test n"),
            ("search x.test\nsearch a.test", "n", "n.a.test n"),
            ("", "n", "n.own.test n"),
        ] {
            assert_eq!(
                conf(text).candidates(name).join(" "),
                expected,
                "{text} {name}"
            );
        }
    }

    #[test]
    fn resolv_conf_options_choose_tcp_ipv4_only_and_the_number_of_dots() {
        let conf = conf("options rotate use-vc timeout:3\noptions no-aaaa ndots:99");
        assert!(conf.tcp && conf.only_v4);
        assert_eq!(conf.dots, MOST_DOTS);
    }

    #[test]
    fn nsswitch_conf_names_the_services_to_query() {
        use Service::{Dns, Files};
        for (text, order, others) in [
            ("hosts: files dns", vec![Files, Dns], false),
            (
                "passwd: files\nhosts:\tdns files # x",
                vec![Dns, Files],
                false,
            ),
            ("", vec![Files, Dns], false),
            ("hosts: files", vec![Files], false),
            (
                "hosts: files mdns4_minimal [NOTFOUND=return] dns",
                vec![Files, Dns],
                true,
            ),
            (
                "hosts: mymachines resolve [!UNAVAIL=return TRYAGAIN=continue] files dns",
                vec![Dns, Files],
                true,
            ),
            ("hosts: files ldap", vec![Files], true),
        ] {
            let expected = Switch { order, others };
            assert_eq!(Switch::read(text), expected, "{text}");
        }
    }
}
