//! `cargo xtask bench --failover`: how long traffic still goes to a node that no longer serves.

mod routed;
mod shared;

use std::time::Duration;

use anyhow::Result;

use crate::{
    report::{Part, Target},
    series::Series,
};

/// Trials of each kind.
const TRIALS: usize = 20;
/// How long a withdrawal or a return may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between a return and the next trial.
const REST: Duration = Duration::from_millis(400);

/// All trials. The machine should have nothing else to do; one trial keeps it busy on purpose.
pub(crate) fn measure() -> Result<Part> {
    let mut part = routed::measure()?;
    let more = shared::measure()?;
    part.measures.extend(more.measures);
    part.targets.extend(more.targets);
    Ok(part)
}

impl Part {
    /// A series of milliseconds, whose median must keep to a limit.
    fn add(&mut self, series: &Series, limit: f64) {
        let measure = series.measure();
        let name = format!("{}, median", measure.name);
        let target = Target::at_most(name, measure.median, limit, "ms");
        self.targets.push(target);
        self.measures.push(measure);
    }
}

/// A pause that differs from trial to trial, so that trials do not fall into step with a timer.
fn rest(trial: usize) {
    let odd = u32::try_from(trial * 37 % 100).unwrap_or(0);
    std::thread::sleep(REST + odd * Duration::from_millis(1));
}
