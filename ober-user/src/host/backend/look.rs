//! This storage server, as far as `backend-setup` needs to know it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    objects::{self, Link},
    setup::{Interface, Setup, Vip},
    text,
};
use crate::host::{
    Error, Host,
    object::{Object, State},
    parts::{
        OwnFile,
        sysctl::files::{self, Assignment},
    },
    platform::Platform,
    record::Record,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The value in force of each setting; `None`: the kernel has none of this name, or not yet.
    pub(super) live: BTreeMap<String, Option<String>>,
    /// What all files set, in their order; the last word holds.
    pub(super) assigned: Vec<Assignment>,
    pub(super) file: OwnFile,
    pub(super) home: State,
    pub(super) links: Vec<Link>,
    /// VIPs that this command put here before.
    pub(super) former: Vec<Vip>,
    /// The state of the module of each tunnel.
    pub(super) modules: BTreeMap<&'static str, State>,
    pub(super) systemd: bool,
    pub(super) unit_file: OwnFile,
    pub(super) unit: State,
}

pub async fn look<M: Platform>(
    host: &Host<M>,
    record: &Record,
    setup: &Setup,
) -> Result<Facts, Error> {
    let mut live = BTreeMap::new();
    for it in setup.settings() {
        let value = host.setting(&it.key)?;
        live.insert(it.key, value);
    }
    let modules = setup.tunnels().map(|it| it.module);
    let modules = modules.map(|it| (it, objects::module(host, it))).collect();
    let systemd = host.has_systemd();
    let unit = Object::Unit(text::UNIT.to_owned());
    Ok(Facts {
        live,
        assigned: files::look(&host.root)?,
        file: OwnFile::look(host, record, text::SETTINGS).await?,
        home: host
            .look(&Object::Directory(text::SETTINGS_HOME.into()))
            .await?,
        links: objects::links(host).await?,
        former: former(record),
        modules,
        systemd,
        unit_file: OwnFile::look(host, record, text::UNIT_FILE).await?,
        unit: if systemd {
            host.look(&unit).await?
        } else {
            State::Absent
        },
    })
}

fn former(record: &Record) -> Vec<Vip> {
    let there = State::value(objects::THERE);
    let ours = record.entries().iter().filter(|it| it.is_ours(&there));
    let vips = ours.filter_map(|it| match it.object {
        Object::Vip(vip) => Some(vip),
        _ => None,
    });
    vips.collect()
}

/// A route, in the words of `ip -json route show`.
#[derive(Debug, Deserialize)]
struct Route {
    dev: Option<String>,
}

/// The interface of the default route, which is taken when the operator names none.
pub async fn usual_interface<M: Platform>(host: &Host<M>) -> Option<Interface> {
    for family in ["-4", "-6"] {
        let said = host
            .ask(&["ip", "-json", family, "route", "show", "default"])
            .await;
        let routes: Vec<Route> = said
            .and_then(|it| serde_json::from_str(&it).ok())
            .unwrap_or_default();
        let found = routes.into_iter().find_map(|it| it.dev?.parse().ok());
        if found.is_some() {
            return found;
        }
    }
    None
}
