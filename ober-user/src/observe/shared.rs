//! Facts that take the daemon's time and locks to find out, for clients that nobody knows: a few in a row are found anew for
//! each question, and beyond that once a second for all.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

/// Questions in a row that are answered with new facts.
const BURST: u32 = 8;
/// After this much time one more is.
const PACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Shared<T>(Mutex<Kept<T>>);

#[derive(Debug)]
struct Kept<T> {
    budget: Budget,
    facts: Option<Arc<T>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::new(Kept {
            budget: Budget::new(),
            facts: None,
        }))
    }
}

impl<T> Shared<T> {
    /// What `find` finds, or what it found last. It never runs twice at once.
    pub(super) async fn get(&self, find: impl Future<Output = T>) -> Arc<T> {
        let mut kept = self.0.lock().await;
        let anew = kept.budget.take(Instant::now());
        match &kept.facts {
            Some(facts) if !anew => Arc::clone(facts),
            _ => {
                let facts = Arc::new(find.await);
                kept.facts = Some(Arc::clone(&facts));
                facts
            }
        }
    }
}

#[derive(Debug)]
struct Budget {
    left: u32,
    /// Since when the next one grows; `None`: nothing was taken yet.
    growing: Option<Instant>,
}

impl Budget {
    fn new() -> Self {
        Self {
            left: BURST,
            growing: None,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = *self.growing.get_or_insert(now);
        let grown = now.saturating_duration_since(since).as_secs() / PACE.as_secs();
        let grown = u32::try_from(grown).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(grown).min(BURST);
        self.growing = Some(since + PACE * grown);
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_questions_in_a_row_are_answered_anew_and_then_one_a_second() {
        let mut budget = Budget::new();
        let start = Instant::now();
        let mut taken = |from: u64, until: u64| {
            let at = |millis| start + Duration::from_millis(millis);
            (from..until)
                .filter(|millis| budget.take(at(*millis)))
                .count()
        };
        assert_eq!(taken(0, 900), BURST as usize);
        assert_eq!(taken(900, 10_900), 10);
        // A pause gives no more than the first few.
        assert_eq!(taken(100_000, 100_500), BURST as usize);
    }

    #[tokio::test]
    async fn beyond_that_the_last_facts_are_shared() {
        let shared = Shared::default();
        let mut found = 0u32;
        for _ in 0..BURST {
            found += 1;
            assert_eq!(*shared.get(async { found }).await, found);
        }
        assert_eq!(*shared.get(async { u32::MAX }).await, found);
    }
}
