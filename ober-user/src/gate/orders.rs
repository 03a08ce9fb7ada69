//! What was ordered, kept in the state directory: a VIP that was drained or disabled still is after a restart.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Order;
use crate::store;

/// File name in the state directory.
const FILE: &str = "gate.json";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{order} VIP {vip}: this node has no such VIP; it has {}", list(.known))]
    Unknown {
        order: Order,
        vip: IpAddr,
        known: Vec<IpAddr>,
    },
    #[error("keep the orders for the gates: {0}")]
    Store(#[from] store::Error),
    #[error(transparent)]
    Probe(#[from] super::probe::Error),
    #[error("{order} VIP {vip}: its gate has ended; see the daemon's log")]
    Ended { order: Order, vip: IpAddr },
}

fn list(vips: &[IpAddr]) -> String {
    let names: Vec<String> = vips.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

/// The VIPs under an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Orders {
    disabled: BTreeSet<IpAddr>,
    draining: BTreeSet<IpAddr>,
}

impl Orders {
    fn note(&mut self, vip: IpAddr, order: Order) {
        match order {
            Order::Drain => self.draining.insert(vip),
            Order::Undrain => self.draining.remove(&vip),
            Order::Disable => self.disabled.insert(vip),
            Order::Enable => self.disabled.remove(&vip),
        };
    }

    /// What a gate that is made anew has to be told.
    pub(super) fn of(&self, vip: IpAddr) -> Vec<Order> {
        let drain = self.draining.contains(&vip).then_some(Order::Drain);
        let disable = self.disabled.contains(&vip).then_some(Order::Disable);
        drain.into_iter().chain(disable).collect()
    }
}

/// The orders and their file.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    pub(super) orders: Orders,
}

impl Kept {
    pub(super) fn open(state: &Path) -> Result<Self, store::Error> {
        let path = state.join(FILE);
        let orders = store::read_json(&path)?.unwrap_or_default();
        Ok(Self { path, orders })
    }

    /// On disk before it is in force: what cannot be kept is not done.
    pub(super) fn note(&mut self, vips: &[IpAddr], order: Order) -> Result<(), store::Error> {
        let mut orders = self.orders.clone();
        for vip in vips {
            orders.note(*vip, order);
        }
        if orders != self.orders {
            store::Pending::json(&self.path, &orders)?.commit()?;
            self.orders = orders;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_found_again_and_each_is_undone_by_its_opposite_alone() {
        let state = tempfile::tempdir().unwrap();
        let (a, b) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut kept = Kept::open(state.path()).unwrap();
        kept.note(&[a, b], Order::Disable).unwrap();
        kept.note(&[a], Order::Drain).unwrap();
        kept.note(&[a], Order::Enable).unwrap();
        let again = Kept::open(state.path()).unwrap();
        assert_eq!(again.orders, kept.orders);
        assert_eq!(again.orders.of(a), [Order::Drain]);
        assert_eq!(again.orders.of(b), [Order::Disable]);
    }

    #[test]
    fn what_cannot_be_kept_is_not_done() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("file");
        std::fs::write(&file, "").unwrap();
        let vip = [192, 0, 2, 1].into();
        let mut kept = Kept {
            path: file.join(FILE),
            orders: Orders::default(),
        };
        kept.note(&[vip], Order::Disable).unwrap_err();
        assert_eq!(kept.orders.of(vip), []);
    }
}
