//! VRRP, RFC 3768, 5798 and 9568: one virtual router on this node. Knows no socket, clock, task or address of an
//! interface; [`net`] is its world.
//!
//! ```text
//!              gate and link good                 master silent or resigned
//! Initialize ----------------------> Backup ------------------------------> Master
//!     ^  |  priority 255                | ^   higher priority, own timer late  | |
//!     |  +------------------------------|-+------------------------------------+ |
//!     +-- gate closed or link down -----+---- the same, after a priority 0 ------+
//! ```
//! There are no weights. A gate that closes takes the node out with priority 0; it never lowers the priority, which with
//! `preempt = false` would not fail over.
//!
//! `received` and `claims` are parts of the machine, `timing` its formulas, `event` its events and actions, `configured` its
//! configuration; `packet/` and `neighbour` have the bytes. A master never asks for its addresses before it has advertised.

use std::{collections::VecDeque, net::IpAddr, time::Duration, time::Instant};

pub use self::{
    claims::Pace,
    event::{
        Action, Answers, Conflict, Event, Garp, Mac, Preempt, Role, Settings, State, Transition,
        Why,
    },
    net::{Counted, Error, Handle, Heard, Listener, Overview, Prepared, View, check, idle, start},
};
use self::{
    packet::{Advertisement, Interval},
    timing::{master_down_interval, silence, skew_time},
};
use crate::machine::Machine;

mod claims;
pub mod configured;
mod event;
pub mod neighbour;
mod net;
pub mod packet;
mod received;
#[cfg(test)]
mod tests;
mod timing;

/// The priority of the owner of the addresses (RFC 9568 section 5.2.4).
pub const OWNER: u8 = 255;
/// How often the master renews its addresses, which last for [`crate::system::ownership::LIFETIME`].
const RENEWAL: Duration = Duration::from_secs(1);
/// Pause before refused addresses are tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Time in which the same conflict is reported once.
const REPORT: Duration = Duration::from_mins(1);
/// The least time between two first bursts that advertisements of other nodes cause.
const CALM: Duration = Duration::from_secs(1);
const HISTORY: usize = 20;

/// One virtual router.
#[derive(Clone, Debug)]
pub struct Router {
    settings: Settings,
    state: State,
    open: bool,
    link: bool,
    /// The last master heard, and its priority.
    heard: Option<(IpAddr, u8)>,
    /// RFC 9568 `Active_Adver_Interval`.
    master_interval: Interval,
    /// Time of the last first burst, when the second is due, and when the next single frame is.
    greeted: Option<Instant>,
    again: Option<Instant>,
    refresh: Option<Instant>,
    history: VecDeque<Transition>,
    won: u64,
    late: u64,
    conflicts: u64,
    conflict: Option<(Instant, Conflict)>,
    reported: Option<(Instant, Conflict)>,
}

impl Router {
    /// Takes part once gate and link are good.
    pub fn new(now: Instant, settings: Settings) -> Self {
        let mut router = Self {
            master_interval: settings.interval,
            settings,
            state: State::Initialize { retry: None },
            open: false,
            link: false,
            heard: None,
            greeted: None,
            again: None,
            refresh: None,
            history: VecDeque::with_capacity(HISTORY),
            won: 0,
            late: 0,
            conflicts: 0,
            conflict: None,
            reported: None,
        };
        router.enter(now, router.state, Why::Started);
        router
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The latest changes of state, oldest first; never empty.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Transition> {
        self.history.iter()
    }

    /// The master and its priority, as far as known.
    pub fn master(&self) -> Option<(IpAddr, u8)> {
        match self.state {
            State::Master { .. } => Some((self.settings.own, self.settings.priority)),
            State::Backup { .. } => self.heard,
            State::Initialize { .. } => None,
        }
    }

    /// How often this node became master.
    pub fn won(&self) -> u64 {
        self.won
    }

    /// How often a timer was so late that another node may have taken over.
    pub fn late(&self) -> u64 {
        self.late
    }

    pub fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// The last conflict.
    pub fn conflict(&self) -> Option<(Instant, Conflict)> {
        self.conflict
    }

    fn advertisement(&self, priority: u8) -> Action {
        Action::Send(Advertisement {
            version: self.settings.version,
            vrid: self.settings.vrid,
            priority,
            interval: self.settings.interval,
            addresses: self.settings.addresses.clone(),
        })
    }

    fn enter(&mut self, now: Instant, state: State, why: Why) {
        self.state = state;
        (self.greeted, self.again, self.refresh) = (None, None, None);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Transition {
            at: now,
            to: state.role(),
            why,
        });
    }

    fn skew(&self) -> Duration {
        let Settings {
            version, priority, ..
        } = self.settings;
        skew_time(version, priority, self.master_interval)
    }

    /// RFC 9568 section 6.4.1.
    fn start(&mut self, now: Instant, why: Why) -> Vec<Action> {
        if !(self.open && self.link) {
            return Vec::new();
        }
        if self.settings.priority == OWNER {
            return self.take(now, Why::Owner);
        }
        self.heard = None;
        self.master_interval = self.settings.interval;
        self.back(now, self.patience(), why);
        Vec::new()
    }

    /// `Active_Down_Interval`, from the last known interval of the master.
    fn patience(&self) -> Duration {
        let Settings {
            version, priority, ..
        } = self.settings;
        master_down_interval(version, priority, self.master_interval)
    }

    fn back(&mut self, now: Instant, patience: Duration, why: Why) {
        let down = now + patience;
        let state = State::Backup {
            down,
            preempt: None,
            doubted: false,
            why: Why::Silence,
        };
        self.enter(now, state, why);
    }

    /// Advertises first: every backup waits for that, and adding addresses takes time.
    fn take(&mut self, now: Instant, why: Why) -> Vec<Action> {
        let state = State::Master {
            advertise: now + self.settings.interval.duration(),
            sent: now,
            renew: now + RENEWAL,
            held: false,
        };
        self.enter(now, state, why);
        self.won += 1;
        vec![self.advertisement(self.settings.priority), Action::Hold]
    }

    fn leave(&mut self, now: Instant, retry: Option<Instant>, why: Why) -> Vec<Action> {
        let was = self.state;
        if let (State::Initialize { .. }, Why::GateClosed | Why::LinkDown) = (was, why) {
            return Vec::new();
        }
        self.enter(now, State::Initialize { retry }, why);
        match was {
            State::Initialize { .. } | State::Backup { .. } => Vec::new(),
            State::Master { .. } => vec![self.advertisement(0), Action::Release],
        }
    }

    fn advertise(&mut self, now: Instant) -> Vec<Action> {
        let every = self.settings.interval.duration();
        let State::Master {
            advertise, sent, ..
        } = &mut self.state
        else {
            return Vec::new();
        };
        *sent = now;
        // The regular times are kept, unless a whole interval was missed.
        *advertise = if *advertise <= now && now < *advertise + every {
            *advertise + every
        } else {
            now + every
        };
        vec![self.advertisement(self.settings.priority)]
    }

    /// Updates the neighbours' caches, now and once more; not again right after.
    fn greet(&mut self, now: Instant) -> Vec<Action> {
        let held = matches!(self.state, State::Master { held: true, .. });
        if !held || self.greeted.is_some_and(|at| now < at + CALM) {
            return Vec::new();
        }
        let Garp {
            repeat,
            delay,
            refresh,
        } = self.settings.garp;
        let after = |pause: Duration| (!pause.is_zero()).then(|| now + pause);
        self.greeted = Some(now);
        (self.again, self.refresh) = (after(delay), after(refresh));
        vec![Action::Garp(repeat)]
    }

    fn held(&mut self, now: Instant) -> Vec<Action> {
        match &mut self.state {
            State::Master { held, .. } if !*held => {
                *held = true;
                self.greeted = None;
                self.greet(now)
            }
            State::Master { .. } => Vec::new(),
            // The addresses were asked for as master, and added when it no longer was.
            State::Initialize { .. } | State::Backup { .. } => vec![Action::Release],
        }
    }

    fn lost(&mut self, now: Instant) -> Vec<Action> {
        let State::Master { held, renew, .. } = &mut self.state else {
            return Vec::new();
        };
        if !*held {
            return Vec::new();
        }
        *held = false;
        *renew = now + RENEWAL;
        vec![Action::Hold]
    }

    fn refused(&mut self, now: Instant) -> Vec<Action> {
        if matches!(self.state, State::Master { .. }) {
            self.leave(now, Some(now + RETRY), Why::Refused)
        } else {
            Vec::new()
        }
    }

    fn configure(&mut self, now: Instant, settings: Settings) -> Vec<Action> {
        self.settings = settings;
        match &mut self.state {
            State::Master { held, renew, .. } => {
                *held = false;
                *renew = now + RENEWAL;
                let mut actions = self.advertise(now);
                actions.push(Action::Hold);
                actions
            }
            State::Backup { .. } if self.settings.priority == OWNER => self.take(now, Why::Owner),
            State::Initialize { .. } | State::Backup { .. } => Vec::new(),
        }
    }

    /// Was the timer so late that another node may have taken over unnoticed? Waiting packets are read before this node claims
    /// anything: one interval of the other node is enough to hear it.
    fn doubt(&mut self, now: Instant) -> Option<Vec<Action>> {
        match self.state {
            State::Master {
                sent, advertise, ..
            } if advertise <= now && now >= sent + silence(self.settings.interval) => {
                self.late += 1;
                self.heard = None;
                self.master_interval = self.settings.interval;
                self.back(now, self.grace(), Why::Late(now - advertise));
                Some(vec![Action::Release])
            }
            State::Backup {
                down,
                preempt,
                doubted: false,
                why,
            } if now > down + self.master_interval.duration() => {
                self.late += 1;
                self.state = State::Backup {
                    down: now + self.grace(),
                    preempt,
                    doubted: true,
                    why,
                };
                Some(Vec::new())
            }
            State::Initialize { .. } | State::Backup { .. } | State::Master { .. } => None,
        }
    }

    fn grace(&self) -> Duration {
        self.skew() + self.master_interval.duration()
    }

    fn due(&mut self, now: Instant) -> Vec<Action> {
        match self.state {
            State::Initialize { retry: Some(at) } if at <= now => {
                self.state = State::Initialize { retry: None };
                self.start(now, Why::Retried)
            }
            State::Backup { down, why, .. } if down <= now => self.take(now, why),
            State::Master { .. } => self.master_due(now),
            State::Initialize { .. } | State::Backup { .. } => Vec::new(),
        }
    }

    fn master_due(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if let State::Master { advertise, .. } = self.state
            && advertise <= now
        {
            actions = self.advertise(now);
        }
        if let State::Master { renew, .. } = &mut self.state
            && *renew <= now
        {
            *renew = now + RENEWAL;
            actions.push(Action::Hold);
        }
        if self.again.is_some_and(|at| at <= now) {
            self.again = None;
            actions.push(Action::Garp(self.settings.garp.repeat));
        }
        if self.refresh.is_some_and(|at| at <= now) {
            self.refresh = Some(now + self.settings.garp.refresh);
            actions.push(Action::Garp(1));
        }
        actions
    }
}

impl Machine for Router {
    type Event = Event;
    type Action = Action;

    fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Gate(open) if open == self.open => Vec::new(),
            Event::Link(up) if up == self.link => Vec::new(),
            Event::Gate(open) => {
                self.open = open;
                if open {
                    self.start(now, Why::GateOpened)
                } else {
                    self.leave(now, None, Why::GateClosed)
                }
            }
            Event::Link(up) => {
                self.link = up;
                if up {
                    self.start(now, Why::LinkUp)
                } else {
                    self.leave(now, None, Why::LinkDown)
                }
            }
            Event::Received {
                from,
                advertisement,
            } => self.received(now, from, &advertisement),
            Event::Held => self.held(now),
            Event::Refused => self.refused(now),
            Event::Lost => self.lost(now),
            Event::Claimed { address, by } => {
                if !matches!(self.state, State::Master { held: true, .. }) {
                    return Vec::new();
                }
                let mut actions = self.report(now, Conflict::Claimed { address, by });
                actions.extend(self.greet(now));
                actions
            }
            Event::Configure(settings) => self.configure(now, settings),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        match self.doubt(now) {
            Some(actions) => actions,
            None => self.due(now),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::Initialize { retry } => retry,
            State::Backup { down, .. } => Some(down),
            State::Master {
                advertise, renew, ..
            } => Some(advertise.min(renew)),
        };
        [state, self.again, self.refresh]
            .into_iter()
            .flatten()
            .min()
    }
}
