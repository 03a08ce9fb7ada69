//! How many connections finishing workers still have. The kernel is asked at most once a second, on a thread of its own; a
//! status waits for it for [`PATIENCE`] at most, and shows what was known before.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{
    haproxy::finishing::{self, Finishing},
    machine::drive,
    system::file,
};

const PATIENCE: Duration = Duration::from_millis(500);
/// How old an answer may be.
const AGE: Duration = Duration::from_secs(1);

/// What was counted last, by process.
#[derive(Debug, Default)]
pub(super) struct Remaining(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    at: Option<Instant>,
    connections: BTreeMap<i32, usize>,
}

impl Remaining {
    pub(super) async fn of(&self, finishing: Vec<Finishing>) -> BTreeMap<i32, usize> {
        if finishing.is_empty() {
            return BTreeMap::new();
        }
        let mut counted = self.0.lock().await;
        let now = drive::now();
        let is_new = |at| now.saturating_duration_since(at) < AGE;
        if !counted.at.is_some_and(is_new) {
            match file::away(PATIENCE, move || finishing::connections(&finishing)).await {
                Ok(Ok(connections)) => counted.connections = connections,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "count the connections of finishing workers");
                }
                Err(error) => tracing::debug!(%error, "count the connections of finishing workers"),
            }
            counted.at = Some(drive::now());
        }
        counted.connections.clone()
    }
}
