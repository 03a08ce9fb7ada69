//! The files as written: every key may be missing, none may be unknown. The comments here are the descriptions in
//! `config/ober.schema.json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{sections, text::notation::At};

/// Configuration of Herr Ober: the main file and those in `config.d` beside it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Herr Ober")]
pub(super) struct File {
    pub(super) node: sections::node::Raw,
    pub(super) workers: sections::workers::Raw,
    pub(super) limits: sections::limits::Raw,
    pub(super) resolve: sections::resolve::Raw,
    /// Access lists by name. `frontend-http` and `routers` always exist.
    pub(super) lists: BTreeMap<String, At<sections::list::Raw>>,
    /// What clients reach. Those of several files stand one after another.
    pub(super) services: Vec<At<sections::service::Raw>>,
    /// Groups of S3 servers by name.
    pub(super) backends: BTreeMap<String, At<sections::backend::Raw>>,
    /// When this node may attract traffic.
    pub(super) gate: sections::gate::Raw,
    /// Announce the VIPs to routers by BGP.
    pub(super) bgp: Option<At<sections::bgp::Raw>>,
    /// How fast BFD is.
    pub(super) bfd: sections::bfd::Raw,
    /// Share the VIPs among nodes by VRRP.
    pub(super) vrrp: Option<At<sections::vrrp::Raw>>,
    /// Have certificates issued by ACME.
    pub(super) acme: Option<At<sections::acme::Raw>>,
}
