//! The configuration for the program: valid by construction. [`raw`] is the file as written; [`Config::load`] makes a valid
//! configuration of it or names the lines to correct.
//!
//! ```text
//! text/source (files, places in them) -> text/tree (parsed, text/env put in, merged) -> raw
//! raw -> assemble (judge collects every fault) with sections/ (a file for each section) -> Config
//! load       the whole way            location   the directories of an instance, even when its files have mistakes
//! paths      every file and directory of an instance
//! remarks    allowed but unwise       schema     the JSON schema        vip_port   every VIP and port of the services
//! known      which keys there are, by the schema
//! edit/      a text with other values, in which everything else stays as it was written
//! ```
//! It never writes a file, never asks the network and never starts a program.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::names::resolve::Resolve;

pub use self::{
    judge::LONGEST_PERIOD,
    known::{is_named_freely, unknown},
    load::base,
    location::Location,
    remarks::Remark,
    schema::schema,
    sections::{
        backend::{Backend, Balance, ProxyVersion, Timeouts, WhenFull},
        check::Check,
        limits::Limits,
        list::List,
        listener::{Access, Listener, Protocol},
        node::{ClusterKey, Fragments, Node, Steer, VipInterface, XdpMode},
        route::{Names, Route, UnknownName},
        rules::Rule,
        service::{ClientTimeouts, Service},
        throttle::Throttle,
        workers::Workers,
    },
    text::{
        env::Env,
        error::{Error, Excerpt, Problem, Report},
        files::{File, Texts, fingerprint, further},
        keys::{Difference, Keys, without_secrets},
        notation::{Rate, period},
        source::secret as is_secret_line,
    },
    vip_port::VipListener,
};

mod assemble;
pub mod edit;
mod judge;
mod known;
mod load;
mod location;
pub mod paths;
mod raw;
mod remarks;
mod schema;
pub mod sections;
pub mod text;
mod vip_port;

#[cfg(test)]
pub(crate) mod tests;

/// The main file, unless a command names another one.
pub const MAIN: &str = "/etc/ober/ober.toml";
/// The list that `acl sync --frontend-http` fills. Always exists.
pub const FRONTEND_HTTP: &str = "frontend-http";
/// The list that `acl sync --routers` fills. Always exists.
pub const ROUTERS: &str = "routers";

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub node: Node,
    pub workers: Workers,
    pub limits: Limits,
    pub resolve: Resolve,
    /// Access lists by name.
    pub lists: BTreeMap<String, List>,
    pub services: Vec<Service>,
    pub backends: BTreeMap<String, Backend>,
    pub gate: sections::gate::Gate,
    /// VIPs without a VRRP instance are announced to these neighbours; `None`: to none.
    pub bgp: Option<crate::protocols::bgp::configured::Bgp>,
    pub bfd: sections::bfd::Bfd,
    pub vrrp: Option<crate::protocols::vrrp::configured::Vrrp>,
    /// The authority that issues the certificates of listeners with `acme`.
    pub acme: Option<sections::acme::Acme>,
    /// This configuration was in force before and comes back: an unreadable certificate or key disables only what depends on
    /// it.
    pub forgiving: bool,
}

impl Config {
    /// The VIPs of all services, each once, without those that VRRP moves.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        let mut vips: BTreeSet<IpAddr> = self
            .services
            .iter()
            .flat_map(|service| &service.vips)
            .copied()
            .collect();
        for moving in self
            .vrrp
            .iter()
            .flat_map(crate::protocols::vrrp::configured::Vrrp::vips)
        {
            vips.remove(&moving);
        }
        vips.into_iter()
    }
}
