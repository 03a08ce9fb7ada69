//! Asks every source repeatedly, with one task for each.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use super::ask::Asker;
use crate::{
    config::{Config, sections::discover::Discover},
    names::server_line::Found,
};

/// The pause before a source that failed is asked again, unless its interval is shorter.
const AGAIN: Duration = Duration::from_secs(2);
/// The shortest pause between two questions, also for a source that waits: one that always answers at once must not be
/// flooded.
const BREATH: Duration = Duration::from_millis(100);

/// The answer of a source, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    pub backend: String,
    /// [`Discover::name`].
    pub source: String,
    pub answer: Result<Vec<Found>, String>,
}

/// All sources of an instance. When it is dropped, they are no longer asked.
#[derive(Debug)]
pub struct Engine {
    running: BTreeMap<(String, String), Running>,
    tell: mpsc::Sender<Learned>,
}

#[derive(Debug)]
struct Running {
    source: Discover,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Engine {
    pub fn new(tell: mpsc::Sender<Learned>) -> Self {
        Self {
            running: BTreeMap::new(),
            tell,
        }
    }

    /// Asks exactly the sources of this configuration from now on. One that is asked already is not disturbed.
    pub fn set(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.running);
        for (backend, source) in sources(config) {
            let key = (backend.to_owned(), source.name());
            let same = before
                .remove(&key)
                .filter(|running| running.source == *source);
            let running = same.unwrap_or_else(|| self.start(backend, source, config));
            self.running.insert(key, running);
        }
    }

    fn start(&self, backend: &str, source: &Discover, config: &Config) -> Running {
        let asker = Asker::new(source.clone(), config);
        let task = tokio::spawn(poll(
            backend.to_owned(),
            source.clone(),
            asker,
            self.tell.clone(),
        ));
        Running {
            source: source.clone(),
            task,
        }
    }
}

fn sources(config: &Config) -> impl Iterator<Item = (&str, &Discover)> {
    config.backends.iter().flat_map(|(name, backend)| {
        backend
            .discover
            .iter()
            .map(move |source| (name.as_str(), source))
    })
}

/// One answer or failure of each source, all asked at once, for the start of the daemon.
pub async fn first(config: &Config) -> Vec<Learned> {
    let answers = sources(config).map(|(backend, source)| async move {
        let answer = Asker::new(source.clone(), config).ask().await;
        learned(backend, source, answer)
    });
    futures_util::future::join_all(answers).await
}

fn learned(backend: &str, source: &Discover, answer: Result<Vec<Found>, super::Error>) -> Learned {
    Learned {
        backend: backend.to_owned(),
        source: source.name(),
        answer: answer.map_err(|error| error.to_string()),
    }
}

async fn poll(backend: String, source: Discover, mut asker: Asker, tell: mpsc::Sender<Learned>) {
    loop {
        let answer = asker.ask().await;
        let pause = match &answer {
            Ok(_) if source.interval.is_zero() && !asker.waits() => None,
            Ok(_) if asker.waits() => Some(BREATH),
            Ok(_) => Some(source.interval),
            Err(_) if source.interval.is_zero() => Some(AGAIN),
            Err(_) => Some(AGAIN.min(source.interval)),
        };
        // The source is not asked again before the daemon has room for its answer. The channel is closed only when the
        // daemon is ending.
        if tell.send(learned(&backend, &source, answer)).await.is_err() {
            return;
        }
        match pause {
            Some(pause) => sleep(pause.max(BREATH)).await,
            None => return std::future::pending().await,
        }
    }
}
