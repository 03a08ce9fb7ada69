//! The backend that a connection or request goes to.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{
    judge::Judge,
    text::{
        notation::{At, Key},
        source::{Fault, Span},
    },
};

/// Applies when every condition holds; a condition with several values holds for any of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// A key of [`crate::config::Config::backends`].
    pub backend: String,
    pub vips: Vec<IpAddr>,
    pub sni: Names,
    pub hosts: Names,
    /// Prefixes of paths.
    pub paths: Vec<String>,
}

/// Host names, compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub exact: Vec<String>,
    /// `.example.com`: every name with this ending.
    pub below: Vec<String>,
    /// Regular expressions of HAProxy (PCRE), not anchored.
    pub patterns: Vec<String>,
}

impl Names {
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty() && self.patterns.is_empty()
    }

    /// Adds a host; with a leading `*.`, all hosts below it.
    pub(super) fn add(&mut self, written: &str) {
        let name = written.to_ascii_lowercase();
        match name.strip_prefix('*') {
            Some(below) => self.below.push(below.to_owned()),
            None => self.exact.push(name),
        }
    }
}

/// What happens to a client that asks for a name no route has, or for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Stranger")]
pub enum UnknownName {
    /// It goes to the service's own backend.
    #[default]
    Default,
    /// To any server of any of the service's backends.
    Any,
    /// Its connection is closed, its request answered with 421.
    Reject,
}

/// A way to a backend.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Route")]
pub(crate) struct Raw {
    /// One of `backends`. Must be written.
    pub(super) backend: Key<String>,
    /// Some of the service's VIPs.
    #[serde(deserialize_with = "crate::config::text::notation::addresses")]
    vips: Vec<At<IpAddr>>,
    /// Names in SNI: `s3.example.com`, or `*.example.com` for every name below.
    sni: Vec<At<String>>,
    /// Regular expressions for names in SNI, not anchored.
    sni_patterns: Vec<At<String>>,
    /// Names in the Host header, as in `sni`.
    hosts: Vec<At<String>>,
    /// Regular expressions for the Host header, not anchored.
    host_patterns: Vec<At<String>>,
    /// Beginnings of paths.
    paths: Vec<At<String>>,
}

/// What the listeners of a service can read of a client.
#[derive(Clone, Copy)]
pub(super) struct Visibility {
    /// Some listener reads requests.
    pub(super) http: bool,
    /// Some listener reads the name in SNI.
    pub(super) tls: bool,
}

/// Could it be a name in the DNS?
pub(super) fn is_host_name(text: &str) -> bool {
    let good = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
    let edges = text.starts_with('.') || text.ends_with('.');
    !text.is_empty() && !edges && text.len() <= 253 && text.bytes().all(good)
}

impl Judge<'_> {
    /// The conditions of one route; the caller checks its backend.
    pub(super) fn route(
        &mut self,
        raw: Raw,
        span: Span,
        backend: String,
        vips: &[IpAddr],
        sight: Visibility,
    ) -> Route {
        let first = |written: &[At<String>]| written.first().map(|at| at.span.clone());
        let by_sni = first(&raw.sni).or(first(&raw.sni_patterns));
        let by_request = first(&raw.hosts)
            .or(first(&raw.host_patterns))
            .or(first(&raw.paths));
        if let Some(span) = by_sni.clone().filter(|_| !sight.tls) {
            let message = "no listener of this service speaks TLS, so there is no name in SNI";
            self.refuse(Fault::new(span, message).help("add one, or route by `hosts`"));
        }
        if let Some(span) = by_request.clone().filter(|_| !sight.http) {
            let message = "no listener of this service reads HTTP, so there is no host and no path";
            let help = "use `protocol = \"https\"`, or route by `sni`";
            self.refuse(Fault::new(span, message).help(help));
        }
        if by_sni.is_none() && by_request.is_none() && raw.vips.is_empty() {
            let help =
                "write `vips`, `sni`, `hosts` or `paths`; the rest goes to the service's `backend`";
            self.refuse(Fault::new(span, "a route without a condition").help(help));
        }
        Route {
            backend,
            vips: raw
                .vips
                .into_iter()
                .map(|at| self.own_vip(at, vips))
                .collect(),
            sni: self.names(raw.sni, raw.sni_patterns),
            hosts: self.names(raw.hosts, raw.host_patterns),
            paths: raw
                .paths
                .into_iter()
                .map(|at| self.path_prefix(at))
                .collect(),
        }
    }

    fn own_vip(&mut self, at: At<IpAddr>, vips: &[IpAddr]) -> IpAddr {
        if !vips.contains(&at.value) {
            let message = format!("{} is no VIP of this service", at.value);
            self.refuse(Fault::new(at.span, message).help("add it to the service's `vips`"));
        }
        at.value
    }

    fn names(&mut self, written: Vec<At<String>>, patterns: Vec<At<String>>) -> Names {
        let mut names = Names::default();
        for At { value, span } in written {
            let (what, name) = match value.strip_prefix("*.") {
                Some(rest) => ("a name below `*.`", rest.to_owned()),
                None => ("a name", value.clone()),
            };
            self.host_name(what, At { value: name, span });
            names.add(&value);
        }
        for At { value, span } in patterns {
            if value.is_empty() || value.chars().any(char::is_control) {
                let message = "an expression that is empty or holds control characters";
                self.refuse(Fault::new(span, message).help("write one such as \"^s3[.]\""));
            }
            names.patterns.push(value);
        }
        names
    }

    /// A host name in lower case.
    pub(super) fn host_name(&mut self, what: &str, at: At<String>) -> String {
        if !is_host_name(&at.value) {
            let message = format!("{what} is `{}`, which is no host name", at.value);
            let help = "such as \"s3.example.com\"; for several, \"*.example.com\" or a pattern";
            self.refuse(Fault::new(at.span, message).help(help));
        }
        at.value.to_ascii_lowercase()
    }

    fn path_prefix(&mut self, at: At<String>) -> String {
        if !super::check::url_path(&at.value) {
            let message = format!("`{}` is no beginning of a path", at.value);
            self.refuse(Fault::new(at.span, message).help("such as \"/bucket/\", in URL letters"));
        }
        at.value
    }
}
