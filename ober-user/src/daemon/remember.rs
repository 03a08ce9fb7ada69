//! Keeps each configuration that was put in force in the history, in their order.

use std::pin::Pin;

use futures_util::FutureExt as _;
use tokio::{sync::MutexGuard, task::coop::unconstrained};

use super::Daemon;
use crate::{
    config::Texts,
    plan::history::{History, Origin},
    system::{clock, store},
};

/// A configuration that is to be kept, before any later one.
pub(super) struct Turn<'d> {
    place: QueuePlace<'d>,
    written: Texts,
}

/// A place in the queue of the tasks that write to the history.
enum QueuePlace<'d> {
    First(MutexGuard<'d, ()>),
    Waits(Waits<'d>),
}

type Waits<'d> = Pin<Box<dyn Future<Output = MutexGuard<'d, ()>> + Send + 'd>>;

impl Daemon {
    /// The configuration in force now, and a place in the queue to keep it: the history has the order of the changes. This does
    /// not wait, so the locks of a change may be held; [`Self::remember`] waits.
    pub(super) fn turn(&self) -> Turn<'_> {
        // The lock goes to tasks in the order in which they first poll it; a busy runtime must not put that poll off.
        let mut lock: Waits<'_> = Box::pin(unconstrained(self.remembering.lock()));
        let place = match lock.as_mut().now_or_never() {
            Some(turn) => QueuePlace::First(turn),
            None => QueuePlace::Waits(lock),
        };
        Turn {
            place,
            written: self.in_force().written.clone(),
        }
    }

    /// Keeps the configuration after those of earlier changes. The disk may be slow: only changes that are to be kept wait for
    /// it.
    pub(super) async fn remember(&self, turn: Turn<'_>, origin: Origin) -> anyhow::Result<u64> {
        let _turn = match turn.place {
            QueuePlace::First(turn) => turn,
            QueuePlace::Waits(turn) => turn.await,
        };
        let most = self.config().node.history;
        let (history, now) = (self.history(), clock::seconds());
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
