//! The effect of an advertisement on a virtual router (RFC 9568 sections 6.4.2, 6.4.3 and 7.1).

use std::{net::IpAddr, time::Instant};

use super::{
    Action, Conflict, OWNER, Preempt, REPORT, Router, Settings, State, Why,
    packet::{Advertisement, Version},
};

impl Router {
    pub(super) fn report(&mut self, now: Instant, conflict: Conflict) -> Vec<Action> {
        self.conflicts += 1;
        self.conflict = Some((now, conflict));
        match self.reported {
            Some((at, same)) if same == conflict && now < at + REPORT => Vec::new(),
            Some(_) | None => {
                self.reported = Some((now, conflict));
                vec![Action::Report(conflict)]
            }
        }
    }

    /// The checks of RFC 3768 and 9568 section 7.1 that depend on the virtual router.
    pub(super) fn received(
        &mut self,
        now: Instant,
        from: IpAddr,
        heard: &Advertisement,
    ) -> Vec<Action> {
        if from == self.settings.own {
            return self.report(now, Conflict::OwnAddress { from });
        }
        let two = self.settings.version == Version::V2;
        if two && heard.interval != self.settings.interval {
            let interval = heard.interval.duration();
            return self.report(now, Conflict::Interval { from, interval });
        }
        let mut actions = Vec::new();
        if !self.same_addresses(&heard.addresses) {
            actions = self.report(now, Conflict::Addresses { from });
            // Version 2 drops other lists, and version 3 may. A list without any address of this router belongs to other nodes
            // with the same VRID: if they were obeyed, no node would have these addresses. The owner's list counts (RFC 9568,
            // erratum 8298).
            let ignored = two || self.no_address_of(&heard.addresses);
            if ignored && heard.priority != OWNER {
                return actions;
            }
        }
        actions.extend(match self.state {
            State::Initialize { .. } => Vec::new(),
            State::Backup { .. } => {
                self.backup_received(now, from, heard);
                Vec::new()
            }
            State::Master { sent, .. } => self.master_received(now, from, heard, sent),
        });
        actions
    }

    fn same_addresses(&self, heard: &[IpAddr]) -> bool {
        let ours = &self.settings.addresses;
        heard.len() == ours.len() && heard.iter().all(|address| ours.contains(address))
    }

    fn no_address_of(&self, heard: &[IpAddr]) -> bool {
        let ours = &self.settings.addresses;
        !heard.iter().any(|address| ours.contains(address))
    }

    /// RFC 9568 section 6.4.2.
    fn backup_received(&mut self, now: Instant, from: IpAddr, heard: &Advertisement) {
        let State::Backup { down, preempt, .. } = self.state else {
            return;
        };
        let lower = heard.priority < self.settings.priority;
        let preempt = match self.settings.preempt {
            Preempt::After(delay) if lower => Some(preempt.unwrap_or(now + delay)),
            Preempt::After(_) | Preempt::Never => None,
        };
        let (down, why) = if heard.priority == 0 {
            self.heard = None;
            (now + self.skew(), Why::Resigned)
        } else {
            self.heard = Some((from, heard.priority));
            if preempt.is_some_and(|at| at <= now) {
                // Discarded: it does not extend this node's timer.
                (down, Why::Silence)
            } else {
                self.master_interval = heard.interval;
                (now + self.patience(), Why::Silence)
            }
        };
        self.state = State::Backup {
            down,
            preempt,
            doubted: false,
            why,
        };
    }

    /// RFC 9568 section 6.4.3.
    fn master_received(
        &mut self,
        now: Instant,
        from: IpAddr,
        heard: &Advertisement,
        sent: Instant,
    ) -> Vec<Action> {
        let Settings {
            priority,
            own,
            answers,
            interval,
            ..
        } = self.settings;
        if heard.priority == 0 {
            return self.advertise(now);
        }
        if (heard.priority, from) > (priority, own) {
            let mut actions = Vec::new();
            if answers.higher {
                actions.push(self.advertisement(priority));
            }
            self.heard = Some((from, heard.priority));
            self.master_interval = heard.interval;
            let why = Why::Outranked {
                from,
                priority: heard.priority,
            };
            self.back(now, self.patience(), why);
            actions.push(Action::Release);
            if priority == OWNER {
                actions.extend(self.report(now, Conflict::Owner { from }));
            }
            return actions;
        }
        let mut actions = Vec::new();
        // Advertisements that were on their way at the take-over are no conflict.
        let since = self.history.back().map_or(now, |last| last.at);
        if now >= since + interval.duration() * 2 {
            let priority = heard.priority;
            actions = self.report(now, Conflict::TwoMasters { from, priority });
        }
        // The other node gets an advertisement soon; its flood must not cause one of this node.
        if answers.lower && now >= sent + interval.duration() / 4 {
            actions.extend(self.advertise(now));
            actions.extend(self.greet(now));
        }
        actions
    }
}
