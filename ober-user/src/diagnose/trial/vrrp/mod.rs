//! VRRP: listens to what other nodes advertise and sends nothing, or judges the daemon's virtual routers.
//!
//! It never sends an advertisement.

pub mod heard;
pub mod running;

use std::time::Duration;

use tokio::time::timeout_at;

use crate::{
    diagnose::finding::Finding,
    machine::drive,
    protocols::vrrp::{Heard, Listener, configured::Vrrp},
};

const PART: &str = "vrrp";
/// A master is missed after three of its intervals and a part of one (RFC 9568 section 6.1).
const INTERVALS: u32 = 4;
/// Advertisements beyond this number are not needed to judge.
const MOST: usize = 10_000;

/// Listens long enough to hear every master, but no longer than `patience`.
pub(super) async fn listen(config: &Vrrp, patience: Duration) -> Vec<Finding> {
    let mut listener = match Listener::open(config) {
        Ok(listener) => listener,
        Err(error) => {
            return vec![Finding::failed(PART, &config.interface, error.to_string())];
        }
    };
    let enough = config.interval.duration() * INTERVALS + Duration::from_secs(1);
    let until = drive::now() + enough.min(patience);
    let mut all: Vec<Heard> = Vec::new();
    while all.len() < MOST {
        match timeout_at(until.into(), listener.next()).await {
            Ok(Ok(heard)) => all.push(heard),
            Ok(Err(error)) => {
                let reason = format!("receive advertisements: {error}");
                return vec![Finding::failed(PART, &config.interface, reason)];
            }
            Err(_over) => break,
        }
    }
    heard::judge(config, |six| listener.source(six), &all)
}
