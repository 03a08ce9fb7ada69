//! What was changed by hand and set right again: one line each for the log, counts for the metrics.

use std::{collections::BTreeMap, time::Duration};

use crate::api::status::Reconcile;

/// The kinds of things that can differ from what the daemon put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A server in a worker: its existence, address, weight, limit or whether it may get connections.
    Server,
    /// The table of services and the bits of their VIPs.
    Services,
    Ring,
    /// The list of routers, the ports of BGP, how many drops are reported, or from where fragments may come.
    Switch,
    List,
    /// A kernel program's place at an interface, or at the sockets of the network namespace.
    Program,
    /// A VIP's address.
    Address,
}

impl What {
    pub const ALL: [Self; 7] = [
        Self::Server,
        Self::Services,
        Self::Ring,
        Self::Switch,
        Self::List,
        Self::Program,
        Self::Address,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Services => "services",
            Self::Ring => "ring",
            Self::Switch => "switch",
            Self::List => "list",
            Self::Program => "program",
            Self::Address => "address",
        }
    }
}

/// One thing that was set right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciled {
    pub what: What,
    pub object: String,
    pub found: String,
    pub set: String,
}

/// The findings of all passes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    mended: BTreeMap<What, u64>,
    failures: u64,
    last: Option<u64>,
    took: Duration,
}

impl Tally {
    /// A pass that ended at `now`, in seconds since 1970.
    pub fn count(&mut self, mended: &[Reconciled], failures: usize, now: u64, took: Duration) {
        for reconciled in mended {
            *self.mended.entry(reconciled.what).or_default() += 1;
        }
        self.failures += failures as u64;
        (self.last, self.took) = (Some(now), took);
    }

    pub fn status(&self) -> Reconcile {
        let count = |what: What| self.mended.get(&what).copied().unwrap_or_default();
        Reconcile {
            last: self.last,
            microseconds: u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
            mended: What::ALL
                .map(|what| (what.name().to_owned(), count(what)))
                .into(),
            failures: self.failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_count_from_the_start_and_passes_add_up() {
        let mut tally = Tally::default();
        let reconciled = |what| Reconciled {
            what,
            object: String::new(),
            found: String::new(),
            set: String::new(),
        };
        assert_eq!(tally.status().mended.len(), What::ALL.len());
        assert_eq!(tally.status(), crate::api::sample::status().reconcile);
        tally.count(
            &[reconciled(What::List), reconciled(What::List)],
            1,
            7,
            Duration::from_millis(2),
        );
        tally.count(&[reconciled(What::Ring)], 0, 9, Duration::from_micros(5));
        let status = tally.status();
        assert_eq!(
            (status.last, status.microseconds, status.failures),
            (Some(9), 5, 1)
        );
        assert_eq!(
            (
                status.mended["list"],
                status.mended["ring"],
                status.mended["server"]
            ),
            (2, 1, 0)
        );
    }
}
