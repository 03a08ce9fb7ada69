//! Clients that compare every byte. Each attempt that fails must be excused by a fault; a repeated request must be answered in
//! the end.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Watchers;
use crate::{
    chaos::{
        REQUEST,
        fault::Site,
        world::{CONTENT, LARGE, MUCH, PATH, World},
    },
    client::{Client, Connection, Failure},
    pattern::Pattern,
};

/// Between two requests of a lane, and before one is asked again.
const PAUSE: Duration = Duration::from_millis(60);
const AGAIN: Duration = Duration::from_millis(150);
/// A stored object, bytes.
const STORED: u64 = 60_000;

/// Number of places at which objects are stored in turn: a PUT that was cut may still take effect long after the next one.
const PLACES: u64 = 400;

/// What a lane asks for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Get {
        path: &'static str,
        content: Pattern,
    },
    /// Other bytes each time, read back and compared.
    Store,
}

struct Lane {
    name: &'static str,
    client: Client,
    ask: Ask,
    keep_alive: bool,
}

const SMALL: Ask = Ask::Get {
    path: PATH,
    content: CONTENT,
};
const HUGE: Ask = Ask::Get {
    path: LARGE,
    content: MUCH,
};

pub(super) fn routed(watch: &Watchers<'_>) -> Result<()> {
    let mut lanes = common(watch);
    lanes.push(Lane {
        name: "a listed client over plain HTTP",
        client: World::open(),
        ask: SMALL,
        keep_alive: false,
    });
    run(watch, Site::Routed, &lanes)
}

pub(super) fn shared(watch: &Watchers<'_>) -> Result<()> {
    run(watch, Site::Shared, &common(watch))
}

fn common(watch: &Watchers<'_>) -> Vec<Lane> {
    let lane = |name, ask, keep_alive| Lane {
        name,
        client: watch.world.secure(),
        ask,
        keep_alive,
    };
    vec![
        lane("small objects over new connections", SMALL, false),
        lane("small objects over a kept connection", SMALL, true),
        lane("large objects", HUGE, true),
        lane("objects stored and read back", Ask::Store, true),
    ]
}

fn run(watch: &Watchers<'_>, site: Site, lanes: &[Lane]) -> Result<()> {
    watch.world.client(site).tokio(async || {
        let all = lanes
            .iter()
            .enumerate()
            .map(|(number, lane)| lane.go(watch, site, number));
        futures_util::future::join_all(all).await;
    })
}

impl Lane {
    async fn go(&self, watch: &Watchers<'_>, site: Site, number: usize) {
        let mut kept = None;
        for round in 0.. {
            if !watch.goes_on() {
                return;
            }
            let seed = 100_000 * (number as u64 + 1) + round;
            self.request(watch, site, seed, &mut kept).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A request, repeated until it is answered or too late.
    async fn request(
        &self,
        watch: &Watchers<'_>,
        site: Site,
        seed: u64,
        kept: &mut Option<Connection>,
    ) {
        let began = Instant::now();
        loop {
            let attempt = Instant::now();
            let failure = match self.once(seed, kept).await {
                Ok(()) => return watch.count(|requests| requests.answered += 1),
                Err(failure) => failure,
            };
            *kept = None;
            let said = format!("{} ({site:?}): {failure}", self.name);
            if matches!(failure, Failure::Wrong { .. }) {
                watch.board.breach(said.clone());
            }
            watch.board.failed_attempt(site, attempt, &said);
            watch.count(|requests| requests.again += 1);
            if began.elapsed() > REQUEST {
                return watch.board.failed_request(site, began, &said);
            }
            if !watch.goes_on() {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// A connection that the server closed between two requests is no failure: the client dials anew.
    async fn open(&self, kept: Option<Connection>) -> Result<Connection, Failure> {
        if let Some(mut connection) = kept
            && connection.is_open().await
        {
            return Ok(connection);
        }
        self.client.connect().await
    }

    async fn once(&self, seed: u64, kept: &mut Option<Connection>) -> Result<(), Failure> {
        let mut connection = self.open(kept.take()).await?;
        match self.ask {
            Ask::Get { path, content } => connection.get(path, content).await?,
            Ask::Store => {
                let content = Pattern::new(seed, STORED);
                let path = &format!("/chaos/stored-{}", seed % PLACES);
                connection.put(path, content).await?;
                connection = self.open(Some(connection)).await?;
                connection.get(path, content).await?;
            }
        }
        if self.keep_alive {
            *kept = Some(connection);
        }
        Ok(())
    }
}
