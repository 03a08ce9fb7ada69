//! Firewalls that a program keeps for the administrator: firewalld and ufw. What they are to let pass is given to them, so that
//! it is there when they load their rules again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::host::{
    Error, Host, object::State, parts::firewall::THERE, platform::Platform, wants::Passage,
};

/// A rule of a manager that accepts packets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opening {
    /// A rich rule of a zone, as firewalld writes it. firewalld has rules in force, and permanent ones that it begins with.
    Firewalld {
        zone: String,
        permanent: bool,
        rule: String,
    },
    /// A rule as `ufw show added` writes it.
    Ufw(String),
}

impl fmt::Display for Opening {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firewalld {
                zone,
                permanent,
                rule,
            } => {
                let which = if *permanent { "permanent " } else { "" };
                write!(out, "{which}rule `{rule}` in firewalld's zone {zone}")
            }
            Self::Ufw(rule) => write!(out, "ufw's rule `{rule}`"),
        }
    }
}

impl Opening {
    /// The command that lists what the manager has of this kind.
    fn list(&self) -> Vec<String> {
        match self {
            Self::Firewalld { .. } => self.firewalld("--list-rich-rules"),
            Self::Ufw(_) => words(&["ufw", "show", "added"]),
        }
    }

    fn is_among(&self, listed: &str) -> bool {
        let mut lines = listed.lines().map(str::trim);
        match self {
            Self::Firewalld { rule, .. } => lines.any(|it| it == rule),
            Self::Ufw(rule) => lines.any(|it| it.strip_prefix("ufw ") == Some(rule)),
        }
    }

    fn add(&self) -> Vec<String> {
        match self {
            Self::Firewalld { rule, .. } => self.firewalld(&format!("--add-rich-rule={rule}")),
            Self::Ufw(rule) => [words(&["ufw"]), words_of(rule)].concat(),
        }
    }

    fn remove(&self) -> Vec<String> {
        match self {
            Self::Firewalld { rule, .. } => self.firewalld(&format!("--remove-rich-rule={rule}")),
            Self::Ufw(rule) => [words(&["ufw", "delete"]), words_of(rule)].concat(),
        }
    }

    fn firewalld(&self, what: &str) -> Vec<String> {
        let mut command = words(&["firewall-cmd"]);
        if let Self::Firewalld {
            zone, permanent, ..
        } = self
        {
            command.extend(permanent.then(|| "--permanent".to_owned()));
            command.push(format!("--zone={zone}"));
        }
        command.push(what.to_owned());
        command
    }
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|&it| it.to_owned()).collect()
}

fn words_of(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// The managers that run, and what they let pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers {
    /// `None`: firewalld does not run.
    pub firewalld: Option<Zones>,
    /// The rules of ufw; `None`: it is not active.
    pub ufw: Option<BTreeSet<Opening>>,
}

/// A rule of ufw: ufw has one rule for a target, and puts a new one with another action, log or comment in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct UfwRule<'a> {
    action: &'a str,
    target: String,
}

impl<'a> UfwRule<'a> {
    fn read(text: &'a str) -> Self {
        let (rule, _comment) = text.split_once(" comment '").unwrap_or((text, ""));
        let (action, rest) = rule.split_once(' ').unwrap_or((rule, ""));
        let words = rest
            .split(' ')
            .filter(|word| !["log", "log-all"].contains(word));
        Self {
            action,
            target: words.collect::<Vec<_>>().join(" "),
        }
    }
}

/// firewalld's zones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// That of an interface which none is given to.
    pub default: String,
    /// By interface.
    pub of: BTreeMap<String, String>,
    pub rules: BTreeSet<Opening>,
}

impl Managers {
    pub fn any(&self) -> bool {
        self.firewalld.is_some() || self.ufw.is_some()
    }

    /// The rules that this passage lacks, on these interfaces.
    pub fn lacking(&self, passage: &Passage, interfaces: &[String]) -> Vec<Opening> {
        let mut all = Vec::new();
        if let Some(zones) = &self.firewalld {
            all.extend(zones.lacking(passage, interfaces));
        }
        if self.ufw.is_some() && self.in_place(passage).is_empty() {
            all.extend(ufw(passage).into_iter().next().map(Opening::Ufw));
        }
        all
    }

    /// The rule of ufw that does not accept this passage and stands where the one that does would: it is the administrator's.
    pub fn refuses(&self, passage: &Passage) -> Option<&str> {
        let all = self.in_place(passage);
        let accepts = |rule: &&str| UfwRule::read(rule).action == "allow";
        if all.iter().any(accepts) {
            return None;
        }
        all.first().copied()
    }

    /// The rules of ufw for the same targets as those that accept this passage.
    fn in_place(&self, passage: &Passage) -> Vec<&str> {
        let accepting = ufw(passage);
        let targets: Vec<String> = accepting
            .iter()
            .map(|rule| UfwRule::read(rule).target)
            .collect();
        let rules = self.ufw.iter().flatten().filter_map(|it| match it {
            Opening::Ufw(rule) => Some(rule.as_str()),
            Opening::Firewalld { .. } => None,
        });
        rules
            .filter(|rule| targets.contains(&UfwRule::read(rule).target))
            .collect()
    }

    /// Is this one of the chains that a manager fills? `chain`: family, table and name.
    pub fn fills(&self, chain: &str) -> bool {
        let of_ufw = ["ip/filter/INPUT", "ip6/filter/INPUT"];
        (self.ufw.is_some() && of_ufw.contains(&chain))
            || (self.firewalld.is_some() && chain.split('/').nth(1) == Some("firewalld"))
    }
}

impl Zones {
    fn lacking(&self, passage: &Passage, interfaces: &[String]) -> Vec<Opening> {
        let zone = |interface| self.of.get(interface).unwrap_or(&self.default);
        let zones: BTreeSet<&String> = interfaces.iter().map(zone).collect();
        let both = zones.into_iter().flat_map(|zone| {
            [false, true].map(|permanent| Opening::Firewalld {
                zone: zone.clone(),
                permanent,
                rule: rich(passage),
            })
        });
        both.filter(|it| !self.rules.contains(it)).collect()
    }
}

/// The rich rule that accepts it, in the order of words that firewalld prints.
fn rich(passage: &Passage) -> String {
    let name = passage.transport.name();
    let what = match passage.port {
        Some(port) => format!("port port=\"{port}\" protocol=\"{name}\""),
        None => format!("protocol value=\"{name}\""),
    };
    match passage.to {
        Some(to) => {
            let family = if to.is_ipv4() { "ipv4" } else { "ipv6" };
            format!("rule family=\"{family}\" destination address=\"{to}\" {what} accept")
        }
        None => format!("rule {what} accept"),
    }
}

/// The rules of ufw that accept it, as ufw prints them: the one for it alone first.
fn ufw(passage: &Passage) -> Vec<String> {
    let name = passage.transport.name();
    let to = passage.to.map(|it| it.to_string());
    match (to, passage.port) {
        (Some(to), Some(port)) => vec![
            format!("allow to {to} port {port} proto {name}"),
            format!("allow {port}/{name}"),
            format!("allow {port}"),
        ],
        (None, Some(port)) => vec![format!("allow {port}/{name}"), format!("allow {port}")],
        (Some(to), None) => vec![format!("allow to {to} proto {name}")],
        (None, None) => vec![format!("allow to any proto {name}")],
    }
}

pub(super) async fn look<M: Platform>(host: &Host<M>) -> Managers {
    let status = host.ask(&["ufw", "status"]).await;
    let has_ufw = status.is_some_and(|it| it.starts_with("Status: active"));
    let added = if has_ufw {
        host.ask(&["ufw", "show", "added"]).await
    } else {
        None
    };
    Managers {
        firewalld: zones(host).await,
        ufw: added.map(|it| it.lines().filter_map(ufw_rule).collect()),
    }
}

fn ufw_rule(line: &str) -> Option<Opening> {
    let rule = line.trim().strip_prefix("ufw ")?;
    Some(Opening::Ufw(rule.to_owned()))
}

async fn zones<M: Platform>(host: &Host<M>) -> Option<Zones> {
    host.ask(&["firewall-cmd", "--state"]).await?;
    let default = host.ask(&["firewall-cmd", "--get-default-zone"]).await?;
    let active = host.ask(&["firewall-cmd", "--get-active-zones"]).await?;
    let mut zones = Zones {
        default: default.trim().to_owned(),
        of: interfaces_of(&active),
        rules: BTreeSet::new(),
    };
    let mut names: BTreeSet<String> = zones.of.values().cloned().collect();
    names.insert(zones.default.clone());
    for zone in names {
        for permanent in [false, true] {
            let kind = Opening::Firewalld {
                zone: zone.clone(),
                permanent,
                rule: String::new(),
            };
            let command = kind.list();
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let listed = host.ask(&command).await?;
            let rules = listed.lines().map(|line| Opening::Firewalld {
                zone: zone.clone(),
                permanent,
                rule: line.trim().to_owned(),
            });
            zones.rules.extend(rules);
        }
    }
    Some(zones)
}

/// The interfaces in an answer of `firewall-cmd --get-active-zones`, with their zones. A zone's line begins with its name, and
/// what it has follows, indented.
pub(super) fn interfaces_of(active: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut zone = "";
    for line in active.lines() {
        if !line.starts_with(' ') {
            zone = line.split(' ').next().unwrap_or_default();
        } else if let Some(interfaces) = line.trim().strip_prefix("interfaces:") {
            let interfaces = interfaces.split_whitespace();
            all.extend(interfaces.map(|it| (it.to_owned(), zone.to_owned())));
        }
    }
    all
}

/// What the manager says of the rule. One that does not answer is not taken for one without the rule.
pub(crate) async fn state<M: Platform>(host: &Host<M>, opening: &Opening) -> State {
    match order(host, &opening.list()).await {
        Ok(listed) if opening.is_among(&listed) => State::value(THERE),
        Ok(_) => State::Absent,
        Err(error) => State::Unknown(error.to_string()),
    }
}

pub(crate) async fn put<M: Platform>(
    host: &Host<M>,
    opening: &Opening,
    state: &State,
) -> Result<(), Error> {
    let command = if state.is_absent() {
        opening.remove()
    } else {
        opening.add()
    };
    order(host, &command).await.map(drop)
}

async fn order<M: Platform>(host: &Host<M>, command: &[String]) -> Result<String, Error> {
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    host.order(&command).await
}
