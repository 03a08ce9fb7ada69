//! Feeds the manager's watchdog while all threads that a node needs go on. A thread of its own asks them, since one that is
//! stuck could not. What is not fed ends the daemon, the manager starts another one, and the workers serve meanwhile.
//!
//! ```text
//! twice in the manager's time:   a task through each runtime and back ---+-> all well: WATCHDOG=1
//!                                does each thread of the runtimes go on? +-> else: nothing, and an error in the log
//! ```

use std::{
    convert::Infallible,
    io,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::{machine::drive, system::manager::notify::Notifier};

/// The thread that feeds. Dropping this ends it.
pub(super) struct Watchdog {
    _stop: mpsc::Sender<Infallible>,
}

/// A runtime whose threads must go on.
pub(super) struct Watched {
    name: &'static str,
    runtime: Handle,
    /// What its threads had done at the last look.
    seen: Vec<Progress>,
}

/// What a thread of a runtime has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    /// Its naps, begun and ended: an odd number while it sleeps, waiting for work.
    naps: u64,
    worked: Duration,
}

impl Watched {
    pub(super) fn new(name: &'static str, runtime: Handle) -> Self {
        let seen = Vec::new();
        Self {
            name,
            runtime,
            seen,
        }
    }

    /// The receiver hears when a task of the runtime has run.
    fn ask(&self) -> mpsc::Receiver<()> {
        let (answer, answered) = mpsc::channel();
        // It fails when the watchdog gave the answer up.
        self.runtime.spawn(async move {
            // A timer, so that the answer also needs what wakes the runtime up.
            tokio::time::sleep(Duration::from_millis(1)).await;
            answer.send(()).unwrap_or_default();
        });
        answered
    }

    /// Has each thread run one and the same task since the last look? With several threads the others answer in its
    /// place.
    fn is_stuck(&mut self) -> bool {
        if self.runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return false;
        }
        let metrics = self.runtime.metrics();
        let now = (0..metrics.num_workers()).map(|thread| Progress {
            naps: metrics.worker_park_unpark_count(thread),
            worked: metrics.worker_total_busy_duration(thread),
        });
        let now: Vec<Progress> = now.collect();
        let before = std::mem::replace(&mut self.seen, now);
        let mut both = before.iter().zip(&self.seen);
        both.any(|(before, now)| before == now && now.naps % 2 == 0)
    }
}

/// Feeds the watchdog of a manager that ends this process when it hears nothing for `limit`.
pub(super) fn start(
    notifier: Notifier,
    limit: Duration,
    mut watched: Vec<Watched>,
) -> io::Result<Watchdog> {
    let (stop, stopped) = mpsc::channel();
    let feed = move || {
        loop {
            let stuck = stuck(&mut watched, limit / 4);
            if stuck.is_empty() {
                notifier.alive();
            } else {
                let threads = stuck.join(", ");
                tracing::error!(threads, "stuck; the service manager will end this daemon");
            }
            if stopped.recv_timeout(limit / 2) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    thread::Builder::new().name("watchdog".into()).spawn(feed)?;
    Ok(Watchdog { _stop: stop })
}

/// The runtimes of which a thread is stuck, or which do not answer in time.
fn stuck(watched: &mut [Watched], patience: Duration) -> Vec<&'static str> {
    let until = drive::now() + patience;
    let asked: Vec<_> = watched.iter().map(Watched::ask).collect();
    let mut stuck = Vec::new();
    for (watched, answered) in watched.iter_mut().zip(asked) {
        let left = until.saturating_duration_since(drive::now());
        // Both, since the second also takes note of what it sees.
        let silent = answered.recv_timeout(left).is_err();
        if watched.is_stuck() || silent {
            stuck.push(watched.name);
        }
    }
    stuck
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixDatagram, time::Instant};

    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::machine::realtime;

    const LIMIT: Duration = Duration::from_millis(400);
    /// How long a thread is stuck.
    const STUCK: Duration = Duration::from_millis(2500);

    /// A manager, and a daemon of two runtimes.
    struct Scene {
        manager: UnixDatagram,
        _home: tempfile::TempDir,
        runtime: Runtime,
        realtime: realtime::Thread,
        _watchdog: Watchdog,
    }

    impl Scene {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("notify");
            let manager = UnixDatagram::bind(&path).unwrap();
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let realtime = realtime::Thread::start().unwrap();
            let watched = vec![
                Watched::new("runtime", runtime.handle().clone()),
                Watched::new("realtime", realtime.runtime()),
            ];
            let notifier = Notifier::new(Some(path.as_os_str()));
            let watchdog = start(notifier, LIMIT, watched).unwrap();
            Self {
                manager,
                _home: home,
                runtime,
                realtime,
                _watchdog: watchdog,
            }
        }

        /// How often the watchdog is fed from now on until `end`.
        fn fed(&self, end: Instant) -> usize {
            let mut bytes = [0; 100];
            self.manager.set_nonblocking(true).unwrap();
            while self.manager.recv(&mut bytes).is_ok() {}
            self.manager.set_nonblocking(false).unwrap();
            let mut fed = 0;
            loop {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return fed;
                }
                self.manager.set_read_timeout(Some(left)).unwrap();
                if let Ok(length) = self.manager.recv(&mut bytes) {
                    assert_eq!(&bytes[..length], b"WATCHDOG=1");
                    fed += 1;
                }
            }
        }
    }

    fn block() {
        thread::sleep(STUCK);
    }

    #[test]
    fn the_watchdog_is_fed_while_all_threads_go_on_and_not_while_one_is_stuck() {
        let scene = Scene::new();
        let ways: [(&str, &dyn Fn()); 2] = [
            ("a thread of the runtime", &|| {
                drop(scene.runtime.spawn(async { block() }));
            }),
            ("the real-time thread", &|| {
                drop(scene.realtime.spawn(async { block() }));
            }),
        ];
        for (what, stick) in ways {
            assert!(scene.fed(Instant::now() + LIMIT * 3) >= 2, "before {what}");
            let until = Instant::now() + STUCK;
            stick();
            // A look at the first moment finds nothing yet, and a slow machine delays the next one.
            scene.fed(Instant::now() + LIMIT * 2);
            assert_eq!(
                scene.fed(until.checked_sub(LIMIT / 4).unwrap()),
                0,
                "{what} is stuck"
            );
            assert!(scene.fed(until + LIMIT * 3) >= 1, "after {what}");
        }
    }

    #[test]
    fn a_runtime_that_works_all_the_time_is_not_stuck() {
        let scene = Scene::new();
        for _ in 0..2 {
            scene.runtime.spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
        }
        assert!(scene.fed(Instant::now() + LIMIT * 4) >= 2);
    }
}
