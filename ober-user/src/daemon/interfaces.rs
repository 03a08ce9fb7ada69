//! The interfaces while the daemon runs, since they may change after a program was attached. The kernel reports links that
//! change; counters are read at intervals.
//!
//! ```text
//! a link changed --+-> its features -> the driver is asked again; are packets still steered?
//! every 2 s -------+-> counters ----> does the program meet the packets? if not: gates closed, generic instead
//!                  +-> SYNs, lookups -> are new connections lost behind the program? if so: news for the gates
//!                  +-> an interface that came, or came back ----> the program is attached to it
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::time::MissedTickBehavior;

use super::{Daemon, kernel};
use crate::{
    announce::addresses::{self, Noted},
    api::status,
    config::XdpMode,
    dataplane::{
        Attached,
        arrivals::ArrivalWatch,
        counters::{self, Arrivals, Totals},
        interface::{
            Features, drops,
            gather::Snapshot,
            refusal::Cause,
            runs::{self, Runs},
        },
    },
    machine::drive,
    system::fact::Fact,
};

/// Between two looks at the counters. Some drivers ask their card for them.
/// What these lines of the log are about: `ober-user logs --service gate` shows them.
const GATE: &str = "ober_user::announce::gate";
const PACE: Duration = Duration::from_secs(2);
/// Changes come in bunches: a bond changes with all its parts.
const BUNCH: Duration = Duration::from_millis(100);

/// What earlier looks found at the interfaces.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    features: BTreeMap<String, Features>,
    attached: BTreeMap<String, bool>,
    runs: runs::InterfaceRuns,
    drops: drops::DropCounts,
    /// Packets each driver dropped at XDP, where it counts them.
    dropped: BTreeMap<String, u64>,
    arrivals: ArrivalWatch,
    /// The VIPs whose new connections are lost on this node.
    lost: BTreeSet<IpAddr>,
    /// Where the configured interfaces were.
    places: Places,
    /// A program does not run, and the gates were closed for that.
    closed: bool,
    /// The last look failed, and that was logged.
    failing: bool,
}

/// The number of each configured interface at the last look; `None`: there was none of that name.
#[derive(Debug, Default)]
struct Places(BTreeMap<String, Option<u32>>);

impl Places {
    /// Those that have come, or have come back as another one, since the last look. At the first look: those that are here
    /// and have no program.
    fn arrivals(&self, now: &BTreeMap<String, Option<u32>>, attached: &[Attached]) -> Vec<String> {
        let lacks = |name: &String| attached.iter().all(|it| it.interface != *name);
        let is_new = |(name, index): &(&String, &Option<u32>)| {
            let is_other = match self.0.get(*name) {
                Some(before) => before != *index,
                None => lacks(name),
            };
            index.is_some() && is_other
        };
        let new = now.iter().filter(is_new);
        new.map(|(name, _)| name.clone()).collect()
    }

    /// Those that were here at the last look.
    fn departures(&self, now: &BTreeMap<String, Option<u32>>) -> Vec<String> {
        let left = self.0.iter().filter(|(name, before)| {
            before.is_some() && now.get(*name).is_some_and(Option::is_none)
        });
        left.map(|(name, _)| name.clone()).collect()
    }
}

/// Looks until the daemon ends.
pub(super) async fn keep(daemon: Arc<Daemon>) {
    let mut changes = changes();
    let mut looks = tokio::time::interval(PACE);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = changes.next() => match changed {
                Some(()) => rest_of_bunch(&mut changes).await,
                None => changes = Box::pin(futures_util::stream::pending()),
            },
            _ = looks.tick() => {}
        }
        let looking = Arc::clone(&daemon);
        // Netlink and drivers block, and a driver that is asked again may take long.
        let looked = tokio::task::spawn_blocking(move || looking.look_at_interfaces()).await;
        let mut result = looked.context("look at the interfaces").flatten();
        if let Ok(true) = result {
            // It may be the one that VIPs are added to.
            let added = addresses::add(&daemon.config(), Noted::May).await;
            result = added.map(|_| true);
        }
        daemon.conditions().note(result.map(drop));
    }
}

/// Waits until a bunch of changes is over and takes the rest of it: one look serves all of them.
async fn rest_of_bunch(changes: &mut (impl Stream<Item = ()> + Unpin)) {
    tokio::time::sleep(BUNCH).await;
    while changes.next().now_or_never().flatten().is_some() {}
}

/// An item for each change of a link. Without the kernel's reports the interfaces are looked at a little later.
fn changes() -> std::pin::Pin<Box<dyn Stream<Item = ()> + Send>> {
    match new_multicast_connection(&[MulticastGroup::Link]) {
        Ok((connection, _, messages)) => {
            tokio::spawn(connection);
            Box::pin(messages.map(|_| ()))
        }
        Err(error) => {
            tracing::warn!(%error, "listen to changes of links; they are looked at every {PACE:?} instead");
            Box::pin(futures_util::stream::pending())
        }
    }
}

impl Conditions {
    fn note(&mut self, result: anyhow::Result<()>) {
        match result {
            Ok(()) => self.failing = false,
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "look at the interfaces; the last answers are kept"
                );
            }
            Err(_) => {}
        }
    }

    /// Is one of these interfaces not known yet?
    pub(super) fn lacks(&self, attached: &[Attached]) -> bool {
        let known = |it: &Attached| self.features.contains_key(&it.interface);
        !attached.iter().all(known)
    }

    /// An attached interface, for the status. `held`: is the program attached there?
    pub(super) fn describe(
        &mut self,
        attached: &Attached,
        now: Option<&Snapshot>,
        held: &Fact,
    ) -> status::Interface {
        let name = &attached.interface;
        let there = match held.known() {
            Some(there) => {
                self.attached.insert(name.clone(), there);
                Some(there)
            }
            None => self.attached.get(name).copied(),
        };
        let features = self.features.get(name).cloned();
        let features = features.or_else(|| now?.features(name));
        let known = features.unwrap_or_else(|| Features {
            name: name.clone(),
            ..Features::default()
        });
        status::Interface {
            attached: there,
            runs: self.runs.of(name).known(),
            driver_drops: self.dropped.get(name).copied(),
            ..status::Interface::of(&known, attached.native, attached.why_generic.as_ref())
        }
    }

    /// Packets that drivers dropped beyond those that the programs had them drop.
    pub(super) fn unexplained_drops(&self) -> u64 {
        self.drops.beyond()
    }
}

impl Daemon {
    pub(super) fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether an interface has come.
    fn look_at_interfaces(&self) -> anyhow::Result<bool> {
        let snapshot = Snapshot::take().context("ask for the interfaces")?;
        let attached = self.plane().attached().to_vec();
        for attached in &attached {
            let Some(features) = snapshot.features(&attached.interface) else {
                continue;
            };
            let before = self.conditions().features.get(&features.name).cloned();
            let changed = before.is_some_and(|it| it.asked() != features.asked());
            if changed && attached.native {
                self.judge_again(&features)?;
            }
            // Put in last, so that a driver that could not be asked is asked again.
            self.conditions()
                .features
                .insert(features.name.clone(), features);
        }
        self.judge_steering(&snapshot)?;
        self.count(&snapshot, &attached)?;
        self.judge_running(&attached)?;
        self.judge_arrivals()?;
        self.follow(&snapshot)
    }

    /// Attaches the program to interfaces that have come since the last look. While a change is under way nothing is done: the
    /// next look follows.
    fn follow(&self, snapshot: &Snapshot) -> anyhow::Result<bool> {
        let Some(_no_change) = self.pool.try_lock() else {
            return Ok(false);
        };
        let config = self.config();
        let index = |name: &String| snapshot.link(name).map(|link| link.index);
        let now = config.node.interfaces.iter();
        let now = now.map(|name| (name.clone(), index(name))).collect();
        let attached = self.plane().attached().to_vec();
        let (arrivals, departures) = {
            let places = &self.conditions().places;
            (places.arrivals(&now, &attached), places.departures(&now))
        };
        for interface in departures {
            tracing::error!(
                interface,
                "the interface is gone; it is taken when it comes back"
            );
        }
        if !arrivals.is_empty() {
            // When this fails nothing is noted, so the next look tries again.
            kernel::attach(&config, &mut self.plane())?;
        }
        let mut conditions = self.conditions();
        for interface in &arrivals {
            tracing::info!(interface, "the interface has come");
            conditions.runs.forget(interface);
        }
        conditions.places = Places(now);
        Ok(!arrivals.is_empty())
    }

    fn judge_again(&self, features: &Features) -> anyhow::Result<()> {
        tracing::info!(
            interface = features.name,
            mtu = features.mtu,
            "the interface changed: its driver is asked again"
        );
        let load = self.plane().twin()?;
        let twin = load()?;
        self.plane().judge_again(features, twin)?;
        self.conditions().runs.forget(&features.name);
        Ok(())
    }

    /// Judges by the configuration in force. While a change is under way, workers may have other CPUs than that says: then
    /// steering is not begun, but it is ended where it must be.
    fn judge_steering(&self, now: &Snapshot) -> anyhow::Result<()> {
        let no_change = self.pool.try_lock();
        let config = self.config();
        let mut plane = self.plane();
        let decision = kernel::steering(&config, &plane, now);
        let later = no_change.is_none() && decision.steers;
        if later || plane.steering() == Some(&decision) {
            return Ok(());
        }
        kernel::put_steering(&config, &mut plane, decision)
    }

    fn count(&self, snapshot: &Snapshot, attached: &[Attached]) -> anyhow::Result<()> {
        let totals = || -> anyhow::Result<Totals> { Ok(counters::totals(&self.plane().maps)?) };
        let before = totals()?;
        let mut seen = BTreeMap::new();
        let mut dropped = BTreeMap::new();
        // The snapshot with the received packets was taken before these totals.
        for attached in attached {
            let name = &attached.interface;
            let Some(link) = snapshot.link(name) else {
                continue;
            };
            let counters = snapshot.counters(name).unwrap_or_default();
            let (ran, every) = runs::ran(&counters);
            dropped.extend(runs::dropped(&counters).map(|drops| (name.clone(), drops)));
            let entry = runs::Seen {
                generic: !attached.native,
                received: link.received,
                ran,
                every,
            };
            seen.insert(name.clone(), entry);
        }
        let after = totals()?;
        let mut conditions = self.conditions();
        let sample = runs::Sample {
            before: before.packets,
            interfaces: seen,
            after: after.packets,
        };
        conditions.runs.learn(drive::now(), &sample);
        conditions.drops.learn(&drops::Sample {
            before: before.drops,
            drivers: dropped.clone(),
            after: after.drops,
        });
        conditions.dropped = dropped;
        Ok(())
    }

    /// Closes the gates when a driver does not run its program, and has the kernel run it instead where that is allowed.
    fn judge_running(&self, attached: &[Attached]) -> anyhow::Result<()> {
        let mut blind = Vec::new();
        for attached in attached.iter().filter(|it| it.native) {
            if let Runs::No { packets } = self.conditions().runs.of(&attached.interface) {
                blind.push((attached.interface.clone(), packets));
            }
        }
        self.tell_gates(blind.is_empty());
        // Only with `auto` may the kernel run the program in place of the driver.
        if self.config().node.xdp != XdpMode::Auto {
            return Ok(());
        }
        for (interface, packets) in &blind {
            self.leave_driver(interface, *packets)?;
        }
        if !blind.is_empty() {
            self.tell_gates(true);
        }
        Ok(())
    }

    /// Tells the gates of the VIPs whose new connections this node loses behind XDP.
    fn judge_arrivals(&self) -> anyhow::Result<()> {
        let plane = self.plane();
        let services = plane.maps.services();
        let counts: BTreeMap<u32, Arrivals> = services
            .iter()
            .map(|it| Ok((it.index, counters::arrivals(&plane.maps, it.index)?)))
            .collect::<Result<_, counters::Error>>()?;
        drop(plane);
        let mut conditions = self.conditions();
        conditions.arrivals.learn(drive::now(), &counts);
        let lost: BTreeSet<IpAddr> = services
            .iter()
            .filter(|it| conditions.arrivals.lost(it.index))
            .map(|it| Ipv6Addr::from(it.vip).to_canonical())
            .collect();
        let before = std::mem::replace(&mut conditions.lost, lost.clone());
        drop(conditions);
        if before == lost {
            return Ok(());
        }
        for vip in lost.difference(&before) {
            tracing::error!(
                target: GATE,
                %vip,
                "new connections pass XDP and reach no socket: this node drops them in between; look for a firewall \
                 (`nft list ruleset`)"
            );
        }
        for vip in before.difference(&lost) {
            tracing::info!(target: GATE, %vip, "no new connections are known to be lost on this node any more");
        }
        self.announcer.connections_lost(lost);
        Ok(())
    }

    fn tell_gates(&self, run: bool) {
        let closed = !run;
        if std::mem::replace(&mut self.conditions().closed, closed) == closed {
            return;
        }
        if run {
            tracing::info!(target: GATE, "the attached programs meet the packets again");
        } else {
            tracing::error!(target: GATE, "a driver does not run the attached program: nothing is announced");
        }
        self.announcer.programs_run(run);
    }

    fn leave_driver(&self, interface: &str, packets: u64) -> anyhow::Result<()> {
        let features = self.conditions().features.get(interface).cloned();
        let features = features.context("know the interface")?;
        self.plane()
            .fall_back(&features, Cause::Unseen { packets })?;
        self.conditions().runs.forget(interface);
        self.judge_steering(&Snapshot::take()?)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[test]
    fn an_interface_arrives_once_each_time_it_comes_or_is_another_one() {
        let attached = [Attached {
            interface: "in0".into(),
            native: true,
            why_generic: None,
        }];
        let now = |all: &[(&str, Option<u32>)]| -> BTreeMap<String, Option<u32>> {
            let all = all.iter();
            all.map(|(name, index)| ((*name).to_owned(), *index))
                .collect()
        };
        let arrivals =
            |places: &Places, now: &BTreeMap<String, Option<u32>>| places.arrivals(now, &attached);
        let none = [""; 0];
        let first = now(&[("in0", Some(3)), ("in1", None), ("in2", Some(4))]);
        let mut places = Places::default();
        assert_eq!(arrivals(&places, &first), ["in2"]);
        assert_eq!(places.departures(&first), none);
        places = Places(first.clone());
        assert_eq!(arrivals(&places, &first), none);
        let second = now(&[("in0", None), ("in1", Some(7)), ("in2", Some(5))]);
        assert_eq!(arrivals(&places, &second), ["in1", "in2"]);
        assert_eq!(places.departures(&second), ["in0"]);
        places = Places(second);
        // It comes back with the number it had: its link is another one all the same.
        assert_eq!(arrivals(&places, &first), ["in0", "in2"]);
        assert_eq!(places.departures(&first), ["in1"]);
        let fewer = now(&[("in2", Some(5))]);
        assert_eq!(
            places.departures(&fewer),
            none,
            "in1 is not wanted any more"
        );
    }

    #[tokio::test]
    async fn many_changes_in_a_row_lead_to_one_look_at_the_interfaces() {
        let bunch = stream::iter([(); 50]).chain(stream::pending());
        let mut changes = Box::pin(bunch);
        assert_eq!(changes.next().await, Some(()));
        rest_of_bunch(&mut changes).await;
        assert_eq!(changes.next().now_or_never(), None, "all of it was taken");
        let mut over = Box::pin(stream::iter([(); 2]));
        rest_of_bunch(&mut over).await;
        assert_eq!(over.next().await, None);
    }
}
