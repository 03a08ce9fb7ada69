//! What was put in force is kept in the history, one after another.

use tokio::sync::MutexGuard;

use super::Daemon;
use crate::{
    config::Written,
    history::{History, Origin},
    lists, store,
};

/// A configuration that is to be kept, before any later one.
pub(super) struct Turn<'d> {
    _turn: MutexGuard<'d, ()>,
    written: Written,
}

impl Daemon {
    /// What is in force now, and the turn to keep it: the history has the order of the changes.
    pub(super) async fn turn(&self) -> Turn<'_> {
        let turn = self.remembering.lock().await;
        Turn {
            _turn: turn,
            written: self.in_force().written.clone(),
        }
    }

    /// Keeps it. The disk may be slow, and only who has something to keep as well waits for it.
    pub(super) fn remember(&self, turn: &Turn<'_>, origin: Origin) -> anyhow::Result<u64> {
        let most = self.config().node.history;
        let (history, now) = (self.history(), lists::now());
        let kept = store::off_the_runtime(|| history.keep(&turn.written, origin, now, most));
        let mut in_force = self.in_force();
        if in_force.written == turn.written {
            in_force.snapshot = kept.as_ref().ok().copied();
        }
        drop(in_force);
        Ok(kept?)
    }

    pub(super) fn history(&self) -> History {
        History::new(&self.config().node.state)
    }
}
