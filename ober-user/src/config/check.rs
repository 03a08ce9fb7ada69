//! The section `[backends.NAME.check]`: how a server is asked whether it is fit for work.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU16,
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Backend, Service,
    scalar::{At, Key, Period},
    source::{Fault, Span},
    tls_client::{self, Tls},
    valid::Judge,
};

const SECOND: Duration = Duration::from_secs(1);

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
    pub program: String,
    pub arguments: Vec<String>,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "CheckKind")]
enum Kinds {
    Tcp,
    #[default]
    Http,
    Tls,
    Probe,
    Exec,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    #[default]
    Tcp,
    Udp,
    Tls,
}

/// Health check of the servers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Check")]
pub(super) struct Raw {
    /// `false`: servers are never checked.
    enabled: Key<bool>,
    /// What is asked: `tcp` a connection, `http` a request, `tls` a handshake, `probe` bytes, `exec` a program. Left out:
    /// `http`, and `tcp` where servers get bytes and no requests.
    kind: Key<Kinds>,
    /// Port that is asked; left out: the one that serves.
    port: Key<NonZeroU16>,
    /// `http`: method of the request.
    method: Key<String>,
    /// `http`: path of the request.
    path: Key<String>,
    /// `http`: value of the header `Host`.
    host: Key<String>,
    /// `http`: statuses that mean healthy: codes and ranges, separated by commas.
    status: Key<String>,
    /// `http`: a regular expression the body must match.
    body: Key<String>,
    /// `http`, `tls`, `probe`: how TLS is spoken. With `http` it makes the request one over TLS.
    tls: Option<At<tls_client::Raw>>,
    /// `probe`: what the bytes go over.
    protocol: Key<Protocol>,
    /// `probe`: bytes to send, with `\r`, `\n`, `\t`, `\\` and `\xNN`.
    send: Key<String>,
    /// `probe`: bytes the answer must begin with, in the same notation.
    expect: Key<String>,
    /// `probe`: a regular expression the answer must match.
    pattern: Key<String>,
    /// `exec`: program and arguments; address and port of the server are added.
    command: Vec<At<String>>,
    /// `exec`: output that means healthy; left out: exit status 0 does.
    good: Key<String>,
    /// `exec`: output that means sick. Any other changes nothing.
    bad: Key<String>,
    /// Pause between two checks.
    interval: Key<Period>,
    /// The pause while a change is near; at most `interval`.
    fast_interval: Key<Period>,
    /// Time one check may take.
    timeout: Key<Period>,
    /// Good checks in a row until a server is up.
    rise: Key<u32>,
    /// Bad checks in a row until it is down.
    fall: Key<u32>,
}

impl Raw {
    /// Does nothing tell what is to be asked?
    pub(super) fn is_assumed(&self) -> bool {
        let mut written = self.particular().into_iter();
        self.kind.0.is_none() && written.all(|(_, span, _)| span.is_none())
    }

    /// Which keys of a single kind are written, with the kinds they are for.
    fn particular(&self) -> [(&'static str, Option<Span>, &'static [Kinds]); 12] {
        use Kinds::{Exec, Http, Probe, Tls};
        [
            ("method", self.method.span(), &[Http]),
            ("path", self.path.span(), &[Http]),
            ("host", self.host.span(), &[Http]),
            ("status", self.status.span(), &[Http]),
            ("body", self.body.span(), &[Http]),
            (
                "tls",
                self.tls.as_ref().map(|at| at.span.clone()),
                &[Http, Tls, Probe],
            ),
            ("protocol", self.protocol.span(), &[Probe]),
            ("send", self.send.span(), &[Probe]),
            ("expect", self.expect.span(), &[Probe]),
            ("pattern", self.pattern.span(), &[Probe]),
            ("good", self.good.span(), &[Exec]),
            ("bad", self.bad.span(), &[Exec]),
        ]
    }
}

impl Judge<'_> {
    pub(super) fn check(&mut self, raw: Raw) -> Option<Check> {
        let kind = raw.kind.0.as_ref().map(|at| at.value).unwrap_or_default();
        let written = raw.particular().into_iter();
        let command = (
            "command",
            raw.command.first().map(|at| at.span.clone()),
            &[Kinds::Exec][..],
        );
        for (name, span, kinds) in written.chain([command]) {
            if span.is_some() && !kinds.contains(&kind) {
                let wanted: Vec<_> = kinds
                    .iter()
                    .map(|kind| format!("{kind:?}").to_lowercase())
                    .collect();
                let message = format!(
                    "`{name}` is not for a check of kind `{}`",
                    format!("{kind:?}").to_lowercase()
                );
                let help = format!(
                    "remove it, or write `kind = \"{}\"`",
                    wanted.join("\"` or `\"")
                );
                self.refuse(Fault::new(span, message).help(help));
            }
        }
        let interval = self.period("interval", raw.interval.clone(), SECOND * 2);
        let fast = self.period(
            "fast_interval",
            raw.fast_interval.clone(),
            interval.min(SECOND),
        );
        if fast > interval {
            let span = raw.fast_interval.span();
            self.refuse(Fault::new(
                span,
                "`fast_interval` is longer than `interval`",
            ));
        }
        let (enabled, timeout) = (raw.enabled.clone().or(true), raw.timeout.clone());
        let check = Check {
            port: raw.port.0.as_ref().map(|at| at.value),
            interval,
            fast,
            timeout: self.period("timeout", timeout, SECOND * 2),
            rise: self.number("rise", raw.rise.clone(), 2, 1..=100),
            fall: self.number("fall", raw.fall.clone(), 3, 1..=100),
            kind: self.kind(kind, raw),
        };
        enabled.then_some(check)
    }

    fn kind(&mut self, kind: Kinds, raw: Raw) -> Kind {
        match kind {
            Kinds::Tcp => Kind::Tcp,
            Kinds::Http => Kind::Http(self.http(raw)),
            Kinds::Tls => Kind::Tls(self.tls_or_default(raw.tls)),
            Kinds::Probe => Kind::Probe(self.probe(raw)),
            Kinds::Exec => Kind::Exec(self.exec(raw)),
        }
    }

    fn tls_or_default(&mut self, raw: Option<At<tls_client::Raw>>) -> Tls {
        self.tls(raw.map(|at| at.value).unwrap_or_default())
    }

    fn http(&mut self, raw: Raw) -> Http {
        // 503 SlowDown is the answer of a gateway that lives and is busy.
        let living = Statuses(vec![200..=499, 503..=503]);
        Http {
            method: self.word(
                "method",
                raw.method,
                "GET",
                "a method such as GET or HEAD",
                method,
            ),
            path: self.word(
                "path",
                raw.path,
                "/",
                "a path such as `/`, in URL letters",
                url_path,
            ),
            host: raw.host.0.is_some().then(|| {
                let what = "a name or an address, with a port or without";
                self.word("host", raw.host, "", what, authority)
            }),
            status: raw.status.0.map_or(living.clone(), |at| {
                Statuses::read(&at.value).unwrap_or_else(|| {
                    let message = format!(
                        "`status` is `{}`, but must be statuses such as `200-299,404`",
                        at.value
                    );
                    self.refuse(Fault::new(at.span, message));
                    living
                })
            }),
            body: raw.body.0.and_then(|at| self.pattern("body", &at)),
            tls: raw.tls.map(|at| self.tls(at.value)),
        }
    }

    fn probe(&mut self, raw: Raw) -> Probe {
        let protocol = raw
            .protocol
            .0
            .as_ref()
            .map(|at| at.value)
            .unwrap_or_default();
        if let Some(at) = raw.tls.as_ref().filter(|_| protocol != Protocol::Tls) {
            let help = "remove it, or write `protocol = \"tls\"`";
            self.refuse(Fault::new(at.span.clone(), "`tls` is for probes over TLS").help(help));
        }
        if let (Some(_), Some(second)) = (&raw.expect.0, &raw.pattern.0) {
            let message =
                "`expect` and `pattern` are written, but the answer is compared with one of them";
            self.refuse(Fault::new(second.span.clone(), message).help("remove one of the two"));
        }
        let (span, send) = (
            raw.protocol.span(),
            raw.send.0.map(|at| self.bytes("send", &at)),
        );
        let prefix = raw
            .expect
            .0
            .map(|at| Expect::Prefix(self.bytes("expect", &at)));
        let pattern = raw
            .pattern
            .0
            .and_then(|at| self.pattern("pattern", &at))
            .map(Expect::Pattern);
        let expect = prefix.or(pattern);
        let over = match protocol {
            Protocol::Tcp => Over::Tcp,
            Protocol::Udp => Over::Udp,
            Protocol::Tls => Over::Tls(self.tls_or_default(raw.tls)),
        };
        if over == Over::Udp && (expect.is_none() || send.is_none()) {
            let message =
                "a probe over UDP needs `send` and `expect` or `pattern`: silence tells nothing";
            self.refuse(Fault::new(span, message));
        }
        Probe {
            over,
            send: send.unwrap_or_default(),
            expect,
        }
    }

    fn exec(&mut self, raw: Raw) -> Exec {
        let (program, arguments) = self.command("a check", raw.command, raw.kind.span());
        let verdict = match (raw.good.0, raw.bad.0) {
            (None, None) => Verdict::Status,
            (Some(good), Some(bad)) => Verdict::Output {
                good: good.value,
                bad: bad.value,
            },
            (Some(one), None) | (None, Some(one)) => {
                let message = "`good` and `bad` belong together: any other output changes nothing";
                self.refuse(
                    Fault::new(one.span, message)
                        .help("write both, or none and let the exit status tell"),
                );
                Verdict::Status
            }
        };
        Exec {
            program,
            arguments,
            verdict,
        }
    }

    /// A program with its arguments.
    pub(super) fn command(
        &mut self,
        what: &str,
        written: Vec<At<String>>,
        place: Option<Span>,
    ) -> (String, Vec<String>) {
        let mut words = written.into_iter();
        let Some(program) = words.next() else {
            let message = format!("{what} of kind `exec` has no `command`");
            self.refuse(
                Fault::new(place, message).help("write `command = [\"/path/to/program\"]`"),
            );
            return (String::new(), Vec::new());
        };
        if !program.value.starts_with('/') {
            let message = format!("`{}` is no absolute path of a program", program.value);
            self.refuse(
                Fault::new(program.span, message).help("what runs as root is named in full"),
            );
        } else if !super::workers::executable(program.value.as_ref()) {
            let message = format!("there is no program {}", program.value);
            self.refuse(
                Fault::new(program.span, message)
                    .help("correct the path, or make the file executable"),
            );
        }
        (program.value, words.map(|at| at.value).collect())
    }

    pub(super) fn pattern(&mut self, name: &str, at: &At<String>) -> Option<Pattern> {
        match Regex::new(&at.value) {
            Ok(pattern) => Some(Pattern(pattern)),
            Err(error) => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default().trim();
                let last = last.strip_prefix("error: ").unwrap_or(last);
                let message = format!("`{name}` is no regular expression: {last}");
                self.refuse(Fault::new(at.span.clone(), message));
                None
            }
        }
    }

    fn bytes(&mut self, name: &str, at: &At<String>) -> Vec<u8> {
        unescape(&at.value).unwrap_or_else(|| {
            let message = format!("`{name}` has a backslash that begins nothing known");
            let help = "`\\r`, `\\n`, `\\t`, `\\\\` and `\\xNN` are; write the string between single quotes";
            self.refuse(Fault::new(at.span.clone(), message).help(help));
            Vec::new()
        })
    }

    /// A file that must be there.
    pub(super) fn existing(&mut self, name: &str, at: At<String>) -> PathBuf {
        let path = self.path(&at.value);
        if let Err(error) = std::fs::File::open(&path) {
            let message = format!("`{name}` {}: {error}", path.display());
            self.refuse(Fault::new(at.span, message).help("correct the path or leave the key out"));
        }
        path
    }
}

/// Where nothing else is written, servers that get bytes and no requests are asked for a connection.
pub(super) fn settle(
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

/// A method of HTTP.
pub(super) fn method(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_uppercase())
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        bytes.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = rest.get(2..)?;
                u8::from_str_radix(digits, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

pub(super) fn url_path(text: &str) -> bool {
    let good =
        |letter: u8| letter.is_ascii_alphanumeric() || b"-._~/?&=+,;:@!*()%".contains(&letter);
    text.starts_with('/') && text.bytes().all(good)
}

fn authority(text: &str) -> bool {
    let good = |letter: u8| letter.is_ascii_alphanumeric() || b"-._[]:".contains(&letter);
    !text.is_empty() && text.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_bytes_and_unknown_ones_are_refused() {
        assert_eq!(
            unescape(r"PING\r\n\x00\xfF\\").unwrap(),
            b"PING\r\n\0\xff\\"
        );
        assert_eq!(unescape("ä").unwrap(), "ä".as_bytes());
        for bad in [r"\q", r"\", r"\x", r"\x1", r"\xzz", r"\xé"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

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
