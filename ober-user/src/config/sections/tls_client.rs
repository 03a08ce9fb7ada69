//! TLS as a client of the daemon: keys that checks and sources share.

use schemars::JsonSchema;
use serde::Deserialize;

use super::tls::{Authorities, ToServers};
use crate::{
    config::{
        judge::Judge,
        text::{notation::Key, source::Fault},
    },
    system::{
        file::Kind,
        tls::{Tls, Verify},
    },
};

impl From<&ToServers> for Tls {
    /// The same settings as HAProxy uses for the servers of a backend.
    fn from(servers: &ToServers) -> Self {
        Self {
            verify: match &servers.verify {
                None => Verify::None,
                Some(Authorities::System) => Verify::System,
                Some(Authorities::File(path) | Authorities::Missing(path)) => {
                    Verify::Authority(path.clone())
                }
            },
            name: servers.server_name.clone(),
            identity: servers.certificate.clone(),
        }
    }
}

/// As written, among the other keys of a table.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Tls")]
pub(super) struct Raw {
    /// `false`: any certificate will do.
    pub(super) verify: Key<bool>,
    /// PEM file of the authorities to trust; left out: those of the system.
    pub(super) ca: Key<String>,
    /// The name to ask for and to verify; left out: the server's own.
    pub(super) name: Key<String>,
    /// PEM file with the certificate and key to show when asked for one.
    pub(super) certificate: Key<String>,
}

impl Judge<'_> {
    pub(super) fn tls(&mut self, raw: Raw) -> Tls {
        let verify = match (raw.verify.or(true), raw.ca.0) {
            (true, None) => Verify::System,
            (true, Some(at)) => Verify::Authority(self.existing("ca", at, Kind::Authorities)),
            (false, None) => Verify::None,
            (false, Some(at)) => {
                let message = "`ca` has no effect with `verify = false`";
                let help = "remove it, or `verify = false`";
                self.refuse(Fault::new(at.span, message).help(help));
                Verify::None
            }
        };
        Tls {
            verify,
            name: raw.name.0.map(|at| at.value),
            identity: raw
                .certificate
                .0
                .map(|at| self.existing("certificate", at, Kind::Certificate)),
        }
    }
}
