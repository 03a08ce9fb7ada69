//! Answers that cost the daemon time and locks. Any user of this machine may ask: a few questions in a row get an answer of
//! their own, and beyond that one a second for all.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

/// Questions in a row that are answered anew.
const BURST: u32 = 8;
/// After this much time one more question is answered anew.
const PACE: Duration = Duration::from_secs(1);

/// What was found last.
#[derive(Debug)]
pub(super) struct Shared<T>(Arc<Mutex<Kept<T>>>);

#[derive(Debug)]
struct Kept<T> {
    budget: Budget,
    /// With the time at which the daemon began to look.
    found: Option<(Instant, T)>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Kept {
            budget: Budget::new(),
            found: None,
        })))
    }
}

impl<T: Clone + Send + 'static> Shared<T> {
    /// The answer of `find`, or the last one. `find` never runs twice at once, and runs to its end when the client has gone: it
    /// has cost the budget, and the next client gets its answer.
    pub(super) async fn get(&self, find: impl Future<Output = T> + Send + 'static) -> T {
        let asked = Instant::now();
        let mut kept = Arc::clone(&self.0).lock_owned().await;
        let Kept { budget, found } = &mut *kept;
        if let Some((began, found)) = found
            && (*began >= asked || !budget.take(Instant::now()))
        {
            return found.clone();
        }
        let finding = tokio::spawn(async move {
            let began = Instant::now();
            let found = find.await;
            kept.found = Some((began, found.clone()));
            found
        });
        match finding.await {
            Ok(found) => found,
            // It can only have panicked: this is the task's only handle.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[derive(Debug)]
struct Budget {
    left: u32,
    /// When the next one began to grow; `None`: nothing was taken yet.
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{sleep, timeout};

    use super::*;

    #[test]
    fn the_first_requests_get_fresh_answers_and_then_one_request_a_second_does() {
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
    async fn beyond_the_budget_requests_share_the_last_answer() {
        let shared = Shared::default();
        // The first one has nothing to share, and costs nothing.
        for number in 0..=BURST {
            assert_eq!(shared.get(async move { number }).await, number);
        }
        assert_eq!(shared.get(async { u32::MAX }).await, BURST);
    }

    #[tokio::test]
    async fn an_answer_whose_client_left_is_shared_with_the_next_client() {
        let shared = Shared::default();
        for number in 0..=BURST {
            let slow = async move {
                sleep(Duration::from_millis(20)).await;
                number
            };
            let gone = timeout(Duration::from_millis(1), shared.get(slow)).await;
            assert!(gone.is_err());
            // The answer is found although its client has gone.
            drop(shared.0.lock().await);
        }
        assert_eq!(shared.get(async { u32::MAX }).await, BURST);
    }

    /// Counts itself, after a while.
    async fn slow(found: Arc<AtomicU32>) -> u32 {
        sleep(Duration::from_millis(50)).await;
        found.fetch_add(1, Ordering::SeqCst)
    }

    #[tokio::test]
    async fn clients_that_wait_share_an_answer_begun_after_their_requests() {
        let (shared, found) = (Arc::new(Shared::default()), Arc::new(AtomicU32::new(0)));
        let ask = || {
            let (shared, found) = (Arc::clone(&shared), Arc::clone(&found));
            async move { shared.get(slow(found)).await }
        };
        let all: Vec<_> = (0..20).map(|_| tokio::spawn(ask())).collect();
        for one in all {
            one.await.unwrap();
        }
        // The one that began before the others asked, and one for them all.
        assert!(found.load(Ordering::SeqCst) <= 2);
    }
}
