//! State that one task changes and others read. A task that changes it holds its lock, maybe for as long as workers take to
//! start; a reader gets the facts published when the lock was last released, and never waits.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    backends::{self, Backends},
    haproxy::{Pool, Workers},
    lists::{self, AccessLists},
};

/// State that publishes facts.
pub(super) trait Publish {
    type Facts;

    fn facts(&self) -> Self::Facts;
}

impl Publish for Pool {
    type Facts = Arc<Workers>;

    fn facts(&self) -> Arc<Workers> {
        self.workers()
    }
}

impl Publish for Backends {
    type Facts = backends::BackendFacts;

    fn facts(&self) -> backends::BackendFacts {
        self.facts()
    }
}

impl Publish for AccessLists {
    type Facts = lists::ListFacts;

    fn facts(&self) -> lists::ListFacts {
        self.facts()
    }
}

/// The state, and its facts.
pub(super) struct Published<T: Publish> {
    it: Arc<Mutex<T>>,
    facts: Arc<RwLock<Arc<T::Facts>>>,
}

impl<T: Publish> Published<T> {
    pub(super) fn new(it: T) -> Self {
        let facts = Arc::new(it.facts());
        Self {
            it: Arc::new(Mutex::new(it)),
            facts: Arc::new(RwLock::new(facts)),
        }
    }

    /// Locks the state to change it. The guard may go to another thread.
    pub(super) async fn lock(&self) -> Guard<T> {
        Guard {
            it: Arc::clone(&self.it).lock_owned().await,
            facts: Arc::clone(&self.facts),
        }
    }

    /// Locks the state, if that needs no waiting.
    pub(super) fn try_lock(&self) -> Option<Guard<T>> {
        Some(Guard {
            it: Arc::clone(&self.it).try_lock_owned().ok()?,
            facts: Arc::clone(&self.facts),
        })
    }

    /// The facts as they were when the lock was last released.
    pub(super) fn facts(&self) -> Arc<T::Facts> {
        let facts = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&facts)
    }
}

/// The state, while no other task can change it.
pub(super) struct Guard<T: Publish> {
    it: OwnedMutexGuard<T>,
    facts: Arc<RwLock<Arc<T::Facts>>>,
}

impl<T: Publish> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.it
    }
}

impl<T: Publish> DerefMut for Guard<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.it
    }
}

impl<T: Publish> Drop for Guard<T> {
    fn drop(&mut self) {
        let new = Arc::new(self.it.facts());
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Publish for u32 {
        type Facts = String;

        fn facts(&self) -> String {
            self.to_string()
        }
    }

    #[tokio::test]
    async fn facts_are_read_without_a_lock_as_the_last_completed_change_left_them() {
        let published = Published::new(1);
        let mut guard = published.lock().await;
        *guard = 2;
        assert_eq!(*published.facts(), "1");
        drop(guard);
        assert_eq!(*published.facts(), "2");
    }
}
