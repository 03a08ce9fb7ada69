//! Does what the configuration names work from here, now? Neighbours, servers and certificates are asked as the daemon would
//! ask them, but nothing is announced, no address is taken and no packet claims a VIP.
//!
//! ```text
//! bgp, bfd      sessions.rs: real ones, or those of the daemon -> bgp.rs, bfd.rs judge them
//! vrrp          vrrp/: listens, or the daemon's virtual routers -> judges the advertisements
//! backends      the check of each server, once
//! certificates  each file: key, chain, validity
//! node          workers and VIPs, where the daemon runs
//! ```
//! Where the daemon runs, its own sessions are reported: a second one would end the first. Everything is asked at once
//! and has the same time.
//!
//! `drops` and `waiting` read what the kernel threw away or holds back meanwhile. A neighbour is never sent a route.

pub mod backends;
pub mod bfd;
pub mod bgp;
pub mod certificates;
pub mod drops;
pub mod node;
mod sessions;
pub mod vrrp;
mod waiting;

use std::time::Duration;

use clap::ValueEnum;

use crate::{api::status::Status, config::Config, diagnose::finding::Finding};

/// The parts of `test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// A session with each neighbour
    Bgp,
    /// A session with each neighbour that has BFD
    Bfd,
    /// What the other nodes advertise
    Vrrp,
    /// The check of each server
    Backends,
    /// Key, chain and validity of each certificate
    Certificates,
    /// Workers and VIPs, where the daemon runs
    Node,
}

/// The parts to test, and for how long.
#[derive(Clone, Debug)]
pub struct Request {
    pub parts: Vec<Part>,
    /// For each neighbour, server and virtual router.
    pub patience: Duration,
    /// Certificates that end within this get a warning.
    pub expiry: Duration,
}

impl Request {
    fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

/// The findings that are not good about the daemon's sessions and virtual routers.
pub fn remarks(config: &Config, status: &Status) -> Vec<Finding> {
    let request = Request {
        parts: vec![Part::Bgp, Part::Bfd],
        patience: Duration::ZERO,
        expiry: Duration::ZERO,
    };
    let mut findings = sessions::of_daemon(config, status, &request);
    if let Some(config) = &config.vrrp {
        findings.extend(vrrp::running::judge(config, &status.vrrp));
    }
    findings.retain(|finding| finding.advice.is_some());
    findings
}

/// Tests all parts at once. `status`: the status of the daemon, if one runs.
pub async fn run(config: &Config, status: Option<&Status>, request: &Request) -> Vec<Finding> {
    let sessions = async {
        match status {
            Some(status) => sessions::of_daemon(config, status, request),
            None => sessions::of_our_own(config, request).await,
        }
    };
    let vrrp = async {
        match (&config.vrrp, status) {
            _ if !request.has(Part::Vrrp) => Vec::new(),
            (None, _) => Vec::new(),
            (Some(vrrp), Some(status)) => vrrp::running::judge(vrrp, &status.vrrp),
            (Some(vrrp), None) => vrrp::listen(vrrp, request.patience).await,
        }
    };
    let backends = async {
        if request.has(Part::Backends) {
            backends::ask(config, status, request.patience).await
        } else {
            Vec::new()
        }
    };
    let (sessions, vrrp, backends) = tokio::join!(sessions, vrrp, backends);
    let mut findings = [sessions, vrrp, backends].concat();
    if request.has(Part::Certificates) {
        findings.extend(certificates::look(config, request.expiry));
    }
    if let Some(status) = status.filter(|_| request.has(Part::Node)) {
        findings.extend(node::judge(status));
    }
    findings
}
