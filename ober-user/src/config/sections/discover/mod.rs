//! The tables `[[backends.NAME.discover]]`: sources of servers that are not in the configuration. This file: the valid form;
//! `raw`: the written one.
//!
//! It never asks a source: `backends/discover` does.

mod raw;

use std::{fmt, net::SocketAddr, num::NonZeroU16, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::raw::Raw;
use super::check::Pattern;
use crate::{
    names::server_line::Found,
    system::{command::Program, tls::Tls, url::Url},
};

/// A source of servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Discover {
    pub kind: Kind,
    /// Port of servers for which the source names none.
    pub port: NonZeroU16,
    /// Pause between two requests; zero: ask until there is an answer, and then stop.
    pub interval: Duration,
    /// Time limit of one answer.
    pub timeout: Duration,
    pub failure: FailPolicy,
}

impl Discover {
    /// The name of the source, which stays the same while it asks for the same thing.
    pub fn name(&self) -> String {
        let about = match &self.kind {
            Kind::Static(found) => found
                .first()
                .map(|first| first.host().to_string())
                .unwrap_or_default(),
            Kind::Hostlist(expressions) => expressions.join(","),
            Kind::Dns { name, .. } | Kind::Srv { name, .. } => name.clone(),
            Kind::Docker(docker) => {
                format!("{} {}", docker.at, docker.label.as_deref().unwrap_or("*"))
            }
            Kind::Json(json) => json.at.to_string(),
            Kind::Exec(program) => program.path.display().to_string(),
            Kind::Plaintext { at, .. } => at.to_string(),
            Kind::Consul(consul) => consul.service.clone(),
        };
        format!("{} {about}", self.kind.name())
    }
}

/// What happens to the servers a source named before when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailPolicy {
    /// They stay.
    #[default]
    KeepLast,
    /// They go.
    SetEmpty,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Static(Vec<Found>),
    Hostlist(Vec<String>),
    Dns { name: String, ask: Ask },
    Srv { name: String, ask: Ask },
    Docker(Docker),
    Json(Json),
    Exec(Program),
    Plaintext { at: Url, tls: Tls, pattern: Pattern },
    Consul(Consul),
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Static(_) => "static",
            Self::Hostlist(_) => "hostlist",
            Self::Dns { .. } => "dns",
            Self::Srv { .. } => "srv",
            Self::Docker(_) => "docker",
            Self::Json(_) => "json",
            Self::Exec(_) => "exec",
            Self::Plaintext { .. } => "plaintext",
            Self::Consul(_) => "consul",
        }
    }
}

/// How to ask the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The name server; `None`: those in /etc/resolv.conf.
    pub server: Option<SocketAddr>,
    /// TCP from the start; otherwise TCP only for answers that do not fit into UDP.
    pub tcp: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Docker {
    pub at: Url,
    pub tls: Tls,
    /// `key` or `key=value`.
    pub label: Option<String>,
    /// The port inside the container.
    pub private: NonZeroU16,
    /// Use the container's own address instead of the published one.
    pub inside: bool,
}

/// Where the servers are in a JSON document: pointers of RFC 6901.
#[derive(Clone, Debug, PartialEq)]
pub struct Json {
    pub at: Url,
    pub tls: Tls,
    /// Pointer to the array.
    pub items: String,
    /// Pointer to the host within an item.
    pub host: String,
    pub port: String,
    pub weight: String,
    pub tier: String,
    pub name: String,
}

#[derive(Clone, PartialEq)]
pub struct Consul {
    pub at: Url,
    pub tls: Tls,
    pub service: String,
    pub tag: Option<String>,
    pub datacenter: Option<String>,
    /// Only instances whose own checks pass.
    pub passing: bool,
    pub token: Option<String>,
    /// How long the agent may hold a request until something changes.
    pub wait: Duration,
}

impl fmt::Debug for Consul {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Consul({} at {})", self.service, self.at)
    }
}
