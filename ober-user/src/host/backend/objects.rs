//! Addresses, links, modules and units: looking at them, and giving them a state.

use std::{net::IpAddr, path::Path};

use serde::Deserialize;

use super::{setup::Vip, text};
use crate::host::{Error, Host, object::State, platform::Platform};

/// States of what is there or not.
pub(super) const THERE: &str = "there";
pub(super) const LOADED: &str = "loaded";
pub(super) const UP: &str = "up";
pub(super) const DOWN: &str = "down";
pub(super) const ENABLED: &str = "enabled";
pub(super) const NOT_ENABLED: &str = "not enabled";

/// An interface, in the words of `ip -json address show`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Link {
    #[serde(rename = "ifname")]
    pub(super) name: String,
    #[serde(default)]
    flags: Vec<String>,
    /// What the kernel calls its kind.
    #[serde(default, rename = "link_type")]
    kind: String,
    #[serde(default, rename = "addr_info")]
    addresses: Vec<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Address {
    local: Option<IpAddr>,
    #[serde(rename = "prefixlen")]
    length: u8,
}

impl Link {
    pub(super) fn has(&self, vip: Vip) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|it| it.local == Some(vip.address()))
    }

    pub(super) fn state(&self) -> State {
        let up = self.flags.iter().any(|it| it == "UP");
        State::value(if up { UP } else { DOWN })
    }
}

const LINKS: [&str; 4] = ["ip", "-json", "address", "show"];

pub(super) async fn links<M: Platform>(host: &Host<M>) -> Result<Vec<Link>, Error> {
    let said = host.order(&LINKS).await?;
    serde_json::from_str(&said).map_err(|error| Error::Command {
        command: LINKS.join(" "),
        why: format!("its answer cannot be read: {error}"),
    })
}

pub(super) fn vip_of(links: &[Link], vip: Vip) -> State {
    let link = links.iter().filter(|it| it.name == text::LINK);
    let mut addresses = link.flat_map(|it| &it.addresses);
    let there = addresses.find(|it| it.local == Some(vip.address()));
    let whole = if vip.address().is_ipv4() { 32 } else { 128 };
    match there {
        Some(address) if address.length == whole => State::value(THERE),
        Some(address) => State::Other(format!("a network of /{}", address.length)),
        None => State::Absent,
    }
}

/// Other interfaces of the module, which would go with it.
pub(crate) async fn others_of<M: Platform>(
    host: &Host<M>,
    module: &str,
) -> Result<Vec<String>, Error> {
    let (kind, own) = match module {
        "ipip" => ("ipip", "tunl0"),
        "ip6_tunnel" => ("tunnel6", "ip6tnl0"),
        _ => return Ok(Vec::new()),
    };
    let all = links(host).await?.into_iter();
    let others = all.filter(|it| it.kind == kind && it.name != own);
    Ok(others.map(|it| it.name).collect())
}

pub(super) fn link_of(links: &[Link], name: &str) -> State {
    let found = links.iter().find(|it| it.name == name);
    found.map_or(State::Absent, Link::state)
}

pub(crate) async fn vip<M: Platform>(host: &Host<M>, vip: Vip) -> Result<State, Error> {
    Ok(vip_of(&links(host).await?, vip))
}

pub(crate) async fn link<M: Platform>(host: &Host<M>, name: &str) -> Result<State, Error> {
    Ok(link_of(&links(host).await?, name))
}

pub(crate) fn module<M: Platform>(host: &Host<M>, name: &str) -> State {
    if host.machine.exists(&format!("/sys/module/{name}")) {
        State::value(LOADED)
    } else {
        State::Absent
    }
}

pub(crate) async fn unit<M: Platform>(host: &Host<M>, name: &str) -> State {
    // It ends with a failure for one that is not enabled, and says which of several ways that is.
    let said = host.ask(&["systemctl", "is-enabled", name]).await;
    let enabled = said.is_some_and(|it| it == ENABLED);
    State::value(if enabled { ENABLED } else { NOT_ENABLED })
}

pub(crate) async fn put_vip<M: Platform>(
    host: &Host<M>,
    vip: Vip,
    state: &State,
) -> Result<(), Error> {
    let name = vip.to_string();
    if state.is_absent() {
        let words = ["ip", "address", "del", &name, "dev", text::LINK];
        return host.order(&words).await.map(drop);
    }
    let mut words = vec!["ip", "address", "add"];
    words.extend(text::address(&name, vip.address().is_ipv6()));
    host.order(&words).await.map(drop)
}

pub(crate) async fn put_link<M: Platform>(
    host: &Host<M>,
    name: &str,
    to: &str,
) -> Result<(), Error> {
    host.order(&["ip", "link", "set", name, to]).await.map(drop)
}

pub(crate) async fn put_module<M: Platform>(
    host: &Host<M>,
    name: &str,
    state: &State,
) -> Result<(), Error> {
    let words = if state.is_absent() {
        vec!["modprobe", "--remove", name]
    } else {
        vec!["modprobe", name]
    };
    host.order(&words).await.map(drop)
}

/// A unit that is enabled is started too, and one that is not is stopped: what starts at the next start of the machine is proven
/// to start now.
pub(crate) async fn put_unit<M: Platform>(
    host: &Host<M>,
    name: &str,
    state: &State,
) -> Result<(), Error> {
    let enabled = *state == State::value(ENABLED);
    let verb = if enabled { "enable" } else { "disable" };
    let words = ["systemctl", verb, "--now", name];
    host.order(&words).await.map(drop)
}

/// Has systemd read its units again, if that file is one.
pub(crate) async fn read_again<M: Platform>(host: &Host<M>, file: &Path) -> Result<(), Error> {
    let is_unit = file == Path::new(text::UNIT_FILE);
    if !is_unit || !host.machine.is_running() || !host.has_systemd() {
        return Ok(());
    }
    host.order(&["systemctl", "daemon-reload"]).await.map(drop)
}
