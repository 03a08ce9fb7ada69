//! The section `[gate]`: when this node may attract traffic.

use std::{borrow::Cow, marker::PhantomData, path::PathBuf, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::check::{Statuses, url_path};
use crate::config::{
    judge::Judge,
    text::{
        notation::{At, Key, Notation, Period, Reader},
        source::Fault,
    },
};

/// As written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Gate")]
pub(crate) struct Raw {
    /// Pause between two rounds of probes while nothing changes.
    interval: Key<Period>,
    /// The same while a VIP is about to go up or down; also how soon a detached program or the disable file is noticed.
    fast_interval: Key<Period>,
    /// Time one probe may take: connect, TLS handshake, request and answer together. The storage answers it.
    timeout: Key<Period>,
    /// Good rounds in a row until a VIP is announced.
    rise: Key<u32>,
    /// Bad rounds in a row until it no longer is. Facts such as the end of the last worker do not wait for this.
    fall: Key<u32>,
    /// Workers that must serve: a number, or a part of them such as `"50%"`. At least one.
    min_workers: Key<AtLeast>,
    /// Servers that a worker must see up to count as serving, for each service of the VIP and among all backends that the
    /// service can reach, those of its routes included: a number, or a part; 0: any number will do.
    min_servers: Key<AtLeast>,
    /// Path of the probe's request.
    path: Key<String>,
    /// Statuses that mean a worker serves. A 503 in the words of S3 (`SlowDown`) does too; one of HAProxy's never.
    status: Key<String>,
    /// Server name the probe asks TLS for. Left out: none.
    sni: Key<String>,
    /// What happens when probes fail, servers are too few or BFD is down: the VIP is withdrawn; or it stays announced as
    /// the worst choice; or it gets the community `GRACEFUL_SHUTDOWN` and is withdrawn after `graceful_time`.
    down: Key<Down>,
    /// How long the community stays before the withdrawal, also in `ober-user drain`.
    graceful_time: Key<Period>,
    /// A VIP that goes down sooner than this after it went up has flapped; `"0"`: flaps do not matter.
    min_up: Key<Period>,
    /// How long a VIP that flapped waits before it is announced again; doubles with every further flap.
    hold: Key<Period>,
    /// The longest such wait.
    hold_max: Key<Period>,
    /// Announce only while a BFD session is up.
    bfd: Key<bool>,
    /// What happens to a VIP whose new connections this node itself loses: 20 SYNs within 30 s of one another passed XDP, and
    /// none came as far as a socket; a firewall on the node, most likely. `warn`: `status`, `doctor`, metrics and log report
    /// it; `withdraw`: the VIP goes down too, and is tried again after a minute. Clients that may connect and send broken
    /// SYNs can look the same at a VIP that has no other clients.
    lost: Key<Lost>,
    /// How many of `node.interfaces` must be up.
    interfaces: Key<Interfaces>,
    /// While this file exists, no VIP is announced. With addresses in it, one a line, it is for those VIPs alone.
    disable_file: Key<String>,
}

/// When a VIP is announced, and what happens when it must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub interval: Duration,
    /// At most `interval`.
    pub fast_interval: Duration,
    /// Time limit of a whole probe.
    pub timeout: Duration,
    /// 1 to 100.
    pub rise: u32,
    /// 1 to 100.
    pub fall: u32,
    pub min_workers: AtLeast,
    /// `Number(0)`: no minimum.
    pub min_servers: AtLeast,
    pub path: String,
    /// First and last of each range.
    pub status: Vec<(u16, u16)>,
    /// `None`: no server name is sent.
    pub sni: Option<String>,
    pub down: Down,
    /// Zero: withdrawn at once.
    pub graceful_time: Duration,
    /// Zero: flaps have no effect.
    pub min_up: Duration,
    pub hold: Duration,
    pub hold_max: Duration,
    /// Is a BFD session required?
    pub bfd: bool,
    pub lost: Lost,
    pub interfaces: Interfaces,
    pub disable_file: Option<PathBuf>,
}

/// A number, or a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLeast {
    Number(u32),
    /// 1 to 100.
    Percent(u8),
}

impl AtLeast {
    /// The number out of `total`. A percentage is rounded up and is never zero.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Number(number) => usize::try_from(number).unwrap_or(usize::MAX),
            Self::Percent(percent) => (total * usize::from(percent)).div_ceil(100).max(1),
        }
    }
}

impl Notation for AtLeast {
    const EXPECTED: &'static str = "a number or a part such as \"50%\"";

    fn read(text: &str) -> Option<Self> {
        let percent = text.strip_suffix('%')?.parse().ok();
        percent
            .filter(|percent| (1..=100).contains(percent))
            .map(Self::Percent)
    }

    fn number(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self::Number)
    }
}

impl<'de> Deserialize<'de> for AtLeast {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl JsonSchema for AtLeast {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AtLeast".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^([1-9][0-9]?|100)%$|[$][{]" }
        ] })
    }
}

/// What happens to a VIP that is not served well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Down {
    Withdraw,
    /// Stays announced as the worst choice there is.
    Depreference,
    /// Announced with `GRACEFUL_SHUTDOWN` for a time, then withdrawn.
    GracefulShutdown,
}

/// What happens to a VIP whose new connections are lost between XDP and the workers' sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lost {
    Warn,
    Withdraw,
}

/// How many of the node's interfaces must be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interfaces {
    Any,
    All,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_millis(200),
            timeout: Duration::from_secs(2),
            rise: 3,
            fall: 2,
            min_workers: AtLeast::Number(1),
            min_servers: AtLeast::Number(1),
            path: "/".to_owned(),
            status: vec![(200, 499)],
            sni: None,
            down: Down::Withdraw,
            graceful_time: Duration::from_secs(10),
            min_up: Duration::from_secs(5),
            hold: Duration::from_secs(5),
            hold_max: Duration::from_mins(1),
            bfd: false,
            lost: Lost::Warn,
            interfaces: Interfaces::Any,
            disable_file: None,
        }
    }
}

impl Judge<'_> {
    pub(crate) fn gate(&mut self, raw: Raw, workers: usize) -> Gate {
        let otherwise = Gate::default();
        let (fast_place, hold_place) = (raw.fast_interval.span(), raw.hold.span());
        let interval = self.period("interval", raw.interval, otherwise.interval);
        let fast = otherwise.fast_interval.min(interval);
        let hold = self.period("hold", raw.hold, otherwise.hold);
        let longest = otherwise.hold_max.max(hold);
        let gate = Gate {
            interval,
            fast_interval: self.period("fast_interval", raw.fast_interval, fast),
            timeout: self.period("timeout", raw.timeout, otherwise.timeout),
            rise: self.number("rise", raw.rise, otherwise.rise, 1..=100),
            fall: self.number("fall", raw.fall, otherwise.fall, 1..=100),
            min_workers: self.min_workers(raw.min_workers, otherwise.min_workers, workers),
            min_servers: raw.min_servers.or(otherwise.min_servers),
            path: self.word("path", raw.path, "/", "a path such as `/`", url_path),
            status: self.statuses(raw.status),
            sni: raw.sni.0.map(|at| self.server_name(at)),
            down: raw.down.or(otherwise.down),
            graceful_time: self.period_or_none(
                "graceful_time",
                raw.graceful_time,
                otherwise.graceful_time,
            ),
            min_up: self.period_or_none("min_up", raw.min_up, otherwise.min_up),
            hold,
            hold_max: self.period("hold_max", raw.hold_max, longest),
            bfd: raw.bfd.or(otherwise.bfd),
            lost: raw.lost.or(otherwise.lost),
            interfaces: raw.interfaces.or(otherwise.interfaces),
            disable_file: raw.disable_file.0.map(|at| self.path(&at.value)),
        };
        if gate.fast_interval > gate.interval {
            let message = "`fast_interval` is longer than `interval`";
            self.refuse(Fault::new(fast_place, message));
        }
        if gate.hold > gate.hold_max {
            self.refuse(Fault::new(hold_place, "`hold` is longer than `hold_max`"));
        }
        gate
    }

    /// A minimum that the workers cannot reach is a mistake: the gate could never open.
    fn min_workers(&mut self, key: Key<AtLeast>, default: AtLeast, workers: usize) -> AtLeast {
        let (span, written) = (key.span(), key.or(default));
        if !(1..=workers).contains(&written.of(workers)) {
            let message = format!(
                "`min_workers` is {}, but must be from 1 to {workers}, the number of workers, or a part such as \"50%\"",
                written.of(workers)
            );
            self.refuse(Fault::new(span, message));
        }
        written
    }

    fn statuses(&mut self, key: Key<String>) -> Vec<(u16, u16)> {
        let what = "statuses such as `200-299,404`";
        let good = |text: &str| Statuses::read(text).is_some();
        let text = self.word("status", key, "200-499", what, good);
        let range = |item: &str| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        text.split(',').filter_map(range).collect()
    }

    fn server_name(&mut self, at: At<String>) -> String {
        let known = rustls_pki_types::DnsName::try_from(at.value.as_str());
        if known.is_err() {
            let message = format!("`sni` is `{}`, but must be a name in DNS", at.value);
            let help = "leave it out to ask for no name; an address is never asked for by name";
            self.refuse(Fault::new(at.span, message).help(help));
        }
        at.value
    }
}
