//! The section `[backends.NAME.check]`: how a server is asked whether it is fit for work. This file: what is meant; beside it
//! what is written.

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
    /// Port that is asked; `None`: the one that serves.
    pub port: Option<NonZeroU16>,
    pub interval: Duration,
    /// The interval while a change of state is near; at most `interval`.
    pub fast: Duration,
    /// For a whole check.
    pub timeout: Duration,
    /// Good checks in a row until a server is up.
    pub rise: u32,
    /// Bad checks in a row until it is down.
    pub fall: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A connection is accepted.
    Tcp,
    Http(Http),
    /// A handshake succeeds.
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
    /// `None`: an address, which no server takes for a bucket.
    pub host: Option<String>,
    pub status: Statuses,
    /// The body must match.
    pub body: Option<Pattern>,
    /// Over TLS.
    pub tls: Option<Tls>,
}

/// Bytes out, and what must come back.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    pub over: Over,
    pub send: Vec<u8>,
    /// `None`: that it could be sent is enough; never with UDP.
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

/// What the end of the program means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exit status 0 is good.
    Status,
    /// This output, blanks around it aside, is good, and this one bad; any other changes nothing.
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

/// HTTP statuses; shown as HAProxy writes them: `200-299,404`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// `None`: it is no such list.
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

/// Where nothing else is written, servers that get bytes and no requests are asked for a connection.
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

/// Requests go to the backend, not bytes: all its users agree.
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
    fn statuses_are_shown_as_they_are_written() {
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
