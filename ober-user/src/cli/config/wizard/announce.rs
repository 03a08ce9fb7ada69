//! Interfaces, and how routers or other nodes hear of the VIPs.

use std::net::{IpAddr, Ipv4Addr};

use nix::net::if_::{if_indextoname, if_nametoindex};
use toml_edit::Value;

use super::{
    answer::{address, each, hosts_or, something},
    clients::{self, User},
    key, list,
    session::Session,
};
use crate::{
    cli::Error,
    config::{ROUTERS, edit::View},
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
pub(super) enum Announcement {
    Bgp,
    Vrrp,
    Neither,
    /// Both, as it was written before.
    Both,
}

impl Announcement {
    fn words(self) -> &'static str {
        match self {
            Self::Bgp => "BGP: this node announces them to routers",
            Self::Vrrp => "VRRP: nodes on one link share them",
            Self::Neither => "neither: routers know the way already",
            Self::Both => "BGP and VRRP, as it is",
        }
    }
}

pub(super) fn interfaces(session: &mut Session<'_>) -> Result<(), Error> {
    let key = key(&["node", "interfaces"]);
    let mut default = session.view.texts(&key);
    if default.is_empty() {
        default.extend(of_default_route());
    }
    let there = |name: &str| {
        let found = if_nametoindex(name).ok().map(drop);
        found.ok_or_else(|| format!("this machine has no interface `{name}`"))
    };
    let answer = session.several(
        "Interfaces that clients come in by",
        &default,
        &each("an interface", &there),
    )?;
    session.set(&key, list(&answer))
}

fn of_default_route() -> Option<String> {
    let name = if_indextoname(routes::way(FAR)?).ok()?;
    name.into_string().ok()
}

pub(super) fn announcement(session: &mut Session<'_>) -> Result<Announcement, Error> {
    let has = |name: &str| session.view.get(&key(&[name])).is_some();
    let was = match (has("bgp"), has("vrrp"), session.is_first) {
        (true, true, _) => Announcement::Both,
        (false, true, _) => Announcement::Vrrp,
        (true, false, _) | (false, false, true) => Announcement::Bgp,
        (false, false, false) => Announcement::Neither,
    };
    let mut all = vec![Announcement::Bgp, Announcement::Vrrp, Announcement::Neither];
    if was == Announcement::Both {
        all.push(Announcement::Both);
    }
    let words: Vec<String> = all.iter().map(|it| it.words().to_owned()).collect();
    let default = all.iter().position(|it| *it == was).unwrap_or(0);
    let chosen = session
        .ask
        .choose("How the VIPs become known", &words, default)?;
    let announcement = all.get(chosen).copied().unwrap_or(was);
    if matches!(announcement, Announcement::Vrrp | Announcement::Neither) {
        session.unset(&key(&["bgp"]))?;
    }
    if matches!(announcement, Announcement::Bgp | Announcement::Neither) {
        session.unset(&key(&["vrrp"]))?;
    }
    if matches!(announcement, Announcement::Bgp | Announcement::Both) {
        bgp(session)?;
    }
    if matches!(announcement, Announcement::Vrrp | Announcement::Both) {
        vrrp(session)?;
    }
    Ok(announcement)
}

fn bgp(session: &mut Session<'_>) -> Result<(), Error> {
    let own = key(&["bgp", "as"]);
    let default = session.view.text(&own).unwrap_or_else(|| AS.to_owned());
    let answer = session.line("AS number of this node", &default, &|answer| {
        as_number(answer).map(drop)
    })?;
    if let Ok(number) = as_number(&answer) {
        session.set(&own, number.into())?;
    }
    let all = key(&["bgp", "neighbours"]);
    let before = session.view.names(&all);
    let answer = session.several(
        "BGP neighbours (addresses)",
        &before,
        &each("an address", &address),
    )?;
    let mut last = OTHER.to_owned();
    for neighbour in &answer {
        let theirs = all.below(neighbour).below("as");
        let default = session.view.text(&theirs).unwrap_or_else(|| last.clone());
        let prompt = format!("AS of {neighbour} (a number, `internal`, `external` or `auto`)");
        last = session.line(&prompt, &default, &|answer| match answer {
            "internal" | "external" | "auto" => Ok(()),
            number => as_number(number).map(drop),
        })?;
        let value: Value = as_number(&last).map_or_else(|_| last.as_str().into(), Into::into);
        session.set(&theirs, value)?;
    }
    for gone in before.iter().filter(|it| !answer.contains(it)) {
        session.unset(&all.below(gone))?;
    }
    Ok(())
}

fn as_number(text: &str) -> Result<i64, String> {
    let number = text.parse::<u32>().ok().filter(|it| *it > 0);
    number
        .map(i64::from)
        .ok_or_else(|| format!("`{text}` is no AS number: 1 to 4294967295 is wanted"))
}

fn vrrp(session: &mut Session<'_>) -> Result<(), Error> {
    let all = key(&["vrrp", "nodes"]);
    let before = session.view.names(&all);
    let written: Vec<String> = before
        .iter()
        .map(|name| {
            let addresses = session.view.texts(&all.below(name).below("addresses"));
            format!("{name}={}", addresses.join("+"))
        })
        .collect();
    let prompt =
        "Nodes that share the VIPs, this one too (NAME=ADDRESS, with + between two addresses)";
    let answer = session.several(
        prompt,
        &written,
        &each("a node", &|text| node(text).map(drop)),
    )?;
    let nodes: Vec<_> = answer.iter().filter_map(|text| node(text).ok()).collect();
    for (name, addresses) in &nodes {
        session.set(&all.below(name).below("addresses"), list(addresses))?;
    }
    for gone in before
        .iter()
        .filter(|it| !nodes.iter().any(|(name, _)| name == *it))
    {
        session.unset(&all.below(gone))?;
    }
    let own = key(&["vrrp", "node"]);
    let names: Vec<String> = nodes.into_iter().map(|(name, _)| name).collect();
    let among = |it: &str| {
        something(it, "a name")?;
        if names.iter().any(|name| name == it) || it.contains("${") {
            return Ok(());
        }
        Err(format!("`{it}` is none of {}", names.join(", ")))
    };
    // The name that is written may be that of a node which was just left out.
    let written = session.view.text(&own).filter(|it| among(it).is_ok());
    let default = written.or_else(|| own_name(&names)).unwrap_or_default();
    let answer = session.line("Name of this node among them", &default, &among)?;
    session.set(&own, answer.into())
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
pub(super) fn routers(session: &mut Session<'_>, announcement: Announcement) -> Result<(), Error> {
    if announcement == Announcement::Neither {
        return Ok(());
    }
    let named = key(&["node", "routers"]);
    let name = session.view.text(&named);
    let sources = key(&["lists", name.as_deref().unwrap_or(ROUTERS), "sources"]);
    let written = session.view.texts(&sources);
    // Such a list is filled by `acl sync`, and its entries are not in the file.
    let filled = name.is_some() && written.is_empty();
    let mut default = match &name {
        Some(_) => with_partners(session, written),
        None if session.is_first => partners(&session.view),
        None => Vec::new(),
    };
    if default.is_empty() && !filled {
        default.push(ANY.to_owned());
    }
    let hint = if filled {
        "; nothing: as `acl sync` fills it"
    } else {
        ""
    };
    let prompt = format!(
        "Routers and nodes that may speak BGP, BFD or VRRP with this node (hostlist, or `any`{hint})"
    );
    let wanted = hosts_or(ANY);
    let answer = session.several(&prompt, &default, &|parts| {
        if filled && parts.is_empty() {
            return Ok(());
        }
        wanted(parts)
    })?;
    if answer == [ANY] {
        return session.unset(&named);
    }
    if answer.is_empty() {
        return Ok(());
    }
    if name.is_some() && answer == session.view.texts(&sources) {
        return Ok(());
    }
    let list_name = clients::list_for(session, &User::Routers, name.as_deref())?;
    session.set(&named, list_name.as_str().into())?;
    session.set(&key(&["lists", &list_name, "sources"]), list(&answer))
}

/// The list of routers as it is written, with the neighbours and nodes that came and without those that went.
fn with_partners(session: &mut Session<'_>, mut written: Vec<String>) -> Vec<String> {
    let (before, now) = (partners(&session.before), partners(&session.view));
    let come = now.iter().filter(|it| !before.contains(it));
    if written.is_empty() {
        let come: Vec<&str> = come.map(String::as_str).collect();
        if !come.is_empty() {
            let words = format!(
                "The list of routers is filled by `acl sync`, and must have {} too.",
                come.join(", ")
            );
            session.say(&words);
        }
        return written;
    }
    written.retain(|it| now.contains(it) || !before.contains(it));
    for new in come {
        if !written.contains(new) {
            written.push(new.clone());
        }
    }
    written
}

/// The neighbours and nodes that are written.
fn partners(view: &View) -> Vec<String> {
    let mut partners = view.names(&key(&["bgp", "neighbours"]));
    let nodes = key(&["vrrp", "nodes"]);
    for name in view.names(&nodes) {
        partners.extend(view.texts(&nodes.below(&name).below("addresses")));
    }
    partners
}
