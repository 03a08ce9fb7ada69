//! The section `[resolve]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        judge::Judge,
        text::notation::{Key, Period},
    },
    names::resolve::Resolve,
};

const SECOND: Duration = Duration::from_secs(1);

/// Names to addresses.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Resolve")]
pub(crate) struct Raw {
    /// Pause between two rounds; `"0"`: only when asked.
    interval: Key<Period>,
    /// Time one name may take.
    timeout: Key<Period>,
    /// Names asked for at once.
    concurrency: Key<u32>,
    /// A `slurm.conf` whose `NodeAddr` wins over the name service.
    slurm_conf: Key<String>,
}

impl Judge<'_> {
    pub(crate) fn resolve(&mut self, resolve: Raw) -> Resolve {
        let concurrency = self.number("concurrency", resolve.concurrency, 64, 1..=4096);
        Resolve {
            interval: self.period_or_none("interval", resolve.interval, SECOND * 300),
            timeout: self.period("timeout", resolve.timeout, SECOND * 5),
            concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
            // Readability is checked at each read: a missing file disables only the names in it.
            slurm_conf: resolve.slurm_conf.0.map(|at| self.path(&at.value)),
        }
    }
}
