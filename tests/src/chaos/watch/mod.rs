//! What must hold all the time. Each invariant has a watcher, on threads of its own, which writes a breach on the board when
//! the invariant is broken.

mod announced;
mod clients;
mod kernel;
mod masters;
mod resources;
mod strangers;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::Scope,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    STEADY,
    board::Board,
    fault::Site,
    world::{World, hold},
};

pub(super) use resources::Resources;

/// Older sightings do not count.
const FRESH: Duration = Duration::from_millis(1500);

/// What all watchers have.
pub(super) struct Watchers<'a> {
    pub(super) world: &'a World,
    pub(super) board: &'a Board<'a>,
    stop: AtomicBool,
    /// When each site was seen whole.
    whole: [Mutex<SeenWhole>; 2],
    requests: Mutex<Requests>,
}

/// What clients have counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requests {
    pub answered: u64,
    /// Attempts that failed and were excused by a fault.
    pub again: u64,
    /// Attempts of strangers that were not admitted.
    pub strangers: u64,
}

type Look = fn(&Watchers<'_>) -> Result<()>;

/// The invariants. [`Resources`] are compared at the end of the run.
const WATCHERS: &[(&str, Look)] = &[
    ("clients behind the router get every byte", clients::routed),
    ("clients beside keepalived get every byte", clients::shared),
    ("no stranger is admitted", strangers::watch),
    (
        "a VIP is announced exactly while it is served",
        announced::watch,
    ),
    ("there is one master", masters::watch),
    ("the kernel holds what the daemon says", kernel::watch),
];

impl<'a> Watchers<'a> {
    pub(super) fn new(world: &'a World, board: &'a Board<'a>) -> Self {
        Self {
            world,
            board,
            stop: AtomicBool::new(false),
            whole: Default::default(),
            requests: Mutex::default(),
        }
    }

    /// Watches until [`Watchers::stop`].
    pub(super) fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        for (name, look) in WATCHERS {
            scope.spawn(move || {
                if let Err(error) = look(self) {
                    self.board
                        .breach(format!("{name}: cannot be watched: {error:#}"));
                }
            });
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> Requests {
        *hold(&self.requests)
    }

    fn count(&self, what: impl FnOnce(&mut Requests)) {
        what(&mut hold(&self.requests));
    }

    /// Notes that a question asked at this moment found the site whole, or not.
    fn saw(&self, site: Site, asked: Instant, whole: bool) {
        let mut sight = hold(&self.whole[site as usize]);
        let first = sight.filter(|_| whole).map_or(asked, |(first, _)| first);
        *sight = whole.then_some((first, asked));
    }

    /// Whether the site is seen whole now, and has been for [`STEADY`] since this moment.
    pub(super) fn is_whole(&self, site: Site, since: Instant) -> bool {
        let sight = *hold(&self.whole[site as usize]);
        sight
            .is_some_and(|(first, last)| last.elapsed() < FRESH && last > first.max(since) + STEADY)
    }
}

/// When it was first and last seen whole, without a break between.
type SeenWhole = Option<(Instant, Instant)>;

/// Since when something is so.
#[derive(Debug, Default)]
struct Since(Option<Instant>);

impl Since {
    /// How long it has been so without a break.
    fn note(&mut self, is_so: bool) -> Duration {
        if !is_so {
            self.0 = None;
            return Duration::ZERO;
        }
        self.0.get_or_insert_with(Instant::now).elapsed()
    }
}
