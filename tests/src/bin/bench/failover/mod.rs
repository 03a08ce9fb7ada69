//! `cargo xtask bench --failover`: how long traffic still goes where nobody serves.

mod routed;
mod shared;

use anyhow::Result;

use crate::{
    report::{Part, Target},
    series::Series,
};

/// Trials of each kind.
const TRIALS: usize = 20;

/// All trials. The machine should have nothing else to do, but for the one that keeps it busy itself.
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
