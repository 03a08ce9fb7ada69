//! What many servers cost: from the answer of a source to the text of a worker, in this process, without HAProxy.

use std::{
    collections::BTreeMap,
    hint::black_box,
    num::NonZeroU16,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use ober_user::{
    backends::{
        discover::{
            merge::{Bounds, Said, merge},
            own::Own,
        },
        server::Servers,
    },
    config::{Config, Env},
    haproxy::render::{WorkerContext, render},
    names::{resolve::Names, server_line::Found},
};

use crate::{
    report::{Part, Target},
    series::Series,
};

pub(crate) const PART: &str = "servers";

const MOST: usize = 100_000;
const SAMPLES: usize = 7;
const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();
/// Milliseconds for [`MOST`] servers.
const LIMIT: f64 = 1000.0;
/// Most times as long for ten times the servers.
const RATIO: f64 = 12.0;

/// Everything this part measures.
pub(crate) fn measure() -> Result<Part> {
    let config = config()?;
    let mut part = Part::default();
    let mut medians = Vec::new();
    for count in [MOST / 100, MOST / 10, MOST] {
        let name = format!("{PART}, {count} merged and written for a worker");
        let mut series = Series::new(&name, "ms");
        let said = said(count);
        for _ in 0..SAMPLES {
            series.push_time(once(&config, &said)?);
        }
        medians.push(series.median());
        if count == MOST {
            part.targets
                .push(Target::at_most(name, series.median(), LIMIT, "ms"));
        }
        part.measures.push(series.measure());
    }
    for (pair, count) in medians.windows(2).zip([MOST / 10, MOST]) {
        let name = format!("{PART}, {count} against a tenth of them");
        let ratio = pair[1] / pair[0];
        part.targets
            .push(Target::at_most(name, ratio, RATIO, "times"));
    }
    Ok(part)
}

/// The hardest answer that a source can give: all servers named, of many tiers and weights.
fn said(count: usize) -> [Said; 1] {
    let found = |number: usize| {
        let bits = u32::try_from(number).unwrap_or_default() | 10 << 24;
        let tier = u32::try_from(number % 300).unwrap_or_default();
        let found = Found::at(bits.to_be_bytes().into(), PORT);
        found.in_tier(tier).weighs(tier)
    };
    [Said {
        source: "exec".to_owned(),
        near: false,
        found: (0..count).map(found).collect(),
    }]
}

fn config() -> Result<Config> {
    let text = "[node]\ninterfaces=['a']\n[workers]\nhaproxy='/bin/sh'\n[backends.rgw]\nbalance='iphash1'\n\
                [[services]]\nname='s'\nvips=['192.0.2.1']\nbackend='rgw'\nlisteners=[{port=80, access='open'}]\n";
    let env = Env {
        cpus: vec![0],
        ..Env::default()
    };
    Ok(Config::parse(text, Path::new("/"), &env)?)
}

fn once(config: &Config, said: &[Said]) -> Result<Duration> {
    let began = Instant::now();
    let own = Own::of(config, []);
    let bounds = Bounds {
        own: &own,
        most: MOST,
    };
    let list = merge(said, &Names::new(), &BTreeMap::new(), bounds);
    let servers = list.servers.into_iter().map(|merged| merged.server);
    let servers: Servers = [("rgw".to_owned(), servers.collect())].into();
    let place = WorkerContext {
        worker: 0,
        cpu: 0,
        cli: Path::new("/cli"),
        stats: Path::new("/stats"),
        root: None,
        thumbprint: None,
    };
    black_box(render(config, &servers, place)?);
    Ok(began.elapsed())
}
