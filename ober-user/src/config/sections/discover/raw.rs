//! The tables as written, and their conversion.

use std::{collections::BTreeSet, net::SocketAddr, num::NonZeroU16, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::{check::Pattern, program, tls_client},
    Ask, Consul, Discover, Docker, FailPolicy, Json, Kind,
};
use crate::{
    config::{
        judge::Judge,
        text::{
            error::suggestion,
            notation::{At, Key, Period, Secret},
            source::{Fault, Span},
        },
    },
    names::{
        resolve::dns::read_name,
        server_line::{Found, line},
    },
    system::url::{Endpoint, Url},
};

const SECOND: Duration = Duration::from_secs(1);
/// The groups that a pattern may have; the first is required.
const GROUPS: [&str; 5] = ["host", "port", "weight", "tier", "name"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "DiscoverKind")]
enum Kinds {
    Static,
    Hostlist,
    Dns,
    Srv,
    Docker,
    Json,
    Exec,
    Plaintext,
    Consul,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Udp,
    Tcp,
}

/// A source of servers. Servers that several sources name are one, and stay until all have dropped them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Discover")]
pub(crate) struct Raw {
    /// Kind of the source. Must be written.
    kind: Key<Kinds>,
    /// `static`: lines `host:port [weight=1] [tier=0] [max_connections=50] [name=...]`. `hostlist`: hostlist expressions.
    servers: Vec<At<String>>,
    /// `dns`, `srv`: the name to ask for.
    lookup: Key<String>,
    /// `dns`, `srv`: address and port of the name server; left out: those in /etc/resolv.conf.
    nameserver: Key<SocketAddr>,
    /// `dns`, `srv`: `tcp` from the start, or `udp` and `tcp` for what does not fit.
    transport: Key<Transport>,
    /// `docker`, `json`, `plaintext`, `consul`: the URL to ask, `http://...`, `https://...` or `unix:///...`.
    url: Key<String>,
    /// How TLS is spoken with an `https` URL.
    tls: Option<At<tls_client::Raw>>,
    /// `docker`: only containers with this label, `key` or `key=value`.
    label: Key<String>,
    /// `docker`: the container's own address instead of the published one.
    inside: Key<bool>,
    /// `json`: JSON pointer to the array of servers.
    items: Key<String>,
    /// `json`: pointer to the host in an item.
    host: Key<String>,
    /// `json`: pointer to the port.
    port_at: Key<String>,
    /// `json`: pointer to the weight.
    weight: Key<String>,
    /// `json`: pointer to the tier.
    tier: Key<String>,
    /// `json`: pointer to the host name for TLS.
    name: Key<String>,
    /// `exec`: program and arguments. It writes lines as `static` has them.
    command: Vec<At<String>>,
    /// `exec`: the account that runs the program; the default is the account `nobody`.
    user: Key<String>,
    /// `exec`: a file whose content it gets, not readable by every account.
    secret_file: Key<String>,
    /// `plaintext`: a regular expression with the groups `host` and `port`, and maybe `weight`, `tier` and `name`.
    pattern: Key<String>,
    /// `consul`: name of the service.
    service: Key<String>,
    /// `consul`: only instances with this tag.
    tag: Key<String>,
    /// `consul`: another datacenter than the agent's.
    datacenter: Key<String>,
    /// `consul`: only instances whose checks pass.
    passing: Key<bool>,
    /// `consul`: the ACL token, as `"${NAME}"`.
    token: Key<Secret>,
    /// `consul`: how long the agent may hold a question until something changes.
    wait: Key<Period>,
    /// Port of servers whose source names none; with `docker` the port inside the container. Left out: the backend's.
    port: Key<NonZeroU16>,
    /// Pause between two questions; `"0"`: only until the first answer.
    interval: Key<Period>,
    /// Time one answer may take.
    timeout: Key<Period>,
    /// When the source fails, its servers stay (`keeplast`) or go (`setempty`).
    failpolicy: Key<FailPolicy>,
}

impl Raw {
    /// Keys that only some kinds have, with these kinds.
    fn particular(&self) -> [(&'static str, Option<Span>, &'static [Kinds]); 21] {
        use Kinds::{Consul, Dns, Docker, Exec, Hostlist, Json, Plaintext, Srv, Static};
        let first = |list: &[At<String>]| list.first().map(|at| at.span.clone());
        let web: &[Kinds] = &[Docker, Json, Plaintext, Consul];
        [
            ("servers", first(&self.servers), &[Static, Hostlist]),
            ("lookup", self.lookup.span(), &[Dns, Srv]),
            ("nameserver", self.nameserver.span(), &[Dns, Srv]),
            ("transport", self.transport.span(), &[Dns, Srv]),
            ("url", self.url.span(), web),
            ("tls", self.tls.as_ref().map(|at| at.span.clone()), web),
            ("label", self.label.span(), &[Docker]),
            ("inside", self.inside.span(), &[Docker]),
            ("items", self.items.span(), &[Json]),
            ("host", self.host.span(), &[Json]),
            ("port_at", self.port_at.span(), &[Json]),
            ("weight", self.weight.span(), &[Json]),
            ("tier", self.tier.span(), &[Json]),
            ("name", self.name.span(), &[Json]),
            ("command", first(&self.command), &[Exec]),
            ("user", self.user.span(), &[Exec]),
            ("secret_file", self.secret_file.span(), &[Exec]),
            ("pattern", self.pattern.span(), &[Plaintext]),
            ("service", self.service.span(), &[Consul]),
            ("tag", self.tag.span(), &[Consul]),
            ("wait", self.wait.span(), &[Consul]),
        ]
    }
}

impl Judge<'_> {
    pub(in crate::config) fn discover(
        &mut self,
        written: Vec<At<Raw>>,
        port: NonZeroU16,
        most: usize,
    ) -> Vec<Discover> {
        let mut names = BTreeSet::new();
        let mut sources = Vec::new();
        for At { value, span } in written {
            if let Some(source) = self.discovery(value, &span, port, most) {
                if !names.insert(source.name()) {
                    let message = format!("the source `{}` is written twice", source.name());
                    self.refuse(Fault::new(span, message));
                }
                sources.push(source);
            }
        }
        sources
    }

    fn discovery(
        &mut self,
        raw: Raw,
        span: &Span,
        port: NonZeroU16,
        most: usize,
    ) -> Option<Discover> {
        let Some(kind) = raw.kind.0.as_ref().map(|at| at.value) else {
            let message = "a source without `kind`";
            let help = "`static`, `hostlist`, `dns`, `srv`, `docker`, `json`, `exec`, `plaintext` or `consul`";
            self.refuse(Fault::new(span.clone(), message).help(help));
            return None;
        };
        for (name, place, kinds) in raw.particular() {
            if place.is_some() && !kinds.contains(&kind) {
                let word = |kind: &Kinds| format!("{kind:?}").to_lowercase();
                let message = format!("`{name}` is not for a source of kind `{}`", word(&kind));
                let for_whom: Vec<_> = kinds.iter().map(word).collect();
                let help = format!("remove it; it is for `{}`", for_whom.join("`, `"));
                self.refuse(Fault::new(place, message).help(help));
            }
        }
        Some(Discover {
            port: raw.port.clone().or(port),
            interval: self.period_or_none("interval", raw.interval.clone(), SECOND * 10),
            timeout: self.period("timeout", raw.timeout.clone(), SECOND * 5),
            failure: raw.failpolicy.clone().or(FailPolicy::KeepLast),
            kind: self.discovery_kind(kind, raw, span, port, most),
        })
    }

    fn discovery_kind(
        &mut self,
        kind: Kinds,
        raw: Raw,
        span: &Span,
        port: NonZeroU16,
        most: usize,
    ) -> Kind {
        match kind {
            Kinds::Static => Kind::Static(self.lines(raw.servers, raw.port.or(port))),
            Kinds::Hostlist => Kind::Hostlist(self.servers(raw.servers, raw.port.or(port), most)),
            Kinds::Dns => {
                let (name, ask) = self.lookup(raw, span);
                Kind::Dns { name, ask }
            }
            Kinds::Srv => {
                let (name, ask) = self.lookup(raw, span);
                Kind::Srv { name, ask }
            }
            Kinds::Docker => self.docker(raw, span, port),
            Kinds::Json => self.json(raw, span),
            Kinds::Exec => {
                let written = program::RawProgram {
                    command: raw.command,
                    user: raw.user,
                    secret_file: raw.secret_file,
                };
                Kind::Exec(self.program("a source", written, Some(span.clone())))
            }
            Kinds::Plaintext => self.plaintext(raw, span),
            Kinds::Consul => self.consul(raw, span),
        }
    }

    fn lines(&mut self, written: Vec<At<String>>, port: NonZeroU16) -> Vec<Found> {
        let mut found = Vec::new();
        for at in written {
            match line(&at.value, port) {
                Ok(server) => found.push(server),
                Err(why) => self.refuse(Fault::new(at.span, why.to_string())),
            }
        }
        found
    }

    /// The value of a required key.
    fn needed(&mut self, name: &str, key: Key<String>, span: &Span, example: &str) -> String {
        let Some(at) = key.0.filter(|at| !at.value.is_empty()) else {
            let message = format!("a source without `{name}`");
            self.refuse(
                Fault::new(span.clone(), message).help(format!("write `{name} = \"{example}\"`")),
            );
            return String::new();
        };
        at.value
    }

    fn lookup(&mut self, raw: Raw, span: &Span) -> (String, Ask) {
        let place = raw.lookup.span();
        let name = self.needed("lookup", raw.lookup, span, "_s3._tcp.example.net");
        // One that is missing was refused already.
        if !name.is_empty()
            && let Err(why) = read_name(&name)
        {
            self.refuse(Fault::new(place, why.to_string()));
        }
        let ask = Ask {
            server: raw.nameserver.0.map(|at| at.value),
            tcp: raw.transport.or(Transport::Udp) == Transport::Tcp,
        };
        (name, ask)
    }

    fn url(&mut self, key: Key<String>, span: &Span, default: Option<&str>) -> Url {
        let (place, nowhere) = (key.span(), Url::read("unix:///"));
        let text = match default {
            Some(default) => key.or(default.to_owned()),
            None => self.needed("url", key, span, "http://host:port/path"),
        };
        let url = Url::read(&text);
        if url.is_none() && !text.is_empty() {
            let message = format!("`url` is `{text}`");
            let help =
                "write http://host:port/path, https://host:port/path or unix:///path/to/socket";
            self.refuse(Fault::new(place, message).help(help));
        }
        url.or(nowhere).unwrap_or(Url {
            at: Endpoint::Unix("/".into()),
            path: "/".to_owned(),
        })
    }

    fn docker(&mut self, raw: Raw, span: &Span, port: NonZeroU16) -> Kind {
        let label = raw.label.0.map(|at| at.value);
        Kind::Docker(Docker {
            at: self.url(raw.url, span, Some("unix:///var/run/docker.sock")),
            tls: self.tls(raw.tls.map(|at| at.value).unwrap_or_default()),
            label,
            private: raw.port.or(port),
            inside: raw.inside.or(false),
        })
    }

    fn json(&mut self, raw: Raw, span: &Span) -> Kind {
        Kind::Json(Json {
            at: self.url(raw.url, span, None),
            tls: self.tls(raw.tls.map(|at| at.value).unwrap_or_default()),
            items: self.pointer("items", raw.items, ""),
            host: self.pointer("host", raw.host, "/host"),
            port: self.pointer("port_at", raw.port_at, "/port"),
            weight: self.pointer("weight", raw.weight, "/weight"),
            tier: self.pointer("tier", raw.tier, "/tier"),
            name: self.pointer("name", raw.name, "/name"),
        })
    }

    fn pointer(&mut self, name: &str, key: Key<String>, default: &str) -> String {
        if let Some(at) = key.0.as_ref()
            && !at.value.is_empty()
            && !at.value.starts_with('/')
        {
            let message = format!(
                "`{name}` is `{}`, but a JSON pointer begins with `/`",
                at.value
            );
            self.refuse(
                Fault::new(at.span.clone(), message)
                    .help(format!("write `/{}`", at.value.replace('.', "/"))),
            );
        }
        key.or(default.to_owned())
    }

    fn plaintext(&mut self, raw: Raw, span: &Span) -> Kind {
        let place = raw.pattern.span();
        let written = self.needed(
            "pattern",
            raw.pattern,
            span,
            "(?<host>[^:]+):(?<port>[0-9]+)",
        );
        let at = At {
            value: written,
            span: place.clone().unwrap_or_else(|| span.clone()),
        };
        let nothing = || {
            Pattern(
                regex::bytes::Regex::new("").unwrap_or_else(|_| unreachable!("the empty pattern")),
            )
        };
        let pattern = self.pattern("pattern", &at).unwrap_or_else(nothing);
        let named: Vec<_> = pattern.0.capture_names().flatten().collect();
        if place.is_some() && !named.contains(&"host") {
            let message = "`pattern` has no group `host`";
            self.refuse(Fault::new(place.clone(), message).help("write it as `(?<host>[^:]+)`"));
        }
        for name in named.iter().filter(|name| !GROUPS.contains(name)) {
            let help = suggestion(name, &GROUPS);
            self.refuse(
                Fault::new(
                    place.clone(),
                    format!("`pattern` has an unknown group `{name}`"),
                )
                .help(help),
            );
        }
        Kind::Plaintext {
            at: self.url(raw.url, span, None),
            tls: self.tls(raw.tls.map(|at| at.value).unwrap_or_default()),
            pattern,
        }
    }

    fn consul(&mut self, raw: Raw, span: &Span) -> Kind {
        if let Some(at) = raw.token.0.as_ref()
            && let Some(path) = self.sources.exposes(&at.span)
        {
            let message = format!(
                "the `token` is in {}, which every account may read",
                path.display()
            );
            let help = "`chmod 600` the file, or write \"${NAME}\" and set the variable";
            self.refuse(Fault::new(at.span.clone(), message).help(help));
        }
        Kind::Consul(Consul {
            at: self.url(raw.url, span, Some("http://127.0.0.1:8500")),
            tls: self.tls(raw.tls.map(|at| at.value).unwrap_or_default()),
            service: self.needed("service", raw.service, span, "s3"),
            tag: raw.tag.0.map(|at| at.value),
            datacenter: raw.datacenter.0.map(|at| at.value),
            passing: raw.passing.or(true),
            token: raw.token.0.map(|at| at.value.0),
            wait: self.period("wait", raw.wait, SECOND * 60),
        })
    }
}
