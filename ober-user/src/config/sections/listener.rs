//! `[[services.listeners]]`: the protocol of a port, and which clients it admits.

use std::{collections::BTreeMap, num::NonZeroU16, time::Duration};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    rules::{Closed, Rule},
    tls::Termination,
};
use crate::{
    config::{
        List,
        judge::Judge,
        text::{
            notation::{At, Key, Period},
            source::{Fault, Span},
        },
    },
    names::notation,
};

/// The value of `access` that is not a list.
pub(super) const OPEN: &str = "open";

/// A port on every VIP of the service.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Listener")]
pub(crate) struct Raw {
    /// TCP port. Must be written.
    port: Key<NonZeroU16>,
    /// The protocol; left out: https with a certificate, http without.
    protocol: Key<super::listener::Word>,
    /// PEM file of chain and key, or a directory of them, for https and tls.
    certificate: Key<String>,
    /// More of them, chosen by the name a client asks for; the first of all is for every other name.
    certificates: Vec<At<String>>,
    /// Names for which a certificate is obtained from the authority in `[acme]`, and renewed.
    acme: Vec<At<String>>,
    /// `"open"` or the name of a list. Must be written for http and tcp, unless `rules` apply to all clients.
    access: Key<String>,
    /// Access rules, in order: `"allow 192.0.2.0/24"`, `"deny all"`; for HTTP also `path=/PREFIX` and `method=A,B`.
    rules: Vec<At<String>>,
    /// Addresses and prefixes of proxies that begin every connection with the PROXY protocol, version 1 or 2.
    proxy_from: Vec<At<String>>,
    /// Send every request to the service's https listener.
    redirect_https: Key<bool>,
    /// For how long browsers are told to use HTTPS alone.
    hsts: Key<Period>,
    tls: Option<At<super::tls::Raw>>,
}

/// A port on every VIP of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub port: NonZeroU16,
    pub protocol: Protocol,
    pub access: Access,
    /// The rules left to HAProxy; those that the XDP program decides are in `access`.
    pub rules: Vec<Rule>,
    /// Proxies that begin every connection with the PROXY protocol.
    pub proxy_from: Vec<IpNet>,
}

/// The protocol of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http {
        /// The port of the https listener that every request is redirected to.
        redirect: Option<NonZeroU16>,
    },
    /// HTTP in TLS, which the worker terminates.
    Https {
        tls: Termination,
        /// How long browsers shall use HTTPS only; `None`: no such header.
        hsts: Option<Duration>,
    },
    /// Bytes, not read.
    Tcp,
    /// Bytes in TLS, which the worker terminates.
    Tls(Termination),
    /// TLS that the server terminates; the worker reads the name in SNI alone.
    Passthrough,
}

impl Protocol {
    /// TLS that the worker terminates.
    pub fn termination(&self) -> Option<&Termination> {
        match self {
            Self::Https { tls, .. } | Self::Tls(tls) => Some(tls),
            Self::Http { .. } | Self::Tcp | Self::Passthrough => None,
        }
    }

    /// May clients use HTTP/2?
    pub fn offers_h2(&self) -> bool {
        matches!(self, Self::Https { tls, .. } if tls.offers_h2())
    }

    /// Does the worker read requests, not only bytes?
    pub fn is_http(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Https { .. })
    }

    /// Does the worker read the name in SNI?
    pub fn has_sni(&self) -> bool {
        matches!(self, Self::Https { .. } | Self::Tls(_) | Self::Passthrough)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    Open,
    /// Only the clients on this list, a key of [`crate::config::Config::lists`].
    List(String),
}

/// The protocol on a port, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Protocol")]
pub(crate) enum Word {
    Http,
    Https,
    Tcp,
    Tls,
    TlsPassthrough,
}

/// The settings from which a listener's protocol is made.
struct Spoken {
    word: Word,
    certificates: Vec<At<String>>,
    acme: Vec<At<String>>,
    tls: Option<At<super::tls::Raw>>,
    redirect: Key<bool>,
    hsts: Key<Period>,
}

impl Judge<'_> {
    pub(super) fn listeners(
        &mut self,
        name: &str,
        written: Vec<At<Raw>>,
        service: &Span,
        lists: &mut BTreeMap<String, List>,
    ) -> Vec<At<Listener>> {
        if written.is_empty() {
            let message = format!("service `{name}` has no listener");
            let help = "add `[[services.listeners]]` with `port = 443` and `certificate = \"...\"`";
            self.refuse(Fault::new(service.clone(), message).help(help));
        }
        let secure = https_port(&written);
        let listeners = written
            .into_iter()
            .filter_map(|At { value, span }| self.listener(name, value, span, secure, lists));
        listeners.collect()
    }

    fn listener(
        &mut self,
        name: &str,
        raw: Raw,
        span: Span,
        secure: Option<NonZeroU16>,
        lists: &mut BTreeMap<String, List>,
    ) -> Option<At<Listener>> {
        let word = protocol(&raw);
        let spoken = Spoken {
            word,
            certificates: raw
                .certificate
                .0
                .into_iter()
                .chain(raw.certificates)
                .collect(),
            acme: raw.acme,
            tls: raw.tls,
            redirect: raw.redirect_https,
            hsts: raw.hsts,
        };
        let protocol = self.protocol(name, spoken, &span, secure);
        let (rules, closed) = self.rules(raw.rules, protocol.is_http());
        let proxy_from: Vec<IpNet> = raw.proxy_from.into_iter().map(|at| self.net(at)).collect();
        let access = self.access(name, raw.access, word, closed, &span, lists);
        let Some(At { value: port, span }) = raw.port.0 else {
            let message = format!("a listener of service `{name}` without `port`");
            self.refuse(Fault::new(span, message));
            return None;
        };
        let value = Listener {
            port,
            protocol,
            access,
            rules,
            proxy_from,
        };
        Some(At {
            value: value.compiled(name, lists),
            span,
        })
    }

    fn protocol(
        &mut self,
        name: &str,
        spoken: Spoken,
        listener: &Span,
        secure: Option<NonZeroU16>,
    ) -> Protocol {
        let Spoken {
            word,
            certificates,
            acme,
            tls,
            redirect,
            hsts,
        } = spoken;
        let ends = matches!(word, Word::Https | Word::Tls);
        self.only(word == Word::Http, &redirect, "redirect_https", "http");
        self.only(word == Word::Https, &hsts, "hsts", "https");
        let own = Key(certificates.first().or(acme.first()).cloned());
        self.only(ends, &own, "certificate", "https and tls");
        if let Some(at) = tls.as_ref().filter(|_| !ends) {
            let message = "`tls` on a listener whose TLS does not end here";
            self.refuse(
                Fault::new(at.span.clone(), message).help("remove it, or add `certificate`"),
            );
        }
        let tls = tls.map(|at| at.value).unwrap_or_default();
        match word {
            Word::Http => Protocol::Http {
                redirect: self.redirect(redirect, secure),
            },
            Word::Tcp => Protocol::Tcp,
            Word::TlsPassthrough => Protocol::Passthrough,
            Word::Https | Word::Tls => {
                if own.0.is_none() {
                    let message = format!(
                        "a listener of service `{name}` that ends TLS without `certificate`"
                    );
                    let help =
                        "name a PEM file of chain and key, or use `protocol = \"tls-passthrough\"`";
                    self.refuse(Fault::new(listener.clone(), message).help(help));
                    return Protocol::Tcp;
                }
                let tls = self.termination(certificates, acme, tls, word == Word::Https);
                if word == Word::Tls {
                    return Protocol::Tls(tls);
                }
                // HAProxy only copies it into a header, so its limit on times does not apply.
                let hsts = hsts.0.map(|at| at.value.0);
                Protocol::Https { tls, hsts }
            }
        }
    }

    /// Refuses a key that only some protocols have.
    fn only<T>(&mut self, has: bool, key: &Key<T>, name: &str, protocols: &str) {
        if let (false, Some(span)) = (has, key.span()) {
            let message = format!("`{name}` is for listeners of protocol {protocols}");
            self.refuse(Fault::new(span, message).help("remove it, or write another `protocol`"));
        }
    }

    fn redirect(&mut self, key: Key<bool>, secure: Option<NonZeroU16>) -> Option<NonZeroU16> {
        let at = key.0.filter(|at| at.value)?;
        if secure.is_none() {
            let message = "`redirect_https`, and the service has no https listener to send to";
            self.refuse(Fault::new(at.span, message).help("add one with a `certificate`"));
        }
        secure
    }

    fn net(&mut self, at: At<String>) -> IpNet {
        notation::network(&at.value).unwrap_or_else(|miss| {
            let fault = Fault::new(at.span, format!("`proxy_from`: {miss}"));
            self.refuse(fault.help("such as \"192.0.2.1\" or \"192.0.2.0/24\""));
            IpNet::V4(ipnet::Ipv4Net::default())
        })
    }

    /// A TLS listener is open by default; a plain one must state its access.
    fn access(
        &mut self,
        name: &str,
        key: Key<String>,
        word: Word,
        closed: Closed,
        listener: &Span,
        lists: &BTreeMap<String, List>,
    ) -> Access {
        match key.0 {
            Some(at) if at.value == OPEN => Access::Open,
            Some(at) => Access::List(self.list(at, lists)),
            None => {
                let plain = matches!(word, Word::Http | Word::Tcp);
                if plain && closed == Closed::No {
                    let message = format!(
                        "a listener of service `{name}` has no certificate, so it must say its `access`"
                    );
                    let help = "write `access = \"frontend-http\"` for listed clients only, or `access = \"open\"`";
                    self.refuse(Fault::new(listener.clone(), message).help(help));
                }
                Access::Open
            }
        }
    }
}

impl Listener {
    /// Moves to the XDP program the rules that it can decide. It sees the source address of packets alone, so not the client of
    /// a proxy with the PROXY protocol; and its lists are limited in number.
    fn compiled(mut self, service: &str, lists: &mut BTreeMap<String, List>) -> Self {
        let takes = self.access == Access::Open
            && self.proxy_from.is_empty()
            && lists.len() < ober_common::abi::LISTS as usize;
        let Some(admitted) = super::rules::admitted(&self.rules).filter(|_| takes) else {
            return self;
        };
        let sources = admitted.iter().map(ToString::to_string).collect();
        // Configured lists cannot have a `:` in their names.
        let list = format!("{service}:{}", self.port);
        lists.insert(list.clone(), List { sources });
        self.access = Access::List(list);
        if self.rules.iter().all(Rule::by_address) {
            self.rules.clear();
        }
        self
    }
}

fn protocol(raw: &Raw) -> Word {
    let plain = raw.certificate.0.is_none() && raw.certificates.is_empty() && raw.acme.is_empty();
    let guess = if plain { Word::Http } else { Word::Https };
    raw.protocol.0.as_ref().map_or(guess, |at| at.value)
}

/// The port of the service's first https listener.
fn https_port(written: &[At<Raw>]) -> Option<NonZeroU16> {
    let secure = written.iter().find(|at| protocol(&at.value) == Word::Https);
    secure
        .and_then(|at| at.value.port.0.as_ref())
        .map(|at| at.value)
}
