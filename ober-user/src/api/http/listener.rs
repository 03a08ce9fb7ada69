//! Connections to the HTTP server, which any user of this machine may open, as many as he likes. They cost the daemon a fixed
//! number of descriptors, and each has a limited time. When there is no room left, new ones wait in the kernel's queue until
//! one ends or the oldest has had time enough for a request; that one is closed then.

use std::{collections::VecDeque, future::Future, io, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

/// Connections at once.
pub const MOST: usize = 64;
/// How long the head of a request may take, also that of a later one on the same connection.
pub const HEAD: Duration = Duration::from_secs(5);
/// How long a whole connection may last, also with a client that reads slowly.
const WHOLE: Duration = Duration::from_secs(30);
/// How long a connection is never closed, however many wait: time enough for a request.
const GRACE: Duration = Duration::from_millis(250);
/// The pause after a connection could not be accepted, as when descriptors are short.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until the future is dropped.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let mut open = Open::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => open.add(answer(stream, router.clone())).await,
            Err(error) => {
                tracing::warn!(%error, "accept a connection to node.metrics");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(WHOLE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to node.metrics"),
        Err(_) => tracing::debug!("a connection to node.metrics took longer than {WHOLE:?}"),
    }
}

/// The connections that are open, oldest first.
struct Open {
    tasks: JoinSet<()>,
    order: VecDeque<(Instant, AbortHandle)>,
}

impl Open {
    fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            order: VecDeque::with_capacity(MOST),
        }
    }

    /// Serves one more as soon as there is room.
    async fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.make_room().await;
        let task = self.tasks.spawn(connection);
        self.order.push_back((Instant::now(), task));
    }

    /// Waits until a connection ends, or closes the oldest once that has had its time.
    async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.order.retain(|(_, task)| !task.is_finished());
            let Some((since, oldest)) = self.order.front().filter(|_| self.order.len() >= MOST)
            else {
                return;
            };
            let until = *since + GRACE;
            if until <= Instant::now() {
                oldest.abort();
                self.order.pop_front();
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
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    struct Ends(Arc<AtomicUsize>);

    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn beyond_the_connection_limit_the_oldest_connection_ends_and_the_newest_is_served() {
        let ended = Arc::new(AtomicUsize::new(0));
        let mut open = Open::new();
        let began = Instant::now();
        for _ in 0..3 * MOST {
            let counted = Ends(Arc::clone(&ended));
            let silent = async move {
                let _counted = counted;
                std::future::pending::<()>().await;
            };
            open.add(silent).await;
        }
        assert_eq!((open.order.len(), open.tasks.len()), (MOST, MOST));
        assert_eq!(ended.load(Ordering::SeqCst), 2 * MOST);
        assert!(began.elapsed() >= 2 * GRACE, "each had its time");
        let (answer, answered) = tokio::sync::oneshot::channel();
        let honest = async move {
            answer.send(()).ok();
        };
        open.add(honest).await;
        answered.await.unwrap();
    }
}
