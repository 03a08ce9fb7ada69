//! The connections of callers to a socket of the daemon, which cost it a fixed number of descriptors however many are opened.
//! When there is no room left, new ones wait in the kernel's queue until one ends, or until the oldest of those that the
//! daemon waits for has had time enough for a request; that one is closed then.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    select,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// Connections at once.
pub const MOST: usize = 64;
/// How long a connection is never closed, however many wait: time enough for a request.
const GRACE: Duration = Duration::from_millis(250);

/// Whether a caller is being served. One that the daemon waits for may be closed.
#[derive(Clone, Debug, Default)]
pub struct Served(Arc<AtomicBool>);

impl Served {
    pub fn set(&self, served: bool) {
        self.0.store(served, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The connections that are open, oldest first.
#[derive(Debug)]
pub struct Open {
    tasks: JoinSet<()>,
    order: VecDeque<Connection>,
}

#[derive(Debug)]
struct Connection {
    since: Instant,
    served: Served,
    task: AbortHandle,
}

/// What is under way goes on.
impl Drop for Open {
    fn drop(&mut self) {
        self.tasks.detach_all();
    }
}

impl Default for Open {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            order: VecDeque::with_capacity(MOST),
        }
    }
}

impl Open {
    /// Serves one more as soon as there is room. It counts as waited for until it says otherwise.
    pub async fn add<T>(&mut self, connection: impl FnOnce(Served) -> T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        self.make_room().await;
        let served = Served::default();
        let task = self.tasks.spawn(connection(served.clone()));
        self.order.push_back(Connection {
            since: Instant::now(),
            served,
            task,
        });
    }

    async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.order.retain(|it| !it.task.is_finished());
            if self.order.len() < MOST {
                return;
            }
            let now = Instant::now();
            let mut waited_for = self.order.iter().enumerate();
            let oldest = waited_for.find(|(_, it)| !it.served.get());
            let until = oldest.map_or(now, |(_, it)| it.since) + GRACE;
            if let Some((place, oldest)) = oldest.filter(|_| until <= now) {
                oldest.task.abort();
                self.order.remove(place);
                // Its descriptor is free when the task has ended, not when that was asked for.
                self.tasks.join_next().await;
                return;
            }
            select! {
                () = sleep_until(until) => {}
                _ = self.tasks.join_next() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Ends(Arc<AtomicUsize>);

    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Opens connections on which nothing is ever said, `served` or not.
    async fn silent(open: &mut Open, count: usize, served: bool) -> Arc<AtomicUsize> {
        let ended = Arc::new(AtomicUsize::new(0));
        for _ in 0..count {
            let counted = Ends(Arc::clone(&ended));
            open.add(|it| async move {
                it.set(served);
                let _counted = counted;
                std::future::pending::<()>().await;
            })
            .await;
        }
        ended
    }

    /// Is one more connection served within a while?
    async fn one_more(open: &mut Open) -> bool {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let honest = open.add(|_| async move {
            answer.send(()).ok();
        });
        let wait = 4 * GRACE;
        let added = tokio::time::timeout(wait, honest).await.is_ok();
        added && answered.await.is_ok()
    }

    #[tokio::test]
    async fn beyond_the_connection_limit_the_oldest_connection_ends_and_the_newest_is_served() {
        let mut open = Open::default();
        let began = Instant::now();
        let ended = silent(&mut open, 3 * MOST, false).await;
        assert_eq!((open.order.len(), open.tasks.len()), (MOST, MOST));
        assert_eq!(ended.load(Ordering::SeqCst), 2 * MOST);
        assert!(began.elapsed() >= 2 * GRACE, "each had its time");
        assert!(one_more(&mut open).await);
    }

    #[tokio::test]
    async fn a_connection_that_is_being_served_is_never_closed_for_another_one() {
        let mut open = Open::default();
        let at_work = silent(&mut open, MOST / 2, true).await;
        let waiting = silent(&mut open, 2 * MOST, false).await;
        assert_eq!(at_work.load(Ordering::SeqCst), 0);
        assert_eq!(waiting.load(Ordering::SeqCst), 2 * MOST - MOST / 2);
        assert!(one_more(&mut open).await);
        // With nothing but work under way the next one waits.
        let mut full = Open::default();
        let at_work = silent(&mut full, MOST, true).await;
        assert!(!one_more(&mut full).await);
        assert_eq!(at_work.load(Ordering::SeqCst), 0);
        full.order[0].served.set(false);
        assert!(one_more(&mut full).await);
        assert_eq!(at_work.load(Ordering::SeqCst), 1);
    }
}
