//! Metrics of `crate::system::store` and of the configuration on disk.

use super::{Family, counter, gauge, plain};
use crate::api::status::Status;

pub(super) fn families(status: &Status) -> Vec<Family> {
    let configuration = status.configuration.as_ref();
    let fallback = configuration.is_some_and(|it| it.fallback.is_some());
    let [damaged, unkept] = [status.disk.damaged.len(), status.disk.unkept.len()];
    vec![
        gauge(
            "ober_configuration_fallback",
            "1: a snapshot of the history is in force, since the files on disk could not be used at the start.",
            plain(u64::from(fallback)),
        ),
        counter(
            "ober_files_damaged",
            "Files that were found damaged and moved aside since the start.",
            plain(damaged as u64),
        ),
        gauge(
            "ober_files_unkept",
            "Files that do not hold what is in force: a restart would lose it.",
            plain(unkept as u64),
        ),
    ]
}
