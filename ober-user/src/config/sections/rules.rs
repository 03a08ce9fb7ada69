//! Access rules in order: the first that applies to a client decides; a client without such a rule is admitted.
//!
//! The part that depends on addresses alone is compiled to a list for the XDP program, which then drops clients that no rule
//! could admit; the rest is left to HAProxy. Together they decide as the order says.

use ipnet::IpNet;

use super::route::{Names, is_host_name};
use crate::{
    config::{
        judge::Judge,
        text::{notation::At, source::Fault},
    },
    names::notation,
};

/// Prefixes of the longest compiled list; rules that need more are left to HAProxy.
const MOST_PREFIXES: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    /// The clients that the rule applies to; `None`: all.
    pub who: Option<IpNet>,
    /// Only requests with this path prefix, in any spelling of the path.
    pub path: Option<String>,
    /// Only requests to these hosts; empty: to all.
    pub hosts: Names,
    /// Only requests with these methods; empty: with all.
    pub methods: Vec<String>,
}

impl Rule {
    /// Does the rule depend on the client's address alone?
    pub fn by_address(&self) -> bool {
        self.path.is_none() && self.hosts.is_empty() && self.methods.is_empty()
    }

    /// Does the rule apply to every request of every client?
    fn of_all(&self) -> bool {
        self.by_address() && self.who.is_none()
    }

    /// `allow|deny WHO [path=/PREFIX] [host=A,*.B] [method=A,B]`.
    fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let allow = match words.next() {
            Some("allow") => true,
            Some("deny") => false,
            _ => return Err("it begins with neither `allow` nor `deny`".to_owned()),
        };
        let who =
            match words.next() {
                Some("all") => None,
                Some(word) => Some(notation::network(word).map_err(|miss| {
                    format!("it wants an address, a prefix or `all`, and {miss}")
                })?),
                None => return Err("it names no client".to_owned()),
            };
        let mut rule = Self {
            allow,
            who,
            path: None,
            hosts: Names::default(),
            methods: Vec::new(),
        };
        for word in words {
            match word.split_once('=') {
                Some(("path", path)) if plain(path) => rule.path = Some(path.to_owned()),
                Some(("path", path)) => {
                    return Err(format!(
                        "`{path}` is no path as a storage reads it: it begins with `/` and has no `%`, `?`, `//`, `/./` \
                         and `/../`"
                    ));
                }
                Some(("host", hosts)) if hosts.split(',').all(host) => {
                    hosts.split(',').for_each(|host| rule.hosts.add(host));
                }
                Some(("method", methods)) if methods.split(',').all(super::check::method) => {
                    rule.methods = methods.split(',').map(ToOwned::to_owned).collect();
                }
                _ => return Err(format!("`{word}` is no condition")),
            }
        }
        Ok(rule)
    }
}

/// Does the path have a single spelling?
fn plain(path: &str) -> bool {
    let letters = super::check::url_path(path) && !path.contains(['%', '?']);
    let mut segments: Vec<&str> = path.split('/').skip(1).collect();
    let last = segments.pop().unwrap_or_default();
    letters
        && segments.iter().all(|it| !matches!(*it, "" | "." | ".."))
        && !matches!(last, "." | "..")
}

fn host(word: &str) -> bool {
    is_host_name(word.strip_prefix("*.").unwrap_or(word))
}

/// Do the rules decide about every client?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The last rule applies to all.
    Yes,
    No,
}

impl Judge<'_> {
    pub(super) fn rules(&mut self, written: Vec<At<String>>, http: bool) -> (Vec<Rule>, Closed) {
        let mut rules: Vec<Rule> = Vec::new();
        for At { value, span } in written {
            let rule = match Rule::read(&value) {
                Ok(rule) => rule,
                Err(why) => {
                    let help = "such as \"allow 192.0.2.0/24\", \"deny all\" or \"deny all path=/admin method=PUT,DELETE\"";
                    self.refuse(Fault::new(span, format!("no access rule: {why}")).help(help));
                    continue;
                }
            };
            if rules.iter().any(Rule::of_all) {
                let message =
                    "a rule that is never reached: an earlier rule applies to all clients";
                self.refuse(Fault::new(span.clone(), message).help("move it up or remove it"));
            }
            if !http && !rule.by_address() {
                let message =
                    "a rule by path, host or method on a listener that does not read HTTP";
                self.refuse(Fault::new(span, message).help("name the address alone"));
            }
            rules.push(rule);
        }
        let closed = if rules.last().is_some_and(Rule::of_all) {
            Closed::Yes
        } else {
            Closed::No
        };
        (rules, closed)
    }
}

/// The clients that the rules could admit, for the list of the XDP program. `None`: all clients, or a list that is too long.
pub(super) fn admitted(rules: &[Rule]) -> Option<Vec<IpNet>> {
    let all = [
        IpNet::V4(ipnet::Ipv4Net::default()),
        IpNet::V6(ipnet::Ipv6Net::default()),
    ];
    let (mut open, mut admitted) = (all.to_vec(), Vec::new());
    let decisive = rules.iter().filter(|rule| rule.allow || rule.by_address());
    for rule in decisive {
        let who = rule.who.map_or(all.to_vec(), |net| vec![net]);
        let mut left = Vec::new();
        for net in open {
            let (inside, outside) = cut(net, &who);
            left.extend(outside);
            if rule.allow {
                admitted.extend(inside);
            }
        }
        open = left;
        if open.len() + admitted.len() > MOST_PREFIXES {
            return None;
        }
    }
    admitted.extend(open);
    let admitted = IpNet::aggregate(&admitted);
    (admitted != all).then_some(admitted)
}

/// The part of `net` inside `who`, and the parts outside.
fn cut(net: IpNet, who: &[IpNet]) -> (Vec<IpNet>, Vec<IpNet>) {
    if who.iter().any(|other| other.contains(&net)) {
        return (vec![net], Vec::new());
    }
    let Some(inner) = who.iter().find(|other| net.contains(*other)) else {
        return (Vec::new(), vec![net]);
    };
    let (mut rest, mut outside) = (net, Vec::new());
    // Halves the network until the half that contains `inner` is `inner` itself.
    while rest != *inner {
        let Ok(halves) = rest.subnets(rest.prefix_len() + 1) else {
            break;
        };
        for half in halves {
            if half.contains(inner) {
                rest = half;
            } else {
                outside.push(half);
            }
        }
    }
    (vec![*inner], outside)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| Rule::read(text).unwrap()).collect()
    }

    fn admits(list: Option<&Vec<IpNet>>, address: IpAddr) -> bool {
        list.is_none_or(|list| list.iter().any(|net| net.contains(&address)))
    }

    #[test]
    fn the_first_matching_rule_decides_and_the_compiled_list_agrees() {
        let rules = rules(&[
            "deny 192.0.2.7",
            "allow 192.0.2.0/24",
            "allow fd00::/8",
            "deny all",
        ]);
        let list = admitted(&rules);
        for (address, admitted) in [
            ("192.0.2.6", true),
            ("192.0.2.7", false),
            ("192.0.2.8", true),
            ("192.0.3.1", false),
            ("fd00::1", true),
            ("fe00::1", false),
        ] {
            assert_eq!(
                admits(list.as_ref(), address.parse().unwrap()),
                admitted,
                "{address}"
            );
        }
    }

    #[test]
    fn an_address_is_admitted_if_a_rule_on_the_request_could_still_allow_it() {
        let rules = rules(&[
            "allow 192.0.2.1 path=/public",
            "deny all method=PUT",
            "deny 192.0.2.0/24",
        ]);
        let list = admitted(&rules);
        for (address, admitted) in [
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("192.0.3.1", true),
        ] {
            assert_eq!(
                admits(list.as_ref(), address.parse().unwrap()),
                admitted,
                "{address}"
            );
        }
        assert_eq!(
            admitted_by(&["deny all path=/admin"]),
            None,
            "all clients may come"
        );
    }

    fn admitted_by(texts: &[&str]) -> Option<Vec<IpNet>> {
        admitted(&rules(texts))
    }

    proptest! {
        #[test]
        fn compiling_rules_never_changes_their_meaning(
            written in proptest::collection::vec((any::<bool>(), 0u8..8, 24u8..=32), 0..8),
            asked in 0u8..8,
        ) {
            let rules: Vec<Rule> = written
                .iter()
                .map(|(allow, last, length)| {
                    let who = IpNet::new(IpAddr::from([10, 0, 0, *last]), *length).unwrap().trunc();
                    Rule { allow: *allow, who: Some(who), path: None, hosts: Names::default(), methods: Vec::new() }
                })
                .collect();
            let address = IpAddr::from([10, 0, 0, asked]);
            let fits = |rule: &&Rule| rule.who.is_none_or(|net| net.contains(&address));
            let expected = rules.iter().find(fits).is_none_or(|rule| rule.allow);
            prop_assert_eq!(admits(admitted(&rules).as_ref(), address), expected);
        }
    }
}
