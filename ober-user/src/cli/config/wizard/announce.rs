//! Interfaces, and how routers or other nodes hear of the VIPs.

use std::net::{IpAddr, Ipv4Addr};

use nix::net::if_::{if_indextoname, if_nametoindex};
use toml_edit::Value;

use super::{Talk, address, key, list};
use crate::{
    cli::Error,
    system::{file, netlink::routes},
};

/// Only looked up in the routes of this machine; nothing is sent there.
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// A private number, and what new neighbours mostly are: of another autonomous system.
const AS: &str = "65001";
const OTHER: &str = "external";
/// The word for no list of routers.
const ANY: &str = "any";

/// How the VIPs are made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Bgp,
    Vrrp,
    Neither,
    /// Both, as it was written before.
    Both,
}

impl Way {
    fn words(self) -> &'static str {
        match self {
            Self::Bgp => "BGP: this node announces them to routers",
            Self::Vrrp => "VRRP: nodes on one link share them",
            Self::Neither => "neither: routers know the way already",
            Self::Both => "BGP and VRRP, as it is",
        }
    }
}

pub(super) fn interfaces(talk: &mut Talk<'_>) -> Result<(), Error> {
    let key = key(&["node", "interfaces"]);
    let mut default = talk.view.texts(&key);
    if default.is_empty() {
        default.extend(of_default_route());
    }
    let there = |name: &str| {
        let found = if_nametoindex(name).ok().map(drop);
        found.ok_or_else(|| format!("this machine has no interface `{name}`"))
    };
    let answer = talk.several("Interfaces that clients come in by", &default, &there)?;
    talk.set(&key, list(&answer))
}

fn of_default_route() -> Option<String> {
    let name = if_indextoname(routes::way(FAR)?).ok()?;
    name.into_string().ok()
}

pub(super) fn way(talk: &mut Talk<'_>) -> Result<Way, Error> {
    let has = |name: &str| talk.view.get(&key(&[name])).is_some();
    let was = match (has("bgp"), has("vrrp"), talk.original.is_new) {
        (true, true, _) => Way::Both,
        (false, true, _) => Way::Vrrp,
        (true, false, _) | (false, false, true) => Way::Bgp,
        (false, false, false) => Way::Neither,
    };
    let mut ways = vec![Way::Bgp, Way::Vrrp, Way::Neither];
    if was == Way::Both {
        ways.push(Way::Both);
    }
    let words: Vec<String> = ways.iter().map(|it| it.words().to_owned()).collect();
    let default = ways.iter().position(|it| *it == was).unwrap_or(0);
    let chosen = talk
        .ask
        .choose("How the VIPs become known", &words, default)?;
    let way = ways.get(chosen).copied().unwrap_or(was);
    if matches!(way, Way::Vrrp | Way::Neither) {
        talk.unset(&key(&["bgp"]))?;
    }
    if matches!(way, Way::Bgp | Way::Neither) {
        talk.unset(&key(&["vrrp"]))?;
    }
    if matches!(way, Way::Bgp | Way::Both) {
        bgp(talk)?;
    }
    if matches!(way, Way::Vrrp | Way::Both) {
        vrrp(talk)?;
    }
    Ok(way)
}

fn bgp(talk: &mut Talk<'_>) -> Result<(), Error> {
    let own = key(&["bgp", "as"]);
    let default = talk.view.text(&own).unwrap_or_else(|| AS.to_owned());
    let answer = talk.line("AS number of this node", &default, &|answer| {
        as_number(answer).map(drop)
    })?;
    if let Ok(number) = as_number(&answer) {
        talk.set(&own, number.into())?;
    }
    let all = key(&["bgp", "neighbours"]);
    let before = talk.view.names(&all);
    let answer = talk.several("BGP neighbours (addresses)", &before, &address)?;
    let mut last = OTHER.to_owned();
    for neighbour in &answer {
        let theirs = all.below(neighbour).below("as");
        let default = talk.view.text(&theirs).unwrap_or_else(|| last.clone());
        let prompt = format!("AS of {neighbour} (a number, `internal`, `external` or `auto`)");
        last = talk.line(&prompt, &default, &|answer| match answer {
            "internal" | "external" | "auto" => Ok(()),
            number => as_number(number).map(drop),
        })?;
        let value: Value = as_number(&last).map_or_else(|_| last.as_str().into(), Into::into);
        talk.set(&theirs, value)?;
    }
    for gone in before.iter().filter(|it| !answer.contains(it)) {
        talk.unset(&all.below(gone))?;
    }
    Ok(())
}

fn as_number(text: &str) -> Result<i64, String> {
    let number = text.parse::<u32>().ok().filter(|it| *it > 0);
    number
        .map(i64::from)
        .ok_or_else(|| format!("`{text}` is no AS number: 1 to 4294967295 is wanted"))
}

fn vrrp(talk: &mut Talk<'_>) -> Result<(), Error> {
    let all = key(&["vrrp", "nodes"]);
    let before = talk.view.names(&all);
    let written: Vec<String> = before
        .iter()
        .map(|name| {
            let addresses = talk.view.texts(&all.below(name).below("addresses"));
            format!("{name}={}", addresses.join("+"))
        })
        .collect();
    let prompt =
        "Nodes that share the VIPs, this one too (NAME=ADDRESS, with + between two addresses)";
    let answer = talk.several(prompt, &written, &|text| node(text).map(drop))?;
    let nodes: Vec<_> = answer.iter().filter_map(|text| node(text).ok()).collect();
    for (name, addresses) in &nodes {
        talk.set(&all.below(name).below("addresses"), list(addresses))?;
    }
    for gone in before
        .iter()
        .filter(|it| !nodes.iter().any(|(name, _)| name == *it))
    {
        talk.unset(&all.below(gone))?;
    }
    let own = key(&["vrrp", "node"]);
    let names: Vec<String> = nodes.into_iter().map(|(name, _)| name).collect();
    let default = talk.view.text(&own).or_else(|| own_name(&names));
    let answer = talk.line(
        "Name of this node among them",
        &default.unwrap_or_default(),
        &|it| {
            if names.iter().any(|name| name == it) || it.contains("${") {
                return Ok(());
            }
            Err(format!("`{it}` is none of {}", names.join(", ")))
        },
    )?;
    talk.set(&own, answer.into())
}

/// `NAME=ADDRESS+ADDRESS`.
fn node(text: &str) -> Result<(String, Vec<String>), String> {
    let wanted = || format!("`{text}` is no node: NAME=ADDRESS is wanted, such as node1=10.0.0.1");
    let (name, addresses) = text.split_once('=').ok_or_else(wanted)?;
    let addresses: Vec<String> = addresses
        .split('+')
        .map(|it| it.trim().to_owned())
        .collect();
    let good = addresses.iter().all(|it| it.parse::<IpAddr>().is_ok());
    if name.trim().is_empty() || !good {
        return Err(wanted());
    }
    Ok((name.trim().to_owned(), addresses))
}

fn own_name(names: &[String]) -> Option<String> {
    let host = file::kernel_text(HOSTNAME).unwrap_or_default();
    let host = host.trim();
    let short = host.split('.').next().unwrap_or_default();
    let found = names.iter().find(|name| *name == host || *name == short);
    found.cloned()
}

/// The list of routers: who may speak routing protocols with this node.
pub(super) fn routers(talk: &mut Talk<'_>, way: Way) -> Result<(), Error> {
    if way == Way::Neither {
        return Ok(());
    }
    let named = key(&["node", "routers"]);
    let name = talk.view.text(&named);
    let sources = key(&["lists", name.as_deref().unwrap_or("routers"), "sources"]);
    let default = match &name {
        Some(_) => talk.view.texts(&sources),
        None if talk.original.is_new => partners(talk),
        None => vec![ANY.to_owned()],
    };
    let prompt =
        "Routers and nodes that may speak BGP, BFD or VRRP with this node (hostlist, or `any`)";
    let answer = talk.several(prompt, &default, &|_| Ok(()))?;
    if answer == [ANY] {
        return talk.unset(&named);
    }
    if answer == default && name.is_some() {
        return Ok(());
    }
    talk.set(&named, name.unwrap_or_else(|| "routers".to_owned()).into())?;
    talk.set(&sources, list(&answer))
}

/// Those whom the answers so far name.
fn partners(talk: &Talk<'_>) -> Vec<String> {
    let now = talk.now();
    let mut partners = now.names(&key(&["bgp", "neighbours"]));
    let nodes = key(&["vrrp", "nodes"]);
    for name in now.names(&nodes) {
        partners.extend(now.texts(&nodes.below(&name).below("addresses")));
    }
    partners
}
