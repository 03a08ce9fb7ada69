//! One connection with a neighbour, RFC 4271 section 8.2.2 from `OpenSent` on. `peering` decides which of two connections
//! stays.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;

pub use super::settings::{LEAST_HOLD_TIME, Remote, Settings};
use super::{
    event::{Agreed, State},
    message::{self, Family, Message, Notification, Open, Received, Refresh, Update},
    rib::{NextHops, Out, Routes},
};

/// How long the neighbour's OPEN may take; RFC 4271 section 8.2.2 suggests four minutes.
pub const LARGE_HOLD_TIME: Duration = Duration::from_mins(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The connection is open, and this side delays its OPEN (`DelayOpen`).
    Delay,
    OpenSent,
    /// `sent`: this side's KEEPALIVE was sent; `received`: the neighbour's was received.
    OpenConfirm {
        sent: bool,
        received: bool,
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

/// The result of an event on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Send(Message),
    /// The neighbour's OPEN is acceptable: is this the connection to keep?
    Opened,
    Established,
    /// Send the NOTIFICATION and close.
    Fail(Notification),
    /// The neighbour sent the NOTIFICATION.
    Notified(Notification),
}

/// What a connection needs to know of its neighbour's machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) routes: &'a Routes,
    /// Does every VIP have its first verdict?
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
    /// When the hold time ends, or the OPEN is due.
    expires: Option<Instant>,
    keepalive: Option<Instant>,
    /// Families for which End-of-RIB is still to be sent.
    owed: BTreeSet<Family>,
    out: Out,
    /// Prefixes of the neighbour, kept only to count them against the limit.
    received_prefixes: BTreeSet<IpNet>,
    /// Is there a limit, so that prefixes are kept?
    counts: bool,
    /// Malformed UPDATEs that did not end the session.
    malformed: u64,
}

impl Connection {
    pub(super) fn new(
        now: Instant,
        context: Context<'_>,
        next_hops: NextHops,
    ) -> (Self, Vec<Outcome>) {
        let mut new = Self {
            phase: Phase::Delay,
            next_hops,
            agreed: None,
            expires: Some(now + context.settings.delay_open),
            keepalive: None,
            owed: BTreeSet::new(),
            out: Out::default(),
            received_prefixes: BTreeSet::new(),
            counts: context.settings.max_prefixes.is_some(),
            malformed: 0,
        };
        let outcomes = if context.settings.delay_open.is_zero() {
            new.open(now, context.settings)
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

    /// Number of the neighbour's prefixes, when they are limited.
    pub(super) fn received_prefixes(&self) -> usize {
        self.received_prefixes.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.expires.into_iter().chain(self.keepalive).min()
    }

    fn open(&mut self, now: Instant, settings: &Settings) -> Vec<Outcome> {
        self.phase = Phase::OpenSent;
        self.expires = Some(now + LARGE_HOLD_TIME);
        vec![Outcome::Send(Message::Open(settings.open()))]
    }

    pub(super) fn tick(&mut self, now: Instant, context: Context<'_>) -> Vec<Outcome> {
        if self.expires.is_some_and(|at| at <= now) {
            return match self.phase {
                Phase::Delay => self.open(now, context.settings),
                // Strict mode: BFD did not come up within the hold time.
                Phase::OpenConfirm { sent: false, .. } => {
                    vec![Outcome::Fail(Notification::BFD_DOWN)]
                }
                Phase::OpenSent | Phase::OpenConfirm { .. } | Phase::Established => {
                    vec![Outcome::Fail(Notification::HOLD_TIMER_EXPIRED)]
                }
            };
        }
        if self.keepalive.is_some_and(|at| at <= now) {
            return vec![self.keep_alive(now, context)];
        }
        Vec::new()
    }

    fn keep_alive(&mut self, now: Instant, context: Context<'_>) -> Outcome {
        let hold_time = self.agreed.as_ref().and_then(|agreed| agreed.hold_time);
        self.keepalive = hold_time.map(|hold_time| {
            let third = hold_time / 3;
            let interval = context
                .settings
                .keepalive
                .map_or(third, |set| set.min(third));
            now + interval.mul_f64(context.jitter)
        });
        Outcome::Send(Message::Keepalive)
    }

    /// Restarts the hold timer.
    fn alive(&mut self, now: Instant) {
        let hold_time = self.agreed.as_ref().and_then(|agreed| agreed.hold_time);
        self.expires = hold_time.map(|hold_time| now + hold_time);
    }

    /// The transition table of RFC 4271 section 8.2.2, with RFC 6608 for messages that are unexpected in a state.
    pub(super) fn on(
        &mut self,
        now: Instant,
        received: Received,
        context: Context<'_>,
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
            Received::Open(open) => self.opened(now, open, context),
            Received::Keepalive => {
                self.alive(now);
                match self.phase {
                    OpenConfirm { sent, .. } => self.confirm(now, sent, true, context),
                    Delay | OpenSent | Established => Vec::new(),
                }
            }
            Received::Update(update) => {
                self.alive(now);
                self.update(&update, context.settings)
            }
            Received::Refresh(family, Refresh::Request) => self.again(family),
            Received::Refresh(_, Refresh::Begin | Refresh::End) => Vec::new(),
            Received::Notification(notification) => vec![Outcome::Notified(notification)],
        }
    }

    fn opened(&mut self, now: Instant, open: Open, context: Context<'_>) -> Vec<Outcome> {
        let settings = context.settings;
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
            sent: false,
            received: false,
        };
        outcomes.push(Outcome::Opened);
        outcomes
    }

    /// Continues after [`Outcome::Opened`], and after every change of BFD.
    pub(super) fn proceed(&mut self, now: Instant, context: Context<'_>) -> Vec<Outcome> {
        match self.phase {
            Phase::OpenConfirm {
                sent: false,
                received,
            } if context.may_establish => {
                let mut outcomes = vec![self.keep_alive(now, context)];
                outcomes.extend(self.confirm(now, true, received, context));
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
        sent: bool,
        received: bool,
        context: Context<'_>,
    ) -> Vec<Outcome> {
        self.phase = Phase::OpenConfirm { sent, received };
        let Some(agreed) = self.agreed.as_ref().filter(|_| sent && received) else {
            return Vec::new();
        };
        self.owed.clone_from(&agreed.terms.families);
        self.phase = Phase::Established;
        self.alive(now);
        let mut outcomes = vec![Outcome::Established];
        outcomes.extend(self.sync(context));
        outcomes
    }

    /// Applies settings that change without ending the session.
    pub(super) fn configure(&mut self, now: Instant, context: Context<'_>) -> Vec<Outcome> {
        if let Some(keepalive) = &mut self.keepalive
            && let Some(set) = context.settings.keepalive
        {
            *keepalive = (*keepalive).min(now + set);
        }
        let mut outcomes = self.limit(context.settings.max_prefixes);
        if outcomes.is_empty() {
            outcomes = self.proceed(now, context);
        }
        outcomes
    }

    /// Begins or ends the counting of prefixes; the neighbour is asked to send again those that were not kept.
    fn limit(&mut self, most: Option<u32>) -> Vec<Outcome> {
        let counted = std::mem::replace(&mut self.counts, most.is_some());
        let (Phase::Established, Some(agreed)) = (self.phase, &self.agreed) else {
            return Vec::new();
        };
        let Some(most) = most else {
            self.received_prefixes.clear();
            return Vec::new();
        };
        if let Some(prefix) = self.received_prefixes.iter().nth(most as usize) {
            return vec![Outcome::Fail(message::too_many(Family::of(prefix), most))];
        }
        if counted || !agreed.open.capabilities.refresh {
            return Vec::new();
        }
        let ask = |family: &Family| Outcome::Send(Message::Refresh(*family, Refresh::Request));
        agreed.terms.families.iter().map(ask).collect()
    }

    /// Applies new addresses by which the neighbour reaches this node.
    pub(super) fn reached_by(&mut self, next_hops: NextHops, context: Context<'_>) -> Vec<Outcome> {
        if let Some(agreed) = &mut self.agreed {
            Arc::make_mut(agreed).terms.next_hops.clone_from(&next_hops);
        }
        self.next_hops = next_hops;
        self.sync(context)
    }

    /// Sends the changes, and End-of-RIB once everything is sent.
    pub(super) fn sync(&mut self, context: Context<'_>) -> Vec<Outcome> {
        let (Phase::Established, Some(agreed)) = (self.phase, &self.agreed) else {
            return Vec::new();
        };
        let mut updates = self.out.sync(&agreed.terms, context.routes);
        if context.settled {
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

    /// Checks an UPDATE of the neighbour by RFC 7606, and keeps no route of it.
    fn update(&mut self, update: &message::Raw, settings: &Settings) -> Vec<Outcome> {
        let Some(agreed) = &self.agreed else {
            return Vec::new();
        };
        let terms = &agreed.terms;
        let read = message::Terms {
            wide: terms.four_octet_as,
            internal: terms.internal,
            families: &terms.families,
        };
        let judged = match message::judge(update, read) {
            Ok(judged) => judged,
            Err(notification) => return vec![Outcome::Fail(notification)],
        };
        self.malformed += u64::from(!judged.malformed.is_empty());
        let Some(most) = settings.max_prefixes else {
            return Vec::new();
        };
        for prefix in &judged.withdrawn {
            self.received_prefixes.remove(prefix);
        }
        let ours = |prefix: &IpNet| terms.families.contains(&Family::of(prefix));
        for prefix in judged.announced.into_iter().filter(ours) {
            self.received_prefixes.insert(prefix);
            if self.received_prefixes.len() > most as usize {
                let refusal = message::too_many(Family::of(&prefix), most);
                return vec![Outcome::Fail(refusal)];
            }
        }
        Vec::new()
    }
}
