//! The section `[bfd]`: profiles with the speed of BFD. A neighbour names a profile.

use std::{collections::BTreeMap, num::NonZeroU8, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        judge::Judge,
        text::{
            notation::{At, Key, Period},
            source::{Fault, Span},
        },
    },
    protocols::bfd::{Micros, Timers},
};

/// The profile of neighbours that name none.
pub const DEFAULT: &str = "default";

/// Built-in profiles: name, interval in both directions. The multiplier is 3.
const BUILT_IN: [(&str, Duration); 3] = [
    (DEFAULT, Duration::from_millis(300)),
    ("fast", Duration::from_millis(50)),
    ("ultra", Duration::from_millis(10)),
];
const MULTIPLIER: NonZeroU8 = NonZeroU8::new(3).unwrap();
/// Below this, the jitter of the kernel and the machine is as large as the interval.
const FASTEST: Duration = Duration::from_millis(10);
const SLOWEST: Duration = Duration::from_mins(1);

/// As written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Bfd")]
pub(crate) struct Raw {
    /// After a failure, a session must be up for so long before it counts as up again; `"0"`: at once.
    hold_down: Key<Period>,
    /// By name. `default`, `fast` (50 ms) and `ultra` (10 ms, needs `SCHED_FIFO`) always exist and may be written anew.
    profiles: BTreeMap<String, At<RawProfile>>,
}

/// How fast a BFD session is, and which end begins.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "BfdProfile")]
struct RawProfile {
    /// This node wants to send this often; the slower end decides. `"10ms"` to `"1m"`.
    transmit: Key<Period>,
    /// This node can receive packets this often. `"10ms"` to `"1m"`.
    receive: Key<Period>,
    /// This many packets missing in a row are a failure.
    multiplier: Key<NonZeroU8>,
    /// Say nothing until the peer does.
    passive: Key<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bfd {
    /// How long after a failure a session must be up again before clients get `Up`.
    pub hold_down: Duration,
    /// Always contains the built-in profiles.
    pub profiles: BTreeMap<String, Profile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    pub timers: Timers,
    pub passive: bool,
}

impl Profile {
    fn of(interval: Duration) -> Self {
        Self {
            timers: Timers {
                transmit: interval.into(),
                receive: interval.into(),
                multiplier: MULTIPLIER,
            },
            passive: false,
        }
    }
}

impl Default for Bfd {
    fn default() -> Self {
        let built_in = BUILT_IN.map(|(name, interval)| (name.to_owned(), Profile::of(interval)));
        Self {
            hold_down: Duration::ZERO,
            profiles: built_in.into(),
        }
    }
}

impl Judge<'_> {
    pub(crate) fn bfd(&mut self, raw: Raw) -> Bfd {
        let mut bfd = Bfd {
            hold_down: self.period_or_none("hold_down", raw.hold_down, Duration::ZERO),
            ..Bfd::default()
        };
        for (name, at) in raw.profiles {
            self.name("a BFD profile", &name, &at.span);
            if name == "off" {
                let fault = Fault::new(at.span.clone(), "`off` is no name for a BFD profile");
                self.refuse(fault.help("a neighbour says `bfd = \"off\"` to have none"));
            }
            let profile = self.profile(at.value, bfd.profiles.get(&name));
            bfd.profiles.insert(name, profile);
        }
        bfd
    }

    /// Missing keys come from the built-in profile of that name, or from the default one.
    fn profile(&mut self, raw: RawProfile, built_in: Option<&Profile>) -> Profile {
        let default = built_in
            .copied()
            .unwrap_or_else(|| Profile::of(Duration::from_millis(300)));
        Profile {
            timers: Timers {
                transmit: self.interval("transmit", raw.transmit, default.timers.transmit),
                receive: self.interval("receive", raw.receive, default.timers.receive),
                multiplier: raw.multiplier.or(default.timers.multiplier),
            },
            passive: raw.passive.or(default.passive),
        }
    }

    fn interval(&mut self, name: &str, key: Key<Period>, default: Micros) -> Micros {
        let Some(At {
            value: Period(interval),
            span,
        }) = key.0
        else {
            return default;
        };
        if !(FASTEST..=SLOWEST).contains(&interval) {
            self.out_of_bounds(name, interval, span);
        }
        interval.into()
    }

    fn out_of_bounds(&mut self, name: &str, interval: Duration, span: Span) {
        let message =
            format!("`{name}` is {interval:?}, but must be from {FASTEST:?} to {SLOWEST:?}");
        let help = if interval < FASTEST {
            "software cannot keep a shorter interval; with a multiplier of 3, \"10ms\" finds a failure in 30 ms"
        } else {
            "a failure found after minutes is found by BGP's hold time as well: leave BFD off"
        };
        self.refuse(Fault::new(span, message).help(help));
    }
}
