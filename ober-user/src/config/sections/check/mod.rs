//! The section `[backends.NAME.check]`: how the daemon checks that a server works. This file: the valid form; `raw`: the
//! written one.
//!
//! It never asks a server: `backends/check` does.

mod raw;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU16,
    ops::RangeInclusive,
    time::Duration,
};

use regex::bytes::Regex;

pub(crate) use self::raw::Raw;
pub(super) use self::raw::{method, url_path};
use crate::{
    config::{Backend, Service},
    system::{command::Program, tls::Tls},
};

/// How the servers of a backend are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub kind: Kind,
    /// Port that is checked; `None`: the port that serves clients.
    pub port: Option<NonZeroU16>,
    pub interval: Duration,
    /// The interval while a change of state is near; at most `interval`.
    pub fast: Duration,
    /// Time limit of a whole check.
    pub timeout: Duration,
    /// Good checks in a row until a server counts as up.
    pub rise: u32,
    /// Bad checks in a row until it counts as down.
    pub fall: u32,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Opens a connection.
    Tcp,
    Http(Http),
    /// Makes a TLS handshake.
    Tls(Tls),
    Probe(Probe),
    Exec(Exec),
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(_) => "http",
            Self::Tls(_) => "tls",
            Self::Probe(_) => "probe",
            Self::Exec(_) => "exec",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub method: String,
    pub path: String,
    /// The `Host` header; `None`: the address, which no server mistakes for a bucket.
    pub host: Option<String>,
    pub status: Statuses,
    /// A pattern that the body must match.
    pub body: Option<Pattern>,
    /// Over TLS.
    pub tls: Option<Tls>,
}

/// Sends bytes, and compares the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    pub over: Over,
    pub send: Vec<u8>,
    /// `None`: the check passes once the bytes are sent; never with UDP.
    pub expect: Option<Expect>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Over {
    Tcp,
    Udp,
    Tls(Tls),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    Prefix(Vec<u8>),
    Pattern(Pattern),
}

/// A program, called with its arguments, the address and the port.
#[derive(Clone, Debug, PartialEq)]
pub struct Exec {
    pub program: Program,
    pub verdict: Verdict,
}

/// How the result of the program is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exit status 0 is good.
    Status,
    /// This output, without surrounding blanks, is good, and this one bad; any other changes nothing.
    Output { good: String, bad: String },
}

/// A regular expression over bytes.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// HTTP statuses, shown in HAProxy's notation: `200-299,404`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// `None`: the text is not a list of statuses.
    pub fn read(text: &str) -> Option<Self> {
        let code = |text: &str| {
            let three = text.len() == 3 && text.bytes().all(|digit| digit.is_ascii_digit());
            text.parse::<u16>()
                .ok()
                .filter(|code| three && (100..600).contains(code))
        };
        let range = |item: &str| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (first, last) = code(first).zip(code(last))?;
            (first <= last).then_some(first..=last)
        };
        text.split(',').map(range).collect::<Option<_>>().map(Self)
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let (first, last) = range.clone().into_inner();
            if first == last {
                write!(out, "{comma}{first}")?;
            } else {
                write!(out, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

/// Sets the check of servers whose configuration names none: a connection, if they get bytes instead of requests.
pub(crate) fn settle(
    backends: &mut BTreeMap<String, Backend>,
    services: &[Service],
    assumed: &BTreeSet<String>,
) {
    for (name, backend) in backends
        .iter_mut()
        .filter(|(name, _)| assumed.contains(*name))
    {
        if let Some(check) = &mut backend.check
            && !reads_http(services, name)
        {
            check.kind = Kind::Tcp;
        }
    }
}

/// Does the backend get requests, not bytes? All its services agree, so the first one decides.
pub fn reads_http(services: &[Service], backend: &str) -> bool {
    let mut services = services.iter();
    let user = services.find(|service| service.backends().any(|name| name == backend));
    let listener = user.and_then(|service| service.listeners.first());
    listener.is_none_or(|listener| listener.protocol.is_http())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lists_are_displayed_as_configured() {
        for text in ["200", "200-299,404", "100-599"] {
            assert_eq!(Statuses::read(text).unwrap().to_string(), text);
        }
        let living = Statuses::read("200-499,503").unwrap();
        let found = [199, 200, 403, 499, 500, 503, 504].map(|status| living.contains(status));
        assert_eq!(found, [false, true, true, true, false, true, false]);
        for bad in ["", "2", "200-", "299-200", "200,", "600", "+20", "099"] {
            assert_eq!(Statuses::read(bad), None, "{bad}");
        }
    }
}
