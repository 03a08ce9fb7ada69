//! What an nftables ruleset does with the first packet of a connection, read from `nft --json list ruleset`. A rule whose matches
//! are not all understood may apply or not; the answer says so.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::host::wants::{Passage, Transport};

/// Chains that call each other: no ruleset that a kernel takes goes deeper.
const DEEPEST: u8 = 16;

/// A chain as operators write it: `inet/filter/input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub family: String,
    pub table: String,
    pub name: String,
    /// `None`: it is no chain of the kernel's, but called by one.
    policy: Option<Verdict>,
    input: bool,
}

impl std::fmt::Display for Chain {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}/{}", self.family, self.table, self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
}

/// A rule that bears a comment, and the number by which it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub chain: String,
    pub comment: String,
    pub handle: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruleset {
    chains: Vec<Chain>,
    rules: Vec<(Chain, Vec<Value>)>,
    pub named: Vec<Named>,
}

impl Eq for Ruleset {}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Accepted,
    /// By this chain.
    Dropped(Chain),
    /// It hangs on what is not understood here, such as the sender.
    Unsure,
}

fn text(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

impl Ruleset {
    /// `None`: this is not the output of `nft`.
    pub fn read(output: &str) -> Option<Self> {
        let all: Value = serde_json::from_str(output).ok()?;
        let mut ruleset = Self::default();
        for entry in all.get("nftables")?.as_array()? {
            if let Some(chain) = entry.get("chain") {
                ruleset.chains.push(chain_of(chain));
            }
            let Some(rule) = entry.get("rule") else {
                continue;
            };
            let mut chain = chain_of(rule);
            chain.name = text(rule, "chain");
            let handle = rule.get("handle").and_then(Value::as_u64);
            let comment = text(rule, "comment");
            ruleset.named.extend(handle.map(|handle| Named {
                chain: chain.to_string(),
                comment,
                handle,
            }));
            let expressions = rule.get("expr").and_then(Value::as_array);
            ruleset
                .rules
                .push((chain, expressions.cloned().unwrap_or_default()));
        }
        Some(ruleset)
    }

    /// The chains that see packets for this machine.
    pub fn inputs(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(|it| it.input)
    }

    /// What becomes of the first packet of this passage. `interfaces`: those that it may come in by.
    pub fn fate(&self, passage: &Passage, interfaces: &[String]) -> Fate {
        let mut ends = self.ends(passage, interfaces);
        let dropped = ends.iter().position(|it| it.1 == End::Dropped);
        if let Some(first) = dropped {
            return Fate::Dropped(ends.swap_remove(first).0.clone());
        }
        if ends.iter().any(|it| it.1 == End::Unsure) {
            Fate::Unsure
        } else {
            Fate::Accepted
        }
    }

    /// All chains that certainly drop it: each of them must let it pass.
    pub fn dropping(&self, passage: &Passage, interfaces: &[String]) -> Vec<Chain> {
        let ends = self.ends(passage, interfaces).into_iter();
        let dropped = ends.filter(|it| it.1 == End::Dropped);
        dropped.map(|it| it.0.clone()).collect()
    }

    /// What each chain of the kernel's does with it.
    fn ends(&self, passage: &Passage, interfaces: &[String]) -> Vec<(&Chain, End)> {
        let packet = Packet {
            passage,
            interfaces,
        };
        let chains = self.inputs().filter(|it| packet.is_of(&it.family));
        let ends = chains.map(|chain| {
            let mut walk = Walk {
                ruleset: self,
                packet: &packet,
                maybe_accepted: false,
                maybe_dropped: false,
            };
            let end = match walk.chain(chain, 0).or(chain.policy) {
                Some(Verdict::Drop) if !walk.maybe_accepted => End::Dropped,
                Some(Verdict::Drop) => End::Unsure,
                Some(Verdict::Accept) | None if walk.maybe_dropped => End::Unsure,
                Some(Verdict::Accept) | None => End::Accepted,
            };
            (chain, end)
        });
        ends.collect()
    }
}

/// What one chain does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accepted,
    Dropped,
    Unsure,
}

fn chain_of(value: &Value) -> Chain {
    let input = text(value, "hook") == "input" && text(value, "type") == "filter";
    let policy = match text(value, "policy").as_str() {
        "drop" => Some(Verdict::Drop),
        "accept" => Some(Verdict::Accept),
        _ => None,
    };
    Chain {
        family: text(value, "family"),
        table: text(value, "table"),
        name: text(value, "name"),
        policy,
        input,
    }
}

/// One way through the rules of a chain and of those that it calls.
struct Walk<'a> {
    ruleset: &'a Ruleset,
    packet: &'a Packet<'a>,
    maybe_accepted: bool,
    maybe_dropped: bool,
}

impl Walk<'_> {
    /// `None`: no rule decided.
    fn chain(&mut self, chain: &Chain, depth: u8) -> Option<Verdict> {
        let ruleset = self.ruleset;
        let of_chain = |it: &&(Chain, Vec<Value>)| it.0.to_string() == chain.to_string();
        for (_, expressions) in ruleset.rules.iter().filter(of_chain) {
            match self.rule(chain, expressions, depth) {
                Step::Next => {}
                Step::Return => return None,
                Step::End(verdict) => return Some(verdict),
            }
        }
        None
    }

    fn rule(&mut self, chain: &Chain, expressions: &[Value], depth: u8) -> Step {
        let mut sure = true;
        for expression in expressions {
            let Some((kind, value)) = expression.as_object().and_then(|it| it.iter().next()) else {
                sure = false;
                continue;
            };
            match kind.as_str() {
                "match" => match self.packet.matches(value) {
                    Some(true) => {}
                    Some(false) => return Step::Next,
                    None => sure = false,
                },
                "accept" | "drop" | "reject" | "jump" | "goto" | "return" => {
                    return self.verdict(chain, kind, value, sure, depth);
                }
                "vmap" => match self.packet.choose(value) {
                    Choice::Of(chosen) => {
                        let chosen = chosen.as_object().and_then(|it| it.iter().next());
                        let Some((kind, value)) = chosen else {
                            return Step::Next;
                        };
                        return self.verdict(chain, kind, value, sure, depth);
                    }
                    Choice::None => return Step::Next,
                    Choice::Unknown => return self.unknown(),
                },
                "counter" | "log" | "mangle" | "notrack" | "set" => {}
                "queue" => return self.unknown(),
                // `limit`, what iptables brought along.
                _ => sure = false,
            }
        }
        Step::Next
    }

    /// It may end here, either way.
    fn unknown(&mut self) -> Step {
        (self.maybe_accepted, self.maybe_dropped) = (true, true);
        Step::Next
    }

    fn verdict(&mut self, from: &Chain, kind: &str, value: &Value, sure: bool, depth: u8) -> Step {
        let verdict = match kind {
            "accept" => Some(Verdict::Accept),
            "drop" | "reject" => Some(Verdict::Drop),
            "return" if sure => return Step::Return,
            "return" => return self.unknown(),
            _ => None,
        };
        let Some(verdict) = verdict else {
            let target = text(value, "target");
            return self.call(from, &target, kind == "goto", sure, depth);
        };
        if sure {
            return Step::End(verdict);
        }
        match verdict {
            Verdict::Accept => self.maybe_accepted = true,
            Verdict::Drop => self.maybe_dropped = true,
        }
        Step::Next
    }

    fn call(&mut self, from: &Chain, target: &str, goto: bool, sure: bool, depth: u8) -> Step {
        if depth >= DEEPEST {
            return self.unknown();
        }
        let target = Chain {
            name: target.to_owned(),
            ..from.clone()
        };
        match self.chain(&target, depth + 1) {
            Some(verdict) if sure => Step::End(verdict),
            Some(Verdict::Accept) => {
                self.maybe_accepted = true;
                Step::Next
            }
            Some(Verdict::Drop) => {
                self.maybe_dropped = true;
                Step::Next
            }
            None if goto && sure => Step::Return,
            None => Step::Next,
        }
    }
}

/// What a map has for a packet.
enum Choice<'v> {
    Of(&'v Value),
    None,
    Unknown,
}

enum Step {
    Next,
    Return,
    End(Verdict),
}

struct Packet<'a> {
    passage: &'a Passage,
    interfaces: &'a [String],
}

impl Packet<'_> {
    fn is_of(&self, family: &str) -> bool {
        match (family, self.passage.to) {
            ("ip", Some(IpAddr::V6(_))) | ("ip6", Some(IpAddr::V4(_))) => false,
            ("ip" | "ip6" | "inet", _) => true,
            _ => false,
        }
    }

    /// `None`: that is not known of it.
    fn matches(&self, value: &Value) -> Option<bool> {
        let (left, right) = (value.get("left")?, value.get("right")?);
        let found = self.compares(left, right)?;
        match value.get("op")?.as_str()? {
            "==" | "in" => Some(found),
            "!=" => Some(!found),
            _ => None,
        }
    }

    /// Is what `left` names of the packet one of `right`?
    fn compares(&self, left: &Value, right: &Value) -> Option<bool> {
        if let Some(payload) = left.get("payload") {
            return self.payload(&text(payload, "protocol"), &text(payload, "field"), right);
        }
        if let Some(meta) = left.get("meta") {
            return self.meta(&text(meta, "key"), right);
        }
        let tracked = left.get("ct").map(|it| text(it, "key"));
        // The first packet of a connection.
        (tracked? == "state").then(|| any(right, &|it| Some(it.as_str()? == "new")))?
    }

    fn payload(&self, protocol: &str, field: &str, right: &Value) -> Option<bool> {
        let Passage {
            transport,
            to,
            port,
        } = self.passage;
        match (protocol, field) {
            ("tcp" | "udp", "dport") if protocol != transport.name() => Some(false),
            ("tcp" | "udp" | "th", "dport") => {
                let port = (*port)?;
                any(right, &|it| is_number(it, u64::from(port)))
            }
            ("tcp" | "udp" | "icmp" | "icmpv6", _) if protocol != transport.name() => Some(false),
            ("ip" | "ip6", "daddr") => {
                let to = (*to)?;
                if to.is_ipv4() != (protocol == "ip") {
                    return Some(false);
                }
                any(right, &|it| is_address(it, to))
            }
            ("ip", "protocol") | ("ip6", "nexthdr") => {
                any(right, &|it| is_protocol(it, *transport))
            }
            _ => None,
        }
    }

    fn meta(&self, key: &str, right: &Value) -> Option<bool> {
        match key {
            "l4proto" => any(right, &|it| is_protocol(it, self.passage.transport)),
            "nfproto" | "protocol" => {
                let names = if self.passage.to?.is_ipv4() {
                    ["ip", "ipv4"]
                } else {
                    ["ip6", "ipv6"]
                };
                any(right, &|it| Some(names.contains(&it.as_str()?)))
            }
            "iif" | "iifname" => {
                let mut answers = self.interfaces.iter().map(|name| {
                    any(right, &|it| {
                        let said = it.as_str()?;
                        Some(match said.strip_suffix('*') {
                            Some(start) => name.starts_with(start),
                            None => said == name,
                        })
                    })
                });
                let first = answers.next()??;
                answers.all(|it| it == Some(first)).then_some(first)
            }
            _ => None,
        }
    }

    /// The verdict that a map has for the packet.
    fn choose<'v>(&self, map: &'v Value) -> Choice<'v> {
        let pairs = map.get("data").and_then(|it| it.get("set")?.as_array());
        let (Some(key), Some(pairs)) = (map.get("key"), pairs) else {
            return Choice::Unknown;
        };
        for pair in pairs {
            let [from, to] = pair.as_array().map(Vec::as_slice).unwrap_or_default() else {
                return Choice::Unknown;
            };
            match self.compares(key, from) {
                Some(true) => return Choice::Of(to),
                Some(false) => {}
                None => return Choice::Unknown,
            }
        }
        Choice::None
    }
}

/// Is one of these values so? A set with a name is not looked into.
fn any(right: &Value, is: &dyn Fn(&Value) -> Option<bool>) -> Option<bool> {
    let set = right.get("set").and_then(Value::as_array);
    let Some(set) = set.or_else(|| right.as_array()) else {
        let named = right.as_str().is_some_and(|it| it.starts_with('@'));
        return if named { None } else { is(right) };
    };
    let mut unknown = false;
    for value in set {
        match is(value) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => unknown = true,
        }
    }
    (!unknown).then_some(false)
}

fn is_number(value: &Value, number: u64) -> Option<bool> {
    if let Some(range) = value.get("range").and_then(Value::as_array) {
        let [first, last] = range.as_slice() else {
            return None;
        };
        return Some((first.as_u64()?..=last.as_u64()?).contains(&number));
    }
    Some(value.as_u64()? == number)
}

fn is_address(value: &Value, address: IpAddr) -> Option<bool> {
    if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        let network = IpNet::new(text(prefix, "addr").parse().ok()?, length).ok()?;
        return Some(network.contains(&address));
    }
    if let Some(range) = value.get("range").and_then(Value::as_array) {
        let ends = range.iter().map(|it| it.as_str()?.parse::<IpAddr>().ok());
        let ends: Option<Vec<IpAddr>> = ends.collect();
        return match ends?.as_slice() {
            [first, last] => Some(*first <= address && address <= *last),
            _ => None,
        };
    }
    Some(value.as_str()?.parse::<IpAddr>().ok()? == address)
}

fn is_protocol(value: &Value, transport: Transport) -> Option<bool> {
    if let Some(number) = value.as_u64() {
        return Some(number == u64::from(transport.number()));
    }
    Some(value.as_str()? == transport.name())
}
