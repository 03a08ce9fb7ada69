//! What one of us changes while all others want to hear of it. Whoever changes it holds its lock, maybe for as long as workers
//! take to start; whoever only asks is told from the facts that were left behind when it was last let go, and waits for
//! nobody.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    backends::{self, Backends},
    haproxy::{Pool, Workers},
    lists::{self, Keeper},
};

/// Something that facts are told of.
pub(super) trait Tells {
    type Facts;

    fn facts(&self) -> Self::Facts;
}

impl Tells for Pool {
    type Facts = Arc<Workers>;

    fn facts(&self) -> Arc<Workers> {
        self.workers()
    }
}

impl Tells for Backends {
    type Facts = backends::Facts;

    fn facts(&self) -> backends::Facts {
        self.facts()
    }
}

impl Tells for Keeper {
    type Facts = lists::Facts;

    fn facts(&self) -> lists::Facts {
        self.facts()
    }
}

/// It, and the facts.
pub(super) struct Told<T: Tells> {
    it: Arc<Mutex<T>>,
    facts: Arc<RwLock<Arc<T::Facts>>>,
}

impl<T: Tells> Told<T> {
    pub(super) fn new(it: T) -> Self {
        let facts = Arc::new(it.facts());
        Self {
            it: Arc::new(Mutex::new(it)),
            facts: Arc::new(RwLock::new(facts)),
        }
    }

    /// To change it. The guard goes with its work to another thread, if need be.
    pub(super) async fn lock(&self) -> Held<T> {
        Held {
            it: Arc::clone(&self.it).lock_owned().await,
            facts: Arc::clone(&self.facts),
        }
    }

    /// To change it now or not at all.
    pub(super) fn try_lock(&self) -> Option<Held<T>> {
        Some(Held {
            it: Arc::clone(&self.it).try_lock_owned().ok()?,
            facts: Arc::clone(&self.facts),
        })
    }

    /// As it was when it was last let go.
    pub(super) fn facts(&self) -> Arc<T::Facts> {
        let facts = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&facts)
    }
}

/// It, while nobody else has it.
pub(super) struct Held<T: Tells> {
    it: OwnedMutexGuard<T>,
    facts: Arc<RwLock<Arc<T::Facts>>>,
}

impl<T: Tells> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.it
    }
}

impl<T: Tells> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.it
    }
}

impl<T: Tells> Drop for Held<T> {
    fn drop(&mut self) {
        let new = Arc::new(self.it.facts());
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Tells for u32 {
        type Facts = String;

        fn facts(&self) -> String {
            self.to_string()
        }
    }

    #[tokio::test]
    async fn facts_are_those_of_the_last_change_that_is_over_and_need_no_lock() {
        let told = Told::new(1);
        let mut held = told.lock().await;
        *held = 2;
        assert_eq!(*told.facts(), "1");
        drop(held);
        assert_eq!(*told.facts(), "2");
    }
}
