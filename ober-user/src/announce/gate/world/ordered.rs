//! What operators order of running gates: to drain, to disable, and to give every VIP up before a stop.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

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

    /// Gives every VIP up before a stop that comes within this time; returns when that is in force. It is kept nowhere.
    /// [`Handle::stay`] undoes it.
    pub async fn leave(&self, within: Duration) -> Leaving {
        let (leaving, answers) = {
            let mut gates = self.lock();
            let leaving = Leaving(gates.leaving.keys().last().map_or(0, |last| last.0 + 1));
            gates.leaving.insert(leaving, drive::now() + within);
            (leaving, gates.order_all())
        };
        in_force(answers).await;
        leaving
    }

    /// That caller does not stop the daemon after all. Without another such caller the VIPs are announced again, if they are
    /// served.
    pub async fn stay(&self, leaving: Leaving) {
        let answers = {
            let mut gates = self.lock();
            gates.leaving.remove(&leaving);
            gates.order_all()
        };
        in_force(answers).await;
    }
}

/// The number of a caller that is about to stop the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaving(u64);

impl super::Gates {
    /// How long the stop that comes last may take; `None`: none is about to come.
    pub(super) fn leaving(&self) -> Option<Duration> {
        let last = self.leaving.values().max()?;
        Some(last.saturating_duration_since(drive::now()))
    }

    fn order_all(&self) -> Answers {
        let leave = self.leaving();
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
