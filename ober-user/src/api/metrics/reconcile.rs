//! Metrics of `crate::daemon::reconciled`.

use super::{Family, Labels, counter, gauge, one};
use crate::api::status::Reconcile;

pub(super) fn families(reconcile: &Reconcile) -> Vec<Family> {
    let alone = |value: u64| vec![(Labels::new(), value)];
    let mended = reconcile.mended.iter();
    vec![
        counter(
            "ober_drift_mended",
            "Things that were otherwise than they were put, and were set right.",
            mended
                .map(|(what, count)| (one("what", what), *count))
                .collect(),
        ),
        counter(
            "ober_reconcile_failures",
            "Things that could not be compared with what they are to be, or not be set right.",
            alone(reconcile.failures),
        ),
        gauge(
            "ober_reconcile_timestamp_seconds",
            "When the last pass ended, since 1970; 0: there was none.",
            alone(reconcile.last.unwrap_or_default()),
        ),
        gauge(
            "ober_reconcile_duration_microseconds",
            "How long the last pass took.",
            alone(reconcile.microseconds),
        ),
    ]
}
