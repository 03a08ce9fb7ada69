//! The steps of a plan, one after another: the same at a start, a reload and on the way back.
//!
//! `starting` takes them at a start, `running` while the daemon runs and on the way back. A step that failed is never
//! followed by the next one.

pub(crate) mod running;
pub(crate) mod starting;

use crate::plan::Step;

/// Takes the steps of a plan.
pub(super) trait Steps {
    async fn take(&mut self, step: &Step) -> anyhow::Result<()>;
}

/// A step that failed; those before it are done.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) done: usize,
    pub(super) error: anyhow::Error,
}

/// Takes the steps in their order, up to the first that fails.
pub(super) async fn perform(steps: &[Step], taker: &mut impl Steps) -> Result<(), Failed> {
    for (done, step) in steps.iter().enumerate() {
        tracing::debug!(%step, "a step of the plan begins");
        if let Err(error) = taker.take(step).await {
            return Err(Failed { done, error });
        }
    }
    Ok(())
}
