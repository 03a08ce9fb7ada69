//! What clients do.

use std::time::Duration;

use anyhow::Result;
use ober_tests::{
    lab::VIP4,
    load::{Ask, Plan, Report},
    pattern::Pattern,
};

use crate::chain::Chain;

const SMALL: (&str, Pattern) = ("/bench/small", Pattern::new(1, 4 << 10));
/// MiB.
const LARGE_SIZE: u32 = 64;
const LARGE: (&str, Pattern) = ("/bench/large", Pattern::new(2, (LARGE_SIZE as u64) << 20));
/// What is asked for.
pub(super) const OBJECTS: [(&str, Pattern); 2] = [SMALL, LARGE];

/// Of handshakes and small objects on one chain in one round: enough requests for a slowest of a thousand.
const TIME: Duration = Duration::from_millis(1200);
/// Under way at once; many, so that all workers get about the same share of kept connections.
const CONNECTIONS: usize = 48;
/// Large objects of one chain in one round.
const LARGE_REQUESTS: u64 = 4;
/// Under way at once.
const LARGE_CONNECTIONS: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Handshakes,
    SmallGets,
    LargeGets,
    LargePuts,
}

impl Work {
    pub(super) const ALL: [Self; 4] = [
        Self::Handshakes,
        Self::SmallGets,
        Self::LargeGets,
        Self::LargePuts,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Handshakes => "TLS handshakes",
            Self::SmallGets => "GET 4 KiB",
            Self::LargeGets => "GET 64 MiB",
            Self::LargePuts => "PUT 64 MiB",
        }
    }

    pub(super) fn is_large(self) -> bool {
        matches!(self, Self::LargeGets | Self::LargePuts)
    }

    pub(super) fn unit(self) -> &'static str {
        if self.is_large() {
            "MiB per s"
        } else {
            "per s"
        }
    }

    /// In its unit.
    pub(super) fn rate(self, report: &Report) -> f64 {
        if self.is_large() {
            report.rate() * f64::from(LARGE_SIZE)
        } else {
            report.rate()
        }
    }

    /// One round on one chain.
    pub(super) fn run(self, chain: &Chain) -> Result<Report> {
        let client = chain.stage.secure(VIP4);
        let (path, content) = if self.is_large() { LARGE } else { SMALL };
        let plan = Plan::get(client, path, content);
        chain.run(match self {
            Self::Handshakes => Plan {
                ask: Ask::Connect,
                connections: CONNECTIONS,
                time: TIME,
                ..plan
            },
            Self::SmallGets => Plan {
                keep_alive: true,
                connections: CONNECTIONS,
                time: TIME,
                ..plan
            },
            Self::LargeGets => large(plan),
            Self::LargePuts => Plan {
                ask: Ask::Put {
                    path: "/bench/put".to_owned(),
                    content,
                },
                ..large(plan)
            },
        })
    }
}

fn large(plan: Plan) -> Plan {
    Plan {
        connections: LARGE_CONNECTIONS,
        requests: LARGE_REQUESTS,
        ..plan
    }
}
