//! What operators order of running gates: to drain, to disable, and to give every VIP up before a stop.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Handle, View};
use crate::{
    announce::gate::{Error, Event, Order},
    machine::drive,
};

/// The VIPs that an order is for, each with the answer that it is in force.
type Answers = Vec<(IpAddr, oneshot::Receiver<()>)>;

impl Handle {
    /// Drains, undrains, disables or enables a VIP, or all. The order is in force before it is written to the state directory,
    /// so that a slow disk does not delay it. Returns after the write, with the gates concerned, which say whether the order
    /// was kept.
    pub async fn order(&self, vip: Option<IpAddr>, order: Order) -> Result<Vec<View>, Error> {
        let answers = {
            let mut gates = self.lock();
            let known: Vec<IpAddr> = gates.running.keys().copied().collect();
            let vips = match vip {
                Some(vip) if known.contains(&vip) => vec![vip],
                Some(vip) => return Err(Error::Unknown { order, vip, known }),
                None => known,
            };
            for vip in &vips {
                gates.orders.note(*vip, order);
            }
            let ask = |vip| Some((vip, gates.running.get(&vip)?.order(Event::Order(order))));
            vips.into_iter().filter_map(ask).collect::<Answers>()
        };
        let mut concerned = BTreeSet::new();
        for (vip, answer) in answers {
            if answer.await.is_err() {
                return Err(Error::Ended { order, vip });
            }
            concerned.insert(vip);
        }
        self.keep();
        let mut views = self.views();
        views.retain(|view| concerned.contains(&view.vip));
        Ok(views)
    }

    /// Gives every VIP up before a stop that comes within this time; returns when that is in force. It is kept nowhere. The
    /// number is for [`Handle::stay`], which undoes it.
    pub async fn leave(&self, within: Duration) -> u64 {
        let (number, answers) = {
            let mut gates = self.lock();
            let now = drive::now();
            let number = gates.stops.begin(now, within);
            (number, gates.order_all(gates.stops.longest(now)))
        };
        in_force(answers).await;
        number
    }

    /// A caller does not stop the daemon after all. Without another such caller the VIPs are announced again, if they are
    /// served.
    pub async fn stay(&self, number: u64) {
        let answers = {
            let mut gates = self.lock();
            gates.stops.end(number);
            gates.order_all(gates.stops.longest(drive::now()))
        };
        in_force(answers).await;
    }
}

/// The callers that are about to stop the daemon, by number, each with when it stops it at the latest.
#[derive(Debug, Default)]
pub(super) struct Stops {
    numbers: u64,
    until: BTreeMap<u64, Instant>,
}

impl Stops {
    fn begin(&mut self, now: Instant, within: Duration) -> u64 {
        self.numbers += 1;
        self.until.insert(self.numbers, now + within);
        self.numbers
    }

    fn end(&mut self, number: u64) {
        self.until.remove(&number);
    }

    /// What is left to the last of them; `None`: no stop is to come.
    pub(super) fn longest(&self, now: Instant) -> Option<Duration> {
        let last = self.until.values().max()?;
        Some(last.saturating_duration_since(now))
    }
}

impl super::Gates {
    fn order_all(&self, leave: Option<Duration>) -> Answers {
        let running = self.running.iter();
        running
            .map(|(vip, gate)| (*vip, gate.order(Event::Leave(leave))))
            .collect()
    }
}

async fn in_force(answers: Answers) {
    for (vip, answer) in answers {
        if answer.await.is_err() {
            tracing::warn!(%vip, "the gate of a VIP ended before it was given up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_the_stops_that_are_left_counts_whichever_ends_first() {
        let now = drive::now();
        let second = Duration::from_secs(1);
        for (ends, expected) in [(0, 290), (1, 0)] {
            let mut stops = Stops::default();
            let numbers = [10, 300].map(|within| stops.begin(now, second * within));
            assert_eq!(stops.longest(now), Some(second * 300));
            stops.end(numbers[ends]);
            assert_eq!(stops.longest(now + second * 10), Some(second * expected));
            stops.end(numbers[1 - ends]);
            assert_eq!(stops.longest(now), None);
        }
    }
}
