//! One connection with a neighbour, RFC 4271 section 8.2.2 from `OpenSent` on. Which of two connections stays is not
//! decided here.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;

use super::{
    event::State,
    message::{self, Capabilities, Family, Message, Notification, Open, Received, Refresh, Update},
    rib::{NextHops, Out, Routes, Terms},
};

/// How long the neighbour may take for its OPEN; RFC 4271 section 8.2.2 says four minutes.
pub const LARGE_HOLD_TIME: Duration = Duration::from_mins(4);
/// The least hold time that is not "none" (RFC 4271 section 4.2).
pub const LEAST_HOLD_TIME: Duration = Duration::from_secs(3);

/// Which AS the neighbour may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    Number(u32),
    /// Ours.
    Internal,
    /// Any but ours.
    External,
    /// Whichever it says it is of, ours too.
    Auto,
}

/// What is fixed as long as a neighbour is configured as it is: a change needs a new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Ours towards this neighbour.
    pub local_as: u32,
    pub remote: Remote,
    pub id: Ipv4Addr,
    /// Never connects, only accepts.
    pub passive: bool,
    /// Zero, or at least [`LEAST_HOLD_TIME`]; whole seconds.
    pub hold_time: Duration,
    /// `None`: a third of the agreed hold time.
    pub keepalive: Option<Duration>,
    /// Between two attempts to connect; grows with every one that fails.
    pub connect_retry: Duration,
    /// Between the connection and our OPEN (RFC 4271 section 8.1.1, `DelayOpen`).
    pub delay_open: Duration,
    pub families: BTreeSet<Family>,
    pub extended_next_hop: bool,
    /// Prefixes the neighbour may announce; `None`: any number, none is kept.
    pub max_prefixes: Option<u32>,
    /// Established only while BFD does not say that the neighbour is down.
    pub strict: bool,
    /// How long End-of-RIB waits for the first verdict of every VIP.
    pub settle: Duration,
}

impl Settings {
    fn open(&self) -> Open {
        Open {
            asn: self.local_as,
            hold_time: self.hold_time,
            id: self.id,
            capabilities: Capabilities {
                families: self.families.clone(),
                four_octet_as: true,
                refresh: true,
                enhanced_refresh: true,
                extended_next_hop: self.extended_next_hop,
            },
        }
    }

    /// RFC 4271 section 6.2, RFC 6286 section 2.2, RFC 5492 section 3.
    fn judge(&self, open: &Open) -> Result<(), Notification> {
        let right_as = match self.remote {
            Remote::Number(asn) => open.asn == asn,
            Remote::Internal => open.asn == self.local_as,
            Remote::External => open.asn != self.local_as,
            Remote::Auto => true,
        };
        if !right_as || open.asn == 0 {
            return Err(Notification::BAD_PEER_AS);
        }
        let internal = open.asn == self.local_as;
        if open.id.is_unspecified() || (internal && open.id == self.id) {
            return Err(Notification::BAD_IDENTIFIER);
        }
        if !open.hold_time.is_zero() && open.hold_time < LEAST_HOLD_TIME {
            return Err(Notification::UNACCEPTABLE_HOLD_TIME);
        }
        if self.families.is_disjoint(&open.capabilities.families) {
            return Err(message::unsupported(&self.families));
        }
        Ok(())
    }

    /// RFC 4271 section 4.2: the smaller of both, where zero means none.
    fn agreed_hold_time(&self, open: &Open) -> Option<Duration> {
        let agreed = self.hold_time.min(open.hold_time);
        (!agreed.is_zero()).then_some(agreed)
    }

    fn terms(&self, open: &Open, next_hops: NextHops) -> Terms {
        let theirs = &open.capabilities;
        Terms {
            local_as: self.local_as,
            internal: open.asn == self.local_as,
            families: self
                .families
                .intersection(&theirs.families)
                .copied()
                .collect(),
            four_octet_as: theirs.four_octet_as,
            extended_next_hop: self.extended_next_hop && theirs.extended_next_hop,
            next_hops,
        }
    }
}

/// What both sides said, once the neighbour's OPEN was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub open: Open,
    /// `None`: the session lives until somebody says otherwise.
    pub hold_time: Option<Duration>,
    pub terms: Terms,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The connection is there, our OPEN waits (`DelayOpen`).
    Delay,
    OpenSent,
    /// `told`: our KEEPALIVE is out; `heard`: theirs is in.
    OpenConfirm {
        told: bool,
        heard: bool,
    },
    Established,
}

impl Phase {
    pub(super) fn state(self) -> State {
        match self {
            Self::Delay => State::Connect,
            Self::OpenSent => State::OpenSent,
            Self::OpenConfirm { .. } => State::OpenConfirm,
            Self::Established => State::Established,
        }
    }
}

/// What comes of something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Send(Message),
    /// The neighbour's OPEN is good: is this the connection to keep?
    Opened,
    Established,
    /// Say so and close.
    Fail(Notification),
    /// The neighbour said so.
    Notified(Notification),
}

/// What a connection may ask of its neighbourhood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) settings: &'a Settings,
    pub(super) routes: &'a Routes,
    /// Has every VIP its first verdict?
    pub(super) settled: bool,
    /// In strict mode: may it become Established?
    pub(super) may_establish: bool,
    /// 0.75 to 1 (RFC 4271 section 10).
    pub(super) jitter: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    phase: Phase,
    next_hops: NextHops,
    agreed: Option<Arc<Agreed>>,
    /// When the neighbour has been silent for too long, or the OPEN is due.
    expires: Option<Instant>,
    keepalive: Option<Instant>,
    /// Families whose End-of-RIB is owed.
    owed: BTreeSet<Family>,
    out: Out,
    /// Kept only as far as the limit on them needs it.
    heard: BTreeSet<IpNet>,
    /// UPDATEs that were malformed and did not end the session.
    malformed: u64,
}

impl Connection {
    pub(super) fn new(
        now: Instant,
        around: Around<'_>,
        next_hops: NextHops,
    ) -> (Self, Vec<Outcome>) {
        let mut new = Self {
            phase: Phase::Delay,
            next_hops,
            agreed: None,
            expires: Some(now + around.settings.delay_open),
            keepalive: None,
            owed: BTreeSet::new(),
            out: Out::default(),
            heard: BTreeSet::new(),
            malformed: 0,
        };
        let outcomes = if around.settings.delay_open.is_zero() {
            new.open(now, around.settings)
        } else {
            Vec::new()
        };
        (new, outcomes)
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn agreed(&self) -> Option<&Arc<Agreed>> {
        self.agreed.as_ref()
    }

    pub(super) fn out(&self) -> &Out {
        &self.out
    }

    pub(super) fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Prefixes of the neighbour, where they are limited.
    pub(super) fn heard(&self) -> usize {
        self.heard.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.expires.into_iter().chain(self.keepalive).min()
    }

    fn open(&mut self, now: Instant, settings: &Settings) -> Vec<Outcome> {
        self.phase = Phase::OpenSent;
        self.expires = Some(now + LARGE_HOLD_TIME);
        vec![Outcome::Send(Message::Open(settings.open()))]
    }

    pub(super) fn tick(&mut self, now: Instant, around: Around<'_>) -> Vec<Outcome> {
        if self.expires.is_some_and(|at| at <= now) {
            return match self.phase {
                Phase::Delay => self.open(now, around.settings),
                // Strict: the neighbour waited for us as long as it may.
                Phase::OpenConfirm { told: false, .. } => {
                    vec![Outcome::Fail(Notification::BFD_DOWN)]
                }
                Phase::OpenSent | Phase::OpenConfirm { .. } | Phase::Established => {
                    vec![Outcome::Fail(Notification::HOLD_TIMER_EXPIRED)]
                }
            };
        }
        if self.keepalive.is_some_and(|at| at <= now) {
            return vec![self.keep_alive(now, around)];
        }
        Vec::new()
    }

    fn keep_alive(&mut self, now: Instant, around: Around<'_>) -> Outcome {
        let hold_time = self.agreed.as_ref().and_then(|agreed| agreed.hold_time);
        self.keepalive = hold_time.map(|hold_time| {
            let third = hold_time / 3;
            let interval = around
                .settings
                .keepalive
                .map_or(third, |set| set.min(third));
            now + interval.mul_f64(around.jitter)
        });
        Outcome::Send(Message::Keepalive)
    }

    /// The neighbour lives.
    fn alive(&mut self, now: Instant) {
        let hold_time = self.agreed.as_ref().and_then(|agreed| agreed.hold_time);
        self.expires = hold_time.map(|hold_time| now + hold_time);
    }

    /// The transition table of RFC 4271 section 8.2.2, with RFC 6608 for what does not belong into a state.
    pub(super) fn on(
        &mut self,
        now: Instant,
        received: Received,
        around: Around<'_>,
    ) -> Vec<Outcome> {
        use Phase::{Delay, Established, OpenConfirm, OpenSent};
        let unexpected = |subcode| {
            let kind = received.kind();
            vec![Outcome::Fail(Notification::unexpected(subcode, kind))]
        };
        match (self.phase, &received) {
            (_, Received::Notification(_)) => {}
            (Delay | OpenSent, Received::Open(_)) => {}
            (Delay | OpenSent, _) => return unexpected(1),
            (
                OpenConfirm { .. },
                Received::Open(_) | Received::Update(_) | Received::Refresh(..),
            ) => {
                return unexpected(2);
            }
            (OpenConfirm { .. }, Received::Keepalive) => {}
            (Established, Received::Open(_)) => return unexpected(3),
            (Established, _) => {}
        }
        match received {
            Received::Open(open) => self.opened(now, open, around),
            Received::Keepalive => {
                self.alive(now);
                match self.phase {
                    OpenConfirm { told, .. } => self.confirm(now, told, true, around),
                    Delay | OpenSent | Established => Vec::new(),
                }
            }
            Received::Update(update) => {
                self.alive(now);
                self.update(&update, around.settings)
            }
            Received::Refresh(family, Refresh::Request) => self.again(family),
            Received::Refresh(_, Refresh::Begin | Refresh::End) => Vec::new(),
            Received::Notification(notification) => vec![Outcome::Notified(notification)],
        }
    }

    fn opened(&mut self, now: Instant, open: Open, around: Around<'_>) -> Vec<Outcome> {
        let settings = around.settings;
        let mut outcomes = match self.phase {
            Phase::Delay => self.open(now, settings),
            Phase::OpenSent | Phase::OpenConfirm { .. } | Phase::Established => Vec::new(),
        };
        if let Err(refusal) = settings.judge(&open) {
            outcomes.push(Outcome::Fail(refusal));
            return outcomes;
        }
        let hold_time = settings.agreed_hold_time(&open);
        let terms = settings.terms(&open, self.next_hops.clone());
        self.agreed = Some(Arc::new(Agreed {
            open,
            hold_time,
            terms,
        }));
        self.expires = Some(now + hold_time.unwrap_or(LARGE_HOLD_TIME));
        self.phase = Phase::OpenConfirm {
            told: false,
            heard: false,
        };
        outcomes.push(Outcome::Opened);
        outcomes
    }

    /// Goes on after [`Outcome::Opened`], and whenever BFD has changed its mind.
    pub(super) fn proceed(&mut self, now: Instant, around: Around<'_>) -> Vec<Outcome> {
        match self.phase {
            Phase::OpenConfirm { told: false, heard } if around.may_establish => {
                let mut outcomes = vec![self.keep_alive(now, around)];
                outcomes.extend(self.confirm(now, true, heard, around));
                outcomes
            }
            Phase::Delay | Phase::OpenSent | Phase::OpenConfirm { .. } | Phase::Established => {
                Vec::new()
            }
        }
    }

    fn confirm(
        &mut self,
        now: Instant,
        told: bool,
        heard: bool,
        around: Around<'_>,
    ) -> Vec<Outcome> {
        self.phase = Phase::OpenConfirm { told, heard };
        let Some(agreed) = self.agreed.as_ref().filter(|_| told && heard) else {
            return Vec::new();
        };
        self.owed.clone_from(&agreed.terms.families);
        self.phase = Phase::Established;
        self.alive(now);
        let mut outcomes = vec![Outcome::Established];
        outcomes.extend(self.sync(around));
        outcomes
    }

    /// Says what changed, and End-of-RIB once everything is said.
    pub(super) fn sync(&mut self, around: Around<'_>) -> Vec<Outcome> {
        let (Phase::Established, Some(agreed)) = (self.phase, &self.agreed) else {
            return Vec::new();
        };
        let mut updates = self.out.sync(&agreed.terms, around.routes);
        if around.settled {
            let owed = std::mem::take(&mut self.owed);
            updates.extend(owed.into_iter().map(Update::EndOfRib));
        }
        let send = |update| Outcome::Send(Message::Update(update));
        updates.into_iter().map(send).collect()
    }

    fn again(&self, family: Option<Family>) -> Vec<Outcome> {
        let (Some(agreed), Some(family)) = (&self.agreed, family) else {
            return Vec::new();
        };
        if !agreed.terms.families.contains(&family) {
            return Vec::new();
        }
        let marked = agreed.open.capabilities.enhanced_refresh;
        let messages = self.out.again(family, marked);
        messages.into_iter().map(Outcome::Send).collect()
    }

    /// Looks into what the neighbour announces, as RFC 7606 says, and forgets it.
    fn update(&mut self, update: &message::Raw, settings: &Settings) -> Vec<Outcome> {
        let Some(agreed) = &self.agreed else {
            return Vec::new();
        };
        let terms = &agreed.terms;
        let judged = match message::judge(update, terms.four_octet_as, terms.internal) {
            Ok(judged) => judged,
            Err(notification) => return vec![Outcome::Fail(notification)],
        };
        self.malformed += u64::from(!judged.malformed.is_empty());
        let Some(most) = settings.max_prefixes else {
            return Vec::new();
        };
        for prefix in &judged.withdrawn {
            self.heard.remove(prefix);
        }
        let ours = |prefix: &IpNet| terms.families.contains(&Family::of(prefix));
        for prefix in judged.announced.into_iter().filter(ours) {
            self.heard.insert(prefix);
            if self.heard.len() > most as usize {
                let refusal = message::too_many(Family::of(&prefix), most);
                return vec![Outcome::Fail(refusal)];
            }
        }
        Vec::new()
    }
}
