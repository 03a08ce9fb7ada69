//! The section as written, and its conversion.

use std::{num::NonZeroU16, path::PathBuf, time::Duration};

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::{program, tls_client},
    Check, Exec, Expect, Http, Kind, Over, Pattern, Probe, Statuses, Verdict,
};
use crate::{
    config::{
        judge::Judge,
        text::{
            notation::{At, Key, Period},
            source::{Fault, Span},
        },
    },
    system::{file, tls::Tls},
};

const SECOND: Duration = Duration::from_secs(1);

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
pub(crate) struct Raw {
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
    /// `exec`: the account that runs the program; the default is the account `nobody`.
    user: Key<String>,
    /// `exec`: a file whose content it gets, not readable by every account.
    secret_file: Key<String>,
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
    /// Do the keys leave the kind open?
    pub(in crate::config) fn is_assumed(&self) -> bool {
        let mut written = self.particular().into_iter();
        self.kind.0.is_none() && written.all(|(_, span, _)| span.is_none())
    }

    /// The keys of a single kind that are written, with the kinds they belong to.
    fn particular(&self) -> [(&'static str, Option<Span>, &'static [Kinds]); 14] {
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
            ("user", self.user.span(), &[Exec]),
            ("secret_file", self.secret_file.span(), &[Exec]),
            ("good", self.good.span(), &[Exec]),
            ("bad", self.bad.span(), &[Exec]),
        ]
    }
}

impl Judge<'_> {
    pub(in crate::config) fn check(&mut self, raw: Raw) -> Option<Check> {
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
        // A busy but live gateway answers 503 SlowDown.
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
            let message = "a probe over UDP needs `send` and `expect` or `pattern`: no answer does not prove that the server works";
            self.refuse(Fault::new(span, message));
        }
        Probe {
            over,
            send: send.unwrap_or_default(),
            expect,
        }
    }

    fn exec(&mut self, raw: Raw) -> Exec {
        let written = program::RawProgram {
            command: raw.command,
            user: raw.user,
            secret_file: raw.secret_file,
        };
        let program = self.program("a check", written, raw.kind.span());
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
                        .help("write both, or none and let the exit status decide"),
                );
                Verdict::Status
            }
        };
        Exec { program, verdict }
    }

    pub(in crate::config) fn pattern(&mut self, name: &str, at: &At<String>) -> Option<Pattern> {
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

    /// A file that must exist.
    pub(in crate::config) fn existing(
        &mut self,
        name: &str,
        at: At<String>,
        kind: file::Kind,
    ) -> PathBuf {
        let path = self.path(&at.value);
        self.readable(name, &path, kind, at.span);
        path
    }
}

/// Is it an HTTP method?
pub(in crate::config) fn method(text: &str) -> bool {
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

pub(in crate::config) fn url_path(text: &str) -> bool {
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
}
