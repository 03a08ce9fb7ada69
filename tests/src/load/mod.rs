//! A load: many requests at once, each verified, each failure kept with the moment its connection was begun, so that
//! "cut in flight" and "turned away" are never confused.

mod report;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

pub use report::{Record, Report, Tally};

use crate::{
    client::{Client, Connection, Failure},
    lab::Host,
    pattern::Pattern,
};

/// What is asked for, again and again.
#[derive(Clone, Debug)]
pub enum Ask {
    Get {
        path: String,
        content: Pattern,
    },
    /// Each connection writes its own key: `{path}-{connection}`.
    Put {
        path: String,
        content: Pattern,
    },
    /// As `Put`, with other bytes each time, which are then read back over a connection of their own and compared.
    Store {
        path: String,
        content: Pattern,
    },
    /// A connection with its handshake and nothing more.
    Connect,
}

/// A load and its bounds.
#[derive(Clone, Debug)]
pub struct Plan {
    pub client: Client,
    pub ask: Ask,
    /// Requests under way at once.
    pub connections: usize,
    /// Ask again over the same connection instead of making a new one for each request.
    pub keep_alive: bool,
    /// At most this many requests in all.
    pub requests: u64,
    /// No request is begun after this.
    pub time: Duration,
    /// Rest of each connection between two requests.
    pub pause: Duration,
}

impl Plan {
    /// Verified GETs over new connections, eight at once, for at most a minute.
    pub fn get(client: Client, path: &str, content: Pattern) -> Self {
        Self {
            client,
            ask: Ask::Get {
                path: path.to_owned(),
                content,
            },
            connections: 8,
            keep_alive: false,
            requests: u64::MAX,
            time: Duration::from_mins(1),
            pause: Duration::ZERO,
        }
    }

    /// Run it in a host, on a thread of its own, until its bounds or [`Running::finish`].
    pub fn start(self, host: &Host) -> Result<Running> {
        let namespace = host.namespace()?;
        let connections = self.connections;
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).context("enter the host of the load")?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(self.run(&seen)))
        });
        Ok(Running {
            shared,
            thread,
            connections,
        })
    }

    async fn run(&self, shared: &Shared) -> Report {
        let began = Instant::now();
        let lanes = (0..self.connections).map(|lane| self.lane(lane, began, shared));
        let records = futures_util::future::join_all(lanes).await.concat();
        Report {
            records,
            elapsed: began.elapsed(),
        }
    }

    async fn lane(&self, lane: usize, began: Instant, shared: &Shared) -> Vec<Record> {
        let mut records = Vec::new();
        let mut kept = None;
        while began.elapsed() < self.time && shared.take(self.requests) {
            let start = Instant::now();
            let mut local = None;
            let name = (lane, records.len());
            let outcome = self.once(name, &mut kept, &mut local).await;
            shared.note(&outcome);
            records.push(Record {
                began: start,
                ended: Instant::now(),
                local,
                outcome,
            });
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        records
    }

    /// The `number`th request of a lane.
    async fn once(
        &self,
        (lane, number): (usize, usize),
        kept: &mut Option<Connection>,
        local: &mut Option<SocketAddr>,
    ) -> Result<(), Failure> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => connect(&self.client, local).await?,
        };
        *local = Some(connection.local());
        match &self.ask {
            Ask::Get { path, content } => {
                connection.get(path, *content).await?;
            }
            Ask::Put { path, content } => {
                connection.put(&format!("{path}-{lane}"), *content).await?;
            }
            Ask::Store { path, content } => {
                let seed = content.seed.wrapping_add(number as u64);
                let (path, content) = (format!("{path}-{lane}"), Pattern { seed, ..*content });
                connection.put(&path, content).await?;
                let client = self.client.clone().paced(None);
                connect(&client, local).await?.get(&path, content).await?;
            }
            Ask::Connect => {}
        }
        if self.keep_alive {
            *kept = Some(connection);
        }
        Ok(())
    }
}

/// A new connection; `local` gets the client's end of it, also when the handshake fails.
async fn connect(client: &Client, local: &mut Option<SocketAddr>) -> Result<Connection, Failure> {
    *local = None;
    let connection = client.connect().await;
    *local = match &connection {
        Ok(connection) => Some(connection.local()),
        Err(Failure::Handshake { local, .. }) => Some(*local),
        Err(_) => None,
    };
    connection
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    begun: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Shared {
    fn take(&self, limit: u64) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.begun.fetch_add(1, Ordering::Relaxed) < limit
    }

    fn note(&self, outcome: &Result<(), Failure>) {
        let counter = if outcome.is_ok() {
            &self.done
        } else {
            &self.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Report>>,
    connections: usize,
}

impl Running {
    /// Requests under way at once.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Requests answered rightly so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Requests failed so far.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Begin no more requests.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Begin no more requests, let those under way end, and return the report.
    pub fn finish(self) -> Result<Report> {
        self.stop();
        self.wait()
    }

    /// Let the load run to its own bounds.
    pub fn wait(self) -> Result<Report> {
        self.thread
            .join()
            .map_err(|_panic| anyhow!("the load panicked"))?
    }
}
