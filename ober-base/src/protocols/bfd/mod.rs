//! A BFD session, RFC 5880 section 6.8: asynchronous mode, no echo, no authentication; over one hop (RFC 5881) or
//! several (RFC 5883). Knows no socket, clock or task; [`net`] is its world.
//!
//! ```text
//!            peer Down              peer Init, Up
//!   Down ----------------> Init --------------------> Up
//!    ^ |   peer Init                                  ^ |
//!    | +----------------------------------------------+ |
//!    +------- detection time over, peer Down, AdminDown +
//! ```
//!
//! `event`, `interval`, `counters`, `client`, `settings` and `packet` belong to the machine. A session never gives its clients
//! `Down` unless it was Up and failed.

use std::{
    num::NonZeroU8,
    time::{Duration, Instant},
};

use self::client::Client;
pub use self::{
    counters::{Counters, Drops, Late},
    event::{Action, Event, StateChange},
    net::{Error, Handle, Overview, View, start},
    packet::{Control, Diagnostic, Discriminator, Micros, Refusal, State},
    settings::{Hops, Mode, Settings, Timers},
};
use crate::{machine::Machine, system::hash::Dice};

mod client;
mod counters;
mod event;
mod interval;
mod net;
mod packet;
mod settings;
#[cfg(test)]
mod tests;

/// When the end of the detection time is noticed this much too late, this node may be the one at fault: packets may be waiting
/// to be read.
const EXCUSE: Duration = Duration::from_millis(1);

/// The known state of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    pub state: State,
    pub diagnostic: Diagnostic,
    pub discriminator: Option<Discriminator>,
    pub min_tx: Micros,
    pub min_rx: Micros,
    pub multiplier: NonZeroU8,
    pub demand: bool,
}

impl Remote {
    /// Section 6.8.1: the state before the first packet.
    const UNKNOWN: Self = Self {
        state: State::Down,
        diagnostic: Diagnostic::None,
        discriminator: None,
        min_tx: Micros(0),
        min_rx: Micros(1),
        multiplier: NonZeroU8::MIN,
        demand: false,
    };

    const fn of(control: &Control) -> Self {
        Self {
            state: control.state,
            diagnostic: control.diagnostic,
            discriminator: Some(control.mine),
            min_tx: control.min_tx,
            min_rx: control.min_rx,
            multiplier: control.multiplier,
            demand: control.demand,
        }
    }
}

/// The two intervals of this end that the peer must learn of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Announced {
    min_tx: Micros,
    min_rx: Micros,
}

/// The last packet that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// When the last periodic packet left.
    at: Instant,
    /// Random number for the jitter of the next pause.
    dice: u64,
    /// The packet without Poll and Final.
    contents: Control,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    mode: Mode,
    timers: Timers,
    passive: bool,
    discriminator: Discriminator,
    dice: Dice,
    state: State,
    diagnostic: Diagnostic,
    since: Instant,
    remote: Remote,
    hops: Hops,
    announced: Announced,
    /// The intervals in use: section 6.8.3 applies some changes only when the peer knows them.
    in_force: Announced,
    /// The intervals of the Poll Sequence under way.
    poll: Option<Announced>,
    sent: Option<Sent>,
    heard: Option<Instant>,
    /// The end of the detection time, after it was extended because this node was late.
    excused: Option<Instant>,
    leave: Option<Instant>,
    client: Client,
    counters: Counters,
}

/// The next state by section 6.8.6 and the picture in 6.2.
const fn next(ours: State, peer: State) -> State {
    match (ours, peer) {
        (State::AdminDown, State::AdminDown | State::Down | State::Init | State::Up) => {
            State::AdminDown
        }
        (State::Down, State::AdminDown | State::Up) => State::Down,
        (State::Down, State::Down) => State::Init,
        (State::Down, State::Init) => State::Up,
        (State::Init, State::AdminDown) => State::Down,
        (State::Init, State::Down) => State::Init,
        (State::Init, State::Init | State::Up) => State::Up,
        (State::Up, State::AdminDown | State::Down) => State::Down,
        (State::Up, State::Init | State::Up) => State::Up,
    }
}

impl Session {
    /// A session that is Down and sends at once, unless it is passive. `seed`: any number, for the jitter.
    pub fn new(now: Instant, settings: &Settings, discriminator: Discriminator, seed: u64) -> Self {
        let announced = Announced {
            min_tx: interval::desired_min_tx(settings.timers.transmit, false),
            min_rx: settings.timers.receive,
        };
        Self {
            mode: settings.mode,
            timers: settings.timers,
            passive: settings.passive,
            discriminator,
            dice: Dice(seed),
            state: State::Down,
            diagnostic: Diagnostic::None,
            since: now,
            remote: Remote::UNKNOWN,
            hops: settings.mode.first(),
            announced,
            in_force: announced,
            poll: None,
            sent: None,
            heard: None,
            excused: None,
            leave: None,
            client: Client::new(settings.hold_down),
            counters: Counters::default(),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            state: self.state,
            diagnostic: self.diagnostic,
            since: self.since,
            remote: self.remote,
            hops: self.hops,
            discriminator: self.discriminator,
            transmit: self.pace(),
            detection: self.heard.map(|_| self.detection()),
            counters: self.counters,
        }
    }

    fn received(&mut self, now: Instant, control: Control, hops: Hops, ttl: u8) -> Vec<Action> {
        if let Err(why) = self.admit(hops, ttl) {
            return self.refused(why);
        }
        self.counters.received += 1;
        self.remote = Remote::of(&control);
        if control.fin {
            self.answered();
        }
        if self.state == State::AdminDown {
            return self.refused(Refusal::AdminDown);
        }
        self.look_at_the_gap(now);
        self.heard = Some(now);
        self.excused = None;
        let diagnostic = match self.state {
            State::Up => Diagnostic::NeighborSignaledDown,
            State::Init if control.state == State::AdminDown => Diagnostic::NeighborSignaledDown,
            State::AdminDown | State::Down | State::Init => self.diagnostic,
        };
        self.enter(now, next(self.state, control.state), diagnostic);
        self.settle(now, control.poll)
    }

    /// May this packet come from the peer? Follows a peer that changes to the other port, but not while the session is Up, when
    /// no packet may redirect it.
    fn admit(&mut self, hops: Hops, ttl: u8) -> Result<(), Refusal> {
        if ttl < self.mode.min_ttl() {
            return Err(Refusal::Ttl);
        }
        if hops != self.hops {
            let may = self.mode == Mode::Auto && self.state != State::Up;
            if !may {
                return Err(Refusal::Port);
            }
            self.hops = hops;
        }
        Ok(())
    }

    fn refused(&mut self, why: Refusal) -> Vec<Action> {
        self.counters.drops.count(why);
        Vec::new()
    }

    fn look_at_the_gap(&mut self, now: Instant) {
        let Some(heard) = self.heard.filter(|_| self.state == State::Up) else {
            return;
        };
        let gap = now.saturating_duration_since(heard);
        if gap > interval::late(self.expected()) && !self.remote.demand {
            self.counters.late += 1;
            self.counters.last_late = Some(Late { at: now, gap });
        }
    }

    fn enter(&mut self, now: Instant, state: State, diagnostic: Diagnostic) {
        if state != self.state {
            match state {
                State::AdminDown | State::Down => self.diagnostic = diagnostic,
                State::Init | State::Up => self.diagnostic = Diagnostic::None,
            }
            self.counters.ups += u64::from(state == State::Up);
            self.state = state;
            self.since = now;
        }
        self.announce();
    }

    /// Section 6.8.3: a changed interval starts a Poll Sequence; while Up, slower sending or faster receiving applies only when
    /// the peer knows.
    fn announce(&mut self) {
        let new = Announced {
            min_tx: interval::desired_min_tx(self.timers.transmit, self.state == State::Up),
            min_rx: self.timers.receive,
        };
        if new == self.announced {
            return;
        }
        self.announced = new;
        self.in_force = if self.state == State::Up {
            Announced {
                min_tx: self.in_force.min_tx.min(new.min_tx),
                min_rx: self.in_force.min_rx.max(new.min_rx),
            }
        } else {
            new
        };
        self.poll.get_or_insert(new);
    }

    /// Section 6.5. The answer may belong to intervals that have changed since.
    fn answered(&mut self) {
        if let Some(asked) = self.poll.take() {
            if asked == self.announced {
                self.in_force = asked;
            } else {
                self.poll = Some(self.announced);
            }
        }
    }

    /// Section 6.8.4: no packet of the peer came in time; its state is forgotten (section 6.8.1, bfd.RemoteDiscr).
    fn expired(&mut self, now: Instant, due: Instant) {
        if self.excused.is_none() && now > due + EXCUSE {
            self.excused = Some(now + EXCUSE);
            return;
        }
        self.heard = None;
        self.excused = None;
        self.remote = Remote::UNKNOWN;
        if matches!(self.state, State::Init | State::Up) {
            self.enter(now, State::Down, Diagnostic::TimeExpired);
        }
    }

    fn leave(&mut self, now: Instant) -> Vec<Action> {
        if self.remote.discriminator.is_none() {
            return vec![Action::Over];
        }
        self.enter(now, State::AdminDown, Diagnostic::AdminDown);
        let (ours, peer) = (self.announced.min_tx, self.remote.min_rx);
        let time = interval::peer_detection(self.timers.multiplier, ours, peer);
        self.leave = Some(now + time);
        self.settle(now, false)
    }

    /// Notifies clients and sends, after any event. Section 6.8.7: a Poll is answered at once, and a change from the previous
    /// packet is sent at once.
    fn settle(&mut self, now: Instant, polled: bool) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(state) = self.client.see(now, self.state, self.remote.state) {
            self.counters.failures += u64::from(state == State::Down);
            let diagnostic = self.diagnostic;
            actions.push(Action::Tell { state, diagnostic });
        }
        if self.passive && self.remote.discriminator.is_none() {
            return actions;
        }
        let contents = self.contents();
        let news = self.sent.is_none_or(|sent| sent.contents != contents);
        let due = self.transmit_due().is_some_and(|due| due <= now);
        if polled {
            actions.push(self.send(
                now,
                due,
                Control {
                    fin: true,
                    ..contents
                },
            ));
        } else if news || due {
            let poll = self.poll.is_some();
            actions.push(self.send(now, true, Control { poll, ..contents }));
        }
        actions
    }

    fn send(&mut self, now: Instant, periodic: bool, control: Control) -> Action {
        self.counters.sent += 1;
        let contents = Control {
            poll: false,
            fin: false,
            ..control
        };
        self.sent = Some(match self.sent {
            // The answer to a Poll does not restart the timer.
            Some(sent) if !periodic => Sent { contents, ..sent },
            Some(_) | None => Sent {
                at: now,
                dice: self.dice.roll(),
                contents,
            },
        });
        Action::Send {
            control,
            hops: self.hops,
        }
    }

    fn contents(&self) -> Control {
        Control {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: false,
            fin: false,
            // BFD runs in the daemon and ends with it.
            independent: false,
            demand: false,
            multiplier: self.timers.multiplier,
            mine: self.discriminator,
            yours: self.remote.discriminator,
            min_tx: self.announced.min_tx,
            min_rx: self.announced.min_rx,
            min_echo_rx: Micros(0),
        }
    }

    /// The interval between periodic packets; `None`: none are sent.
    fn pace(&self) -> Option<Duration> {
        let waiting = self.passive && self.remote.discriminator.is_none();
        // Section 6.8.7: the peer is in demand mode, and no Poll Sequence is under way.
        let unwanted = self.remote.demand
            && (self.state, self.remote.state) == (State::Up, State::Up)
            && self.poll.is_none();
        if waiting || unwanted {
            return None;
        }
        interval::transmit(self.in_force.min_tx, self.remote.min_rx)
    }

    fn transmit_due(&self) -> Option<Instant> {
        let pace = self.pace()?;
        let pause = |sent: Sent| interval::jittered(pace, self.timers.multiplier, sent.dice);
        Some(self.sent.map_or(self.since, |sent| sent.at + pause(sent)))
    }

    fn expected(&self) -> Duration {
        interval::expected(self.in_force.min_rx, self.remote.min_tx)
    }

    fn detection(&self) -> Duration {
        interval::detection(
            self.remote.multiplier,
            self.in_force.min_rx,
            self.remote.min_tx,
        )
    }

    fn detection_due(&self) -> Option<Instant> {
        self.excused
            .or_else(|| Some(self.heard? + self.detection()))
    }
}

impl Machine for Session {
    type Event = Event;
    type Action = Action;

    fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Received { control, hops, ttl } => self.received(now, control, hops, ttl),
            Event::Refused(why) => self.refused(why),
            Event::Configure {
                mode,
                timers,
                passive,
                hold_down,
            } => {
                if mode != self.mode {
                    self.hops = mode.first();
                }
                (self.mode, self.timers, self.passive) = (mode, timers, passive);
                self.client.hold_down(hold_down);
                self.announce();
                self.settle(now, false)
            }
            Event::AdminDown => {
                self.enter(now, State::AdminDown, Diagnostic::AdminDown);
                self.settle(now, false)
            }
            Event::Enable if self.state == State::AdminDown => {
                self.leave = None;
                self.enter(now, State::Down, Diagnostic::None);
                self.settle(now, false)
            }
            Event::Enable => Vec::new(),
            Event::Leave => self.leave(now),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.leave.is_some_and(|at| at <= now) {
            self.leave = None;
            return vec![Action::Over];
        }
        if let Some(due) = self.detection_due().filter(|due| *due <= now) {
            self.expired(now, due);
        }
        self.settle(now, false)
    }

    fn deadline(&self) -> Option<Instant> {
        [
            self.transmit_due(),
            self.detection_due(),
            self.client.deadline(),
            self.leave,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// The state of a session at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub state: State,
    pub diagnostic: Diagnostic,
    pub since: Instant,
    pub remote: Remote,
    pub hops: Hops,
    pub discriminator: Discriminator,
    /// Interval of this end's periodic packets; `None`: none are sent.
    pub transmit: Option<Duration>,
    /// `None`: no packet of the peer was received.
    pub detection: Option<Duration>,
    pub counters: Counters,
}
