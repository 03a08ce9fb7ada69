//! The orders of operators, kept in the state directory: a VIP that was drained or disabled still is after a restart.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Order;
use crate::{
    config::paths,
    system::{
        blame::Blame,
        store::{self, Kind, Pending},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{order} VIP {vip}: this node has no such VIP; it has {}", list(.known))]
    Unknown {
        order: Order,
        vip: IpAddr,
        known: Vec<IpAddr>,
    },
    #[error("read the orders for the gates: {0}")]
    Store(#[from] store::Error),
    #[error(transparent)]
    Probe(#[from] super::probe::Error),
    #[error("{order} VIP {vip}: its gate has ended; see the daemon's log")]
    Ended { order: Order, vip: IpAddr },
}

impl Error {
    pub fn blame(&self) -> Blame {
        Blame::of_caller(matches!(self, Self::Unknown { .. }))
    }
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
    pub(super) fn note(&mut self, vip: IpAddr, order: Order) {
        match order {
            Order::Drain => self.draining.insert(vip),
            Order::Undrain => self.draining.remove(&vip),
            Order::Disable => self.disabled.insert(vip),
            Order::Enable => self.disabled.remove(&vip),
        };
    }

    /// The orders that a new gate of this VIP begins with.
    pub(super) fn of(&self, vip: IpAddr) -> Vec<Order> {
        let drain = self.draining.contains(&vip).then_some(Order::Drain);
        let disable = self.disabled.contains(&vip).then_some(Order::Disable);
        drain.into_iter().chain(disable).collect()
    }
}

/// The file of the orders.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    /// The orders in the file.
    orders: Orders,
    /// Why the orders in force could not be written.
    failed: Option<String>,
}

impl Kept {
    /// Opens the file. A damaged one counts as a file without orders.
    pub(super) fn open(state: &Path) -> Result<Self, store::Error> {
        let path = paths::gate_orders(state);
        let orders = store::recover_json(Kind::Orders, &path)?;
        Ok(Self {
            path,
            orders: orders.unwrap_or_default(),
            failed: None,
        })
    }

    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Writes these orders to the file. If that fails they stay in force, and the next call tries again.
    pub(super) fn keep(&mut self, orders: &Orders) {
        if *orders == self.orders {
            // The orders that could not be written were undone meanwhile.
            if self.failed.take().is_some() {
                store::kept(&self.path);
            }
            return;
        }
        let written = Pending::json(Kind::Orders, &self.path, orders).and_then(Pending::commit);
        self.failed = match written {
            Ok(()) => {
                self.orders.clone_from(orders);
                None
            }
            Err(error) => {
                store::unkept(&self.path, &error);
                Some(error.to_string())
            }
        };
    }

    /// Why the orders of this VIP would be lost by a restart.
    pub(super) fn unkept(&self, vip: IpAddr, orders: &Orders) -> Option<String> {
        let same = orders.of(vip) == self.orders.of(vip);
        self.failed.clone().filter(|_| !same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(orders: &[(IpAddr, Order)]) -> Orders {
        let mut all = Orders::default();
        for (vip, order) in orders {
            all.note(*vip, *order);
        }
        all
    }

    #[test]
    fn stored_orders_are_read_back_and_each_order_is_undone_only_by_its_opposite() {
        let state = tempfile::tempdir().unwrap();
        let (a, b) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut kept = Kept::open(state.path()).unwrap();
        let orders = after(&[
            (a, Order::Disable),
            (b, Order::Disable),
            (a, Order::Drain),
            (a, Order::Enable),
        ]);
        kept.keep(&orders);
        let again = Kept::open(state.path()).unwrap();
        assert_eq!(*again.orders(), orders);
        assert_eq!(again.orders.of(a), [Order::Drain]);
        assert_eq!(again.orders.of(b), [Order::Disable]);
    }

    #[test]
    fn an_order_that_cannot_be_stored_is_reported_for_its_vip_until_it_is_stored() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        std::fs::write(&state, "").unwrap();
        let (a, b) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut kept = Kept {
            path: paths::gate_orders(&state),
            orders: Orders::default(),
            failed: None,
        };
        let orders = after(&[(a, Order::Disable)]);
        kept.keep(&orders);
        assert!(kept.unkept(a, &orders).unwrap().contains("gate.json"));
        assert_eq!(kept.unkept(b, &orders), None);
        std::fs::remove_file(&state).unwrap();
        kept.keep(&orders);
        assert_eq!(kept.unkept(a, &orders), None);
        assert_eq!(*Kept::open(&state).unwrap().orders(), orders);
    }

    #[test]
    fn a_damaged_file_holds_no_orders_and_is_moved_aside() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(paths::gate_orders(state.path()), "{\"disabled\": [\"192.0").unwrap();
        let kept = Kept::open(state.path()).unwrap();
        assert_eq!(*kept.orders(), Orders::default());
        assert!(!kept.path.exists());
    }
}
