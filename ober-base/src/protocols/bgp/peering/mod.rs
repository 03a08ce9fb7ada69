//! One neighbour, RFC 4271 section 8: up to two connections with it, of which one stays (section 6.8), and the pauses
//! between attempts. Knows no socket, clock, task or log.
//!
//! ```text
//!        Start, pause over        dialed, accepted       OPEN in          KEEPALIVE in
//! Idle ------------------> Connect ------------> OpenSent -----> OpenConfirm --------> Established
//!  ^                       Active                   |               |                      |
//!  +---- the last connection failed, or Stop -------+---------------+----------------------+
//! ```
//!
//! `dial` has the attempts to connect, `configure` changes of the configuration. A new connection never disturbs an established
//! session.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    connection::{Connection, Context, Outcome, Phase, Settings},
    event::{Action, Counts, Event, Failure, Path, Report, Side, State},
    message::{Message, Notification, Open, Received},
    pace::Pace,
    rib::{NextHops, Routes},
};
use crate::machine::Machine;

mod configure;
mod dial;

const NO_ANSWER: &str =
    "no answer: is the neighbour there, and is the password the same on both sides?";
/// A session that lasted this long does not count as one of several failures in a row.
const STEADY: Duration = Duration::from_secs(30);

/// The state of this node's attempts to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialing {
    /// Passive, or stopped.
    Never,
    /// Waiting for the retry timer.
    Waiting,
    Underway,
    /// This node's connection exists.
    Done,
}

/// One neighbour.
#[derive(Clone, Debug)]
pub struct Peering {
    settings: Settings,
    began: Instant,
    routes: Arc<Routes>,
    settled: bool,
    settle_by: Option<Instant>,
    path: Option<Path>,
    started: bool,
    dialing: Dialing,
    pace: Pace,
    connections: BTreeMap<Side, Connection>,
    state: State,
    since: Instant,
    flaps: u64,
    malformed: u64,
    counts: Counts,
    opened: Option<Arc<Open>>,
    last_sent: Option<(Instant, Notification)>,
    last_got: Option<(Instant, Notification)>,
    last_failure: Option<(Instant, Failure)>,
}

impl Peering {
    /// A machine that is not started. `seed`: any number, which spreads the timers of neighbours.
    pub fn new(now: Instant, settings: Settings, seed: u64) -> Self {
        Self {
            settle_by: Some(now + settings.settle),
            settings,
            began: now,
            routes: Arc::default(),
            settled: false,
            path: None,
            started: false,
            dialing: Dialing::Never,
            pace: Pace::new(seed),
            connections: BTreeMap::new(),
            state: State::Idle,
            since: now,
            flaps: 0,
            malformed: 0,
            counts: Counts::default(),
            opened: None,
            last_sent: None,
            last_got: None,
            last_failure: None,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Cheap: called after every event.
    pub fn report(&self) -> Report {
        let established = self.established().map(|(_, connection)| connection);
        let malformed = self.connections.values().map(Connection::malformed);
        Report {
            state: self.state,
            since: self.since,
            flaps: self.flaps,
            agreed: established.and_then(|connection| connection.agreed().cloned()),
            advertised: established
                .map(|connection| connection.out().advertised().clone())
                .unwrap_or_default(),
            path: self.path,
            counts: self.counts,
            opened: self.opened.clone(),
            malformed: self.malformed + malformed.sum::<u64>(),
            heard: established.map_or(0, Connection::received_prefixes),
            last_sent: self.last_sent.clone(),
            last_got: self.last_got.clone(),
            last_failure: self.last_failure.clone(),
        }
    }

    fn established(&self) -> Option<(Side, &Connection)> {
        let mut all = self.connections.iter();
        let found = all.find(|(_, connection)| connection.phase() == Phase::Established);
        found.map(|(side, connection)| (*side, connection))
    }

    fn settle(&mut self, now: Instant) -> Vec<Action> {
        self.settled = true;
        self.settle_by = None;
        self.sync(now)
    }

    /// Calls `what` with the connection of `side` and what that needs to know, and performs the outcomes.
    fn with(
        &mut self,
        now: Instant,
        side: Side,
        what: impl FnOnce(&mut Connection, Context<'_>) -> Vec<Outcome>,
    ) -> Vec<Action> {
        let jitter = self.pace.jitter();
        let Some(connection) = self.connections.get_mut(&side) else {
            return Vec::new();
        };
        let context = Context {
            settings: &self.settings,
            routes: &self.routes,
            settled: self.settled,
            may_establish: !self.settings.strict
                || matches!(self.path, Some(Path::Up | Path::AdminDown)),
            jitter,
        };
        let outcomes = what(connection, context);
        self.perform(now, side, outcomes)
    }

    fn perform(&mut self, now: Instant, side: Side, outcomes: Vec<Outcome>) -> Vec<Action> {
        let mut actions = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Send(message) => actions.push(self.send(side, message)),
                Outcome::Opened => {
                    actions.extend(self.collide(now, side));
                    actions.extend(self.with(now, side, |it, context| it.proceed(now, context)));
                }
                Outcome::Established => {
                    self.pace.attempts = 0;
                    self.pace.retry = None;
                    actions.extend(self.hang_up());
                    actions.extend(self.end(side.other(), Notification::COLLISION));
                }
                Outcome::Fail(notification) => {
                    actions.extend(self.fail(now, side, notification));
                    break;
                }
                Outcome::Notified(notification) => {
                    self.last_got = Some((now, notification.clone()));
                    let failure = Failure::Got(notification);
                    actions.extend(if failure.is_rejection() && self.is_unanswered(side) {
                        self.unanswered(now, side, failure)
                    } else {
                        self.lost(now, side, &failure)
                    });
                    break;
                }
            }
        }
        actions
    }

    fn send(&mut self, side: Side, message: Message) -> Action {
        if let Some(count) = self.counts.sent.get_mut(message.kind() as usize - 1) {
            *count += 1;
        }
        Action::Send(side, message)
    }

    /// RFC 4271 section 6.8 and RFC 6286 section 2.3: the neighbour's OPEN came in on `side`; decides which connection stays.
    fn collide(&mut self, now: Instant, side: Side) -> Vec<Action> {
        let Some(other) = self.connections.get(&side.other()) else {
            return Vec::new();
        };
        let loser = match other.phase() {
            Phase::Delay | Phase::OpenSent => return Vec::new(),
            Phase::Established => side,
            Phase::OpenConfirm { .. } => {
                let open = self.connections.get(&side).and_then(Connection::agreed);
                let Some(open) = open.map(|agreed| &agreed.open) else {
                    return Vec::new();
                };
                let ours = (self.settings.id, self.settings.local_as);
                if ours < (open.id, open.asn) {
                    Side::Ours
                } else {
                    Side::Theirs
                }
            }
        };
        let actions = self.end(loser, Notification::COLLISION);
        if loser == Side::Ours {
            self.wait(now);
        }
        actions
    }

    /// Ends one of two connections, which is no failure.
    fn end(&mut self, side: Side, notification: Notification) -> Vec<Action> {
        let Some(connection) = self.connections.remove(&side) else {
            return Vec::new();
        };
        self.malformed += connection.malformed();
        if side == Side::Ours && self.dialing == Dialing::Done {
            self.dialing = Dialing::Waiting;
        }
        // No message may be sent before the OPEN.
        let mut actions = Vec::new();
        if connection.phase() != Phase::Delay {
            actions.push(self.send(side, Message::Notification(notification)));
        }
        actions.push(Action::Close(side));
        actions
    }

    /// Ends a connection because of an error on it.
    fn fail(&mut self, now: Instant, side: Side, notification: Notification) -> Vec<Action> {
        let Some(phase) = self.connections.get(&side).map(Connection::phase) else {
            return Vec::new();
        };
        let mut actions = Vec::new();
        if phase != Phase::Delay {
            self.last_sent = Some((now, notification.clone()));
            actions.push(self.send(side, Message::Notification(notification.clone())));
        }
        actions.extend(self.lost(now, side, &Failure::Sent(notification)));
        actions
    }

    /// A connection has ended, not by a collision.
    fn lost(&mut self, now: Instant, side: Side, failure: &Failure) -> Vec<Action> {
        let Some(connection) = self.connections.remove(&side) else {
            return Vec::new();
        };
        self.malformed += connection.malformed();
        let mut actions = vec![Action::Close(side)];
        if !failure.is_of_the_other() || self.connections.is_empty() {
            self.last_failure = Some((now, failure.clone()));
            actions.push(Action::Failed(failure.clone()));
        }
        if side == Side::Ours {
            self.dialing = Dialing::Waiting;
        }
        if self.connections.is_empty() {
            let flooded = matches!(failure, Failure::Sent(it) if (it.code, it.subcode) == (6, 1));
            let lived = now.saturating_duration_since(self.since) >= STEADY;
            let steady =
                connection.phase() == Phase::Established && (lived || failure.is_of_the_path());
            self.pace.rest(now, flooded, steady);
            actions.extend(self.hang_up());
        } else if side == Side::Ours {
            self.wait(now);
        }
        actions
    }

    fn begin(&mut self, now: Instant) -> Vec<Action> {
        self.started = true;
        self.pace.pause = None;
        self.dialing = if self.settings.passive {
            Dialing::Never
        } else {
            Dialing::Waiting
        };
        self.dial(now)
    }

    fn stop(&mut self, now: Instant, notification: &Notification) -> Vec<Action> {
        self.started = false;
        self.pace.pause = None;
        self.pace.retry = None;
        let mut actions = self.hang_up();
        for side in [Side::Ours, Side::Theirs] {
            if self.connections.contains_key(&side) {
                self.last_sent = Some((now, notification.clone()));
                actions.extend(self.end(side, notification.clone()));
            }
        }
        self.dialing = Dialing::Never;
        actions
    }

    fn connected(&mut self, now: Instant, side: Side, next_hops: NextHops) -> Vec<Action> {
        let jitter = self.pace.jitter();
        let context = Context {
            settings: &self.settings,
            routes: &self.routes,
            settled: self.settled,
            may_establish: false,
            jitter,
        };
        let (connection, outcomes) = Connection::new(now, context, next_hops);
        self.connections.insert(side, connection);
        self.perform(now, side, outcomes)
    }

    fn accepted(&mut self, now: Instant, next_hops: NextHops) -> Vec<Action> {
        // Idle refuses (RFC 4271 section 8.2.2); a second connection of the neighbour while the first one is in use is refused
        // too.
        let settled =
            |it: &Connection| matches!(it.phase(), Phase::OpenConfirm { .. } | Phase::Established);
        let busy = self.connections.get(&Side::Theirs).is_some_and(settled);
        if !self.started || self.pace.pause.is_some() || busy {
            return vec![Action::Refuse];
        }
        let mut actions = self.end(Side::Theirs, Notification::COLLISION);
        actions.push(Action::Accept);
        actions.extend(self.connected(now, Side::Theirs, next_hops));
        actions
    }

    fn bfd(&mut self, now: Instant, path: Path) -> Vec<Action> {
        let fell = self.path == Some(Path::Up) && path == Path::Down;
        self.path = Some(path);
        let mut actions = Vec::new();
        for side in [Side::Ours, Side::Theirs] {
            if fell && self.agreed(side) {
                actions.extend(self.fail(now, side, Notification::BFD_DOWN));
            } else {
                actions.extend(self.with(now, side, |it, context| it.proceed(now, context)));
            }
        }
        actions
    }

    fn agreed(&self, side: Side) -> bool {
        self.connections
            .get(&side)
            .is_some_and(|it| it.agreed().is_some())
    }

    fn received(&mut self, now: Instant, side: Side, received: Received) -> Vec<Action> {
        if let Some(count) = self.counts.received.get_mut(received.kind() as usize - 1) {
            *count += 1;
        }
        if let Received::Open(open) = &received {
            self.opened = Some(Arc::new(open.clone()));
        }
        self.with(now, side, |it, context| it.on(now, received, context))
    }

    fn sync(&mut self, now: Instant) -> Vec<Action> {
        match self.established().map(|(side, _)| side) {
            Some(side) => self.with(now, side, Connection::sync),
            None => Vec::new(),
        }
    }

    fn closed(&mut self, now: Instant, side: Side, reason: String) -> Vec<Action> {
        let Some(connection) = self.connections.get(&side) else {
            return Vec::new();
        };
        let phase = connection.phase();
        let failure = Failure::Closed(phase.state(), reason);
        match phase {
            Phase::Delay | Phase::OpenSent => self.unanswered(now, side, failure),
            Phase::OpenConfirm { .. } | Phase::Established => self.lost(now, side, &failure),
        }
    }

    /// Has the neighbour not sent its OPEN yet?
    fn is_unanswered(&self, side: Side) -> bool {
        let phase = self.connections.get(&side).map(Connection::phase);
        matches!(phase, Some(Phase::Delay | Phase::OpenSent))
    }

    /// A connection ended before the neighbour's OPEN, or the neighbour refused it: on to Active (RFC 4271 section 8.2.2, event
    /// 18). With a pause as after a failure, two speakers could refuse each other in turns for ever.
    fn unanswered(&mut self, now: Instant, side: Side, failure: Failure) -> Vec<Action> {
        self.connections.remove(&side);
        if side == Side::Ours {
            self.dialing = Dialing::Waiting;
            self.pace.attempts = self.pace.attempts.saturating_add(1);
        }
        if self.pace.retry.is_none() && self.dialing != Dialing::Never {
            self.wait(now);
        }
        let mut actions = vec![Action::Close(side)];
        if !failure.is_of_the_other() || self.connections.is_empty() {
            self.last_failure = Some((now, failure.clone()));
            actions.push(Action::Failed(failure));
        }
        actions
    }

    /// Updates the state; counts the sessions that ended.
    fn look(&mut self, now: Instant) {
        let connections = self.connections.values().map(|it| it.phase().state());
        let state = match connections.max() {
            Some(state) => state,
            None if !self.started || self.pace.pause.is_some() => State::Idle,
            None if self.dialing == Dialing::Underway => State::Connect,
            None => State::Active,
        };
        if state == self.state {
            return;
        }
        if self.state == State::Established {
            self.flaps += 1;
        }
        self.state = state;
        self.since = now;
    }
}

impl Machine for Peering {
    type Event = Event;
    type Action = Action;

    fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let actions = match event {
            Event::Start if self.started => Vec::new(),
            Event::Start => self.begin(now),
            Event::Stop(notification) => self.stop(now, &notification),
            Event::Dialed(next_hops) => self.dialed(now, next_hops),
            Event::NotDialed(reason) => self.not_dialed(now, reason),
            Event::Accepted(next_hops) => self.accepted(now, next_hops),
            Event::Received(side, received) => self.received(now, side, received),
            Event::Garbage(side, notification) => self.fail(now, side, notification),
            Event::Closed(side, reason) => self.closed(now, side, reason),
            Event::Bfd(path) => self.bfd(now, path),
            Event::Routes(routes) => {
                self.routes = routes;
                self.sync(now)
            }
            Event::Unwatched => self.unwatched(now),
            Event::Settled => self.settle(now),
            Event::Configure(settings) => self.configure(now, *settings),
            Event::NextHops(side, next_hops) => self.next_hops(now, side, next_hops),
        };
        self.look(now);
        actions
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut actions = Vec::new();
        if due(self.settle_by) {
            actions.extend(self.settle(now));
        }
        for side in [Side::Ours, Side::Theirs] {
            actions.extend(self.with(now, side, |it, context| it.tick(now, context)));
        }
        if due(self.pace.pause) {
            actions.extend(self.begin(now));
        }
        if due(self.pace.retry) {
            if self.dialing == Dialing::Underway {
                actions.push(self.cannot_connect(now, NO_ANSWER.into()));
            }
            actions.extend(self.dial(now));
        }
        self.look(now);
        actions
    }

    fn deadline(&self) -> Option<Instant> {
        let connections = self.connections.values().filter_map(Connection::deadline);
        let timers = [self.settle_by, self.pace.retry, self.pace.pause];
        timers.into_iter().flatten().chain(connections).min()
    }
}
